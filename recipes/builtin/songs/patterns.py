"""Patterns written as text: one character a step, a bar (or two) a line.

A bar is divided evenly into as many steps as its text has characters: 16 in four-four are sixteenths, 12 are triplets.
``.`` is a rest, ``-`` holds what sounds; ``X``, ``x`` and ``o`` are strokes, loud to soft; other characters name notes.
A note that is not held lasts until shortly before the step after its first rest: ``x.x.`` are detached eighths.
Spaces set beats apart for the eye and count for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

REST, HOLD = ".", "-"
STROKES = {"X": 1.0, "x": 0.82, "o": 0.5}

_DETACHED, _INTO_THE_REST = 0.95, 0.8


@dataclass(frozen=True)
class Step:
    """What starts at a step: its place and length in beats from the start of the bar, and its character."""

    beat: float
    beats: float
    sign: str

    @property
    def accent(self) -> float:
        """Gives how loud it is, 1 for a full stroke."""
        return STROKES.get(self.sign, 0.9)


@cache
def steps(pattern: str, beats: int) -> tuple[Step, ...]:
    """Gives what starts in a pattern that is so many beats long."""
    signs = pattern.replace(" ", "")
    width = beats / len(signs)
    found = []
    for place, sign in enumerate(signs):
        if sign in (REST, HOLD):
            continue
        end = place + 1
        while end < len(signs) and signs[end] == HOLD:
            end += 1
        length = end - place + (_INTO_THE_REST if end < len(signs) and signs[end] == REST else 0)
        found.append(Step(place * width, length * width * _DETACHED, sign))
    return tuple(found)
