"""Tiny music models for tests of training: the oracle's, and ours of the same weights."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import torch

import antiphon

from ..models import tiny_melody
from ..models import tiny_musicgen as tiny

CODES = tiny.CODES
# What is not random, so that a loss is the same each time.
QUIET = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0}


@functools.cache
def theirs(name: str) -> Any:
    """The oracle's model: ``mono``, ``stereo``, ``melody`` or ``melody_stereo``. Tests must not change it."""
    channels = 2 if "stereo" in name else 1
    model = tiny_melody.melody(channels) if "melody" in name else tiny.musicgen(channels)
    model.config.decoder.update(QUIET)
    model.config.text_encoder.dropout_rate = 0.0
    return model.eval()


@functools.cache
def _folder(name: str) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    channels = 2 if "stereo" in name else 1
    if "melody" in name:
        tiny_melody.write(theirs(name), Path(folder.name))
    else:
        tiny.write(theirs(name), Path(folder.name), channels)
    return folder


def ours(name: str, **loading: Any) -> Any:
    """A new model of ours with the weights of ``theirs(name)``."""
    kind = "MusicgenMelody" if "melody" in name else "Musicgen"
    return getattr(antiphon, f"{kind}ForConditionalGeneration").from_pretrained(_folder(name).name, **loading)


def processor(name: str) -> Any:
    """The processor of ``ours(name)``."""
    return antiphon.AutoProcessor.from_pretrained(_folder(name).name)


def batch(name: str, *, rows: int = 3, frames: int = 9, places: int = 6, padded: bool = True) -> dict[str, Any]:
    """A batch of random codes under random texts of different lengths, and melodies where the model hears any."""
    generator = torch.Generator().manual_seed(5)
    streams = 8 if "stereo" in name else 4
    mask = torch.ones(rows, places, dtype=torch.long)
    if padded:
        for row in range(1, rows):
            mask[row, places - row :] = 0
    made: dict[str, Any] = {
        "codes": torch.randint(0, CODES, (rows, streams, frames), generator=generator),
        "input_ids": torch.randint(3, 40, (rows, places), generator=generator) * mask,
        "attention_mask": mask,
    }
    if "melody" in name:
        made["input_features"] = tiny_melody.chroma(rows, 5)
    return made


def loss_of(objective: Any, given: dict[str, Any]) -> float:
    """The mean loss of a batch."""
    with torch.no_grad():
        return float(objective.losses(given).total) / float(objective.weight(given))
