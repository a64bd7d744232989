"""Rendered pieces as sound files, which the codec learns from."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from antiphon.audio import files
from recipes.builtin.songs.composer import compose
from recipes.builtin.songs.rendering import Renderer

log = logging.getLogger(__name__)

RATE_HZ = 32000
PIECE_S = 12.0
# held-out pieces are numbered from here on, so that no seed is used for both
HELD_OUT_SEED = 1_000_000_000


def render_sounds(folder: Path, seeds: range, *, held_out: bool = False, renderer: Renderer | None = None) -> None:
    """Renders the pieces of some seeds into ``folder``, a 16-bit WAV file each; files that are there stay.

    Held-out pieces are those of ``HELD_OUT_SEED + seed``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    renderer = renderer or Renderer(RATE_HZ)
    for seed in seeds:
        path = folder / f"{seed:06d}.wav"
        if path.exists():
            continue
        number = seed + (HELD_OUT_SEED if held_out else 0)
        sound = renderer.render(compose(number, held_out=held_out, seconds=PIECE_S), seconds=PIECE_S)
        files.save(path, np.asarray(sound)[None], RATE_HZ)
        if seed % 100 == 99:
            log.info("%d pieces rendered", seed + 1)
