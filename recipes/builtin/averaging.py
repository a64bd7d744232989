"""The mean of two trained models: what one has learnt and the other half forgot is mostly there in their middle.

Source: Wortsman et al., "Robust fine-tuning of zero-shot models", 2022.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from antiphon import MusicgenForConditionalGeneration


def write_mean(
    folder: Path, one: Path, other: Path, *, share: float = 0.5, kind: type[Any] = MusicgenForConditionalGeneration
) -> None:
    """Writes the model between two of one architecture, the second of which has gone on from the first, with what else
    lies beside the second.

    Args:
        share: of the second.
        kind: the class of both: a MusicGen, or an ``EncodecModel``.

    Raises:
        ValueError: they have other tensors.
    """
    model, second = (kind.from_pretrained(path, dtype=torch.float32) for path in (one, other))
    # by parameters, of which those that are tied come once; a codec's codewords are none and have to stay
    held, added = dict(model.named_parameters()), dict(second.named_parameters())
    if {name: p.shape for name, p in held.items()} != {name: p.shape for name, p in added.items()}:
        raise ValueError(f"{one} and {other} are not of one architecture")
    with torch.no_grad():
        for name, parameter in held.items():
            parameter.lerp_(added[name], share)
    model.save_pretrained(folder)
    for file in other.iterdir():
        if not file.name.startswith("model") and not (folder / file.name).exists():
            shutil.copyfile(file, folder / file.name)
