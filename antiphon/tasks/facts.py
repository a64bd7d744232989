"""What a model says of a recording, in fields: a form is forced, so that there is always an answer to each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from antiphon.tasks.form import Form

QUESTION = (
    "Listen to the whole recording and describe it in a JSON object with these fields: genre; tempo_bpm, in beats a "
    "minute; key, such as A minor; instruments, a list; mood, a list; structure, a list with the second at which each "
    "part begins (start_s) and what it is (part). Give the object alone."
)
_SLOWEST_BPM, _FASTEST_BPM = 30, 300
_TONICS = ("C", "C#", "Db", "D", "D#", "Eb", "E", "F", "F#", "Gb", "G", "G#", "Ab", "A", "A#", "Bb", "B")
KEYS = tuple(f"{tonic} {mode}" for tonic in _TONICS for mode in ("major", "minor"))
_MOST_INSTRUMENTS, _MOST_MOODS, _MOST_SECTIONS = 10, 6, 16


@dataclass(frozen=True)
class Section:
    """A part of a piece: the second at which it begins, and what it is."""

    start_s: int
    part: str


@dataclass(frozen=True)
class Facts:
    """What a model says of a recording."""

    genre: str
    tempo_bpm: int
    key: str
    instruments: tuple[str, ...]
    mood: tuple[str, ...]
    structure: tuple[Section, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def filled_in(form: Form, seconds: float) -> Facts:
    """The facts that a model writes into a form.

    Args:
        seconds: of the recording; no part begins after its end.
    """
    form.print('{"genre": "')
    genre = form.word()
    form.print('", "tempo_bpm": ')
    tempo_bpm = form.number(_SLOWEST_BPM, _FASTEST_BPM, behind=",")
    form.print(', "key": "')
    key = form.choice(KEYS)
    form.print('", "instruments": ["')
    instruments = form.words(most=_MOST_INSTRUMENTS)
    form.print(', "mood": ["')
    mood = form.words(most=_MOST_MOODS)
    form.print(', "structure": [')
    structure = _structure(form, math.floor(seconds))
    form.print("}")
    return Facts(_neat(genre), tempo_bpm, key, _listed(instruments), _listed(mood), structure)


def _structure(form: Form, last_s: int) -> tuple[Section, ...]:
    """The parts, the first of which begins with the recording, each later than the one before."""
    sections: list[Section] = []
    while True:
        form.print('{"start_s": ')
        start_s = 0
        if sections:
            start_s = form.number(sections[-1].start_s + 1, last_s, behind=",")
        else:
            form.print("0")
        form.print(', "part": "')
        sections.append(Section(start_s, _neat(form.word(most_characters=30))))
        form.print('"}')
        if len(sections) == _MOST_SECTIONS or start_s >= last_s:
            form.print("]")
            return tuple(sections)
        if form.choice((", ", "]")) == "]":
            return tuple(sections)


def _neat(text: str) -> str:
    return " ".join(text.split())


def _listed(texts: Iterable[str]) -> tuple[str, ...]:
    """Each once, in the order in which they came."""
    return tuple(dict.fromkeys(_neat(text) for text in texts))
