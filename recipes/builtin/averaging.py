"""The mean of two trained models: what one has learnt and the other half forgot is mostly there in their middle.

Source: Wortsman et al., "Robust fine-tuning of zero-shot models", 2022.
"""

from __future__ import annotations

from pathlib import Path

import torch

from antiphon import AutoProcessor, MusicgenForConditionalGeneration


def write_mean(folder: Path, one: Path, other: Path) -> None:
    """Writes the model halfway between two of one architecture, the second of which has gone on from the first.

    Raises:
        ValueError: they have other tensors.
    """
    model, second = (MusicgenForConditionalGeneration.from_pretrained(f, dtype=torch.float32) for f in (one, other))
    # by parameters, of which those that are tied come once; the codec, whose state is more, is the same in both
    held, added = dict(model.named_parameters()), dict(second.named_parameters())
    if {name: p.shape for name, p in held.items()} != {name: p.shape for name, p in added.items()}:
        raise ValueError(f"{one} and {other} are not of one architecture")
    with torch.no_grad():
        for name, parameter in held.items():
            parameter.lerp_(added[name], 0.5)
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(other).save_pretrained(folder)
