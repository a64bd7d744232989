"""Renders one piece to listen to: ``python -m recipes.builtin.songs --seed 3 --out x.wav``."""

from __future__ import annotations

import argparse
from random import Random

from antiphon import Audio
from recipes.builtin.songs.captions import captions, full_caption
from recipes.builtin.songs.composer import compose
from recipes.builtin.songs.piece import ROLES
from recipes.builtin.songs.rendering import Renderer
from recipes.builtin.songs.styles import STYLES

_TEXTS = 5
_RATE_HZ = 32000


def main() -> None:
    """Composes, renders and writes one piece, and says what it is."""
    parser = argparse.ArgumentParser(prog="python -m recipes.builtin.songs", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="the file to write; without it only the text is shown")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--style", choices=list(STYLES))
    parser.add_argument("--held-out", action="store_true", help="one that training never hears")
    parser.add_argument("--role", choices=ROLES, action="append", help="only these parts")
    parser.add_argument("--text", action="store_true", help="show some of the texts that describe it too")
    asked = parser.parse_args()
    piece = compose(asked.seed, held_out=asked.held_out, seconds=asked.seconds, style=asked.style)
    print(full_caption(piece))
    if asked.text:
        rng = Random(asked.seed)
        for _ in range(_TEXTS):
            print(f"  {captions(piece, rng)}")
    if asked.out:
        samples = Renderer(_RATE_HZ).render(piece, roles=asked.role, seconds=asked.seconds)
        Audio(samples, _RATE_HZ, prompt=full_caption(piece), seed=asked.seed).save(asked.out)


if __name__ == "__main__":
    main()
