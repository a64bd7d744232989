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
    held, added = model.state_dict(), second.state_dict()
    if {name: t.shape for name, t in held.items()} != {name: t.shape for name, t in added.items()}:
        raise ValueError(f"{one} and {other} are not of one architecture")
    with torch.no_grad():
        for name, tensor in held.items():
            if tensor.is_floating_point():
                tensor.lerp_(added[name], 0.5)
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(other).save_pretrained(folder)
