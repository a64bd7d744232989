"""Rendered pieces in one file of 16-bit samples, and crops of them as examples for the codec."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recipes.builtin.songs.composer import compose
from recipes.builtin.songs.rendering import Renderer

log = logging.getLogger(__name__)

RATE_HZ = 32000
PIECE_S = 12.0
_SAMPLES = round(RATE_HZ * PIECE_S)
# held-out pieces are numbered from here on, so that no seed is used for both
HELD_OUT_SEED = 1_000_000_000


def render_pieces(path: Path, seeds: range, *, held_out: bool = False) -> Path:
    """Renders the pieces of some seeds into ``path``, int16 (pieces, samples); what is there already stays.

    Held-out pieces are those of ``HELD_OUT_SEED + seed``.
    """
    part = path.with_suffix(".part")
    if path.exists() and path.stat().st_size == len(seeds) * _SAMPLES * 2:
        return path
    done = part.stat().st_size // (_SAMPLES * 2) if part.exists() else 0
    renderer = Renderer(RATE_HZ)
    with open(part, "ab") as file:
        file.truncate(done * _SAMPLES * 2)
        for number in range(done, len(seeds)):
            seed = seeds[number] + (HELD_OUT_SEED if held_out else 0)
            sound = renderer.render(compose(seed, held_out=held_out, seconds=PIECE_S), seconds=PIECE_S)
            file.write((sound * 32767).astype("<i2").tobytes())
            if number % 100 == 99:
                log.info("%d of %d pieces rendered", number + 1, len(seeds))
    os.replace(part, path)
    return path


class RenderedCrops:
    """Random crops of rendered pieces: ``Examples`` of ``samples`` (B, 1, N).

    Args:
        path: what ``render_pieces`` wrote. seconds: of a crop. gain_db: lowest and highest change of the level.
    """

    def __init__(self, path: Path, seconds: float, *, gain_db: tuple[float, float] = (-6.0, 2.0)) -> None:
        self.sounds = np.memmap(path, dtype="<i2", mode="r").reshape(-1, _SAMPLES)
        self.samples = round(seconds * RATE_HZ)
        self.gain_db = gain_db

    def __len__(self) -> int:
        return len(self.sounds)

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """A crop of a piece."""
        first = int(generator.integers(0, _SAMPLES - self.samples + 1))
        gain = 10 ** (generator.uniform(*self.gain_db) / 20)
        crop = self.sounds[index, first : first + self.samples].astype(np.float32) * np.float32(gain / 32768)
        return {"samples": torch.from_numpy(crop)[None]}

    def collate(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Crops as rows."""
        return {"samples": torch.stack([example["samples"] for example in examples])}
