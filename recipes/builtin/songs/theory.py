"""Keys, scales and chords, in semitones above the tonic."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

Mode = Literal["major", "minor"]
MODES: tuple[Mode, Mode] = ("major", "minor")
PITCH_CLASSES = 12

SCALES: dict[Mode, tuple[int, ...]] = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}

_NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII")
_NUMERAL = re.compile(r"(b?)(VII|VI|V|IV|III|II|I|vii|vi|v|iv|iii|ii|i)(maj7|7|dim|sus|6|5)?")
_TRIADS = {True: (0, 4, 7), False: (0, 3, 7)}


@dataclass(frozen=True)
class Chord:
    """A chord of a key.

    Args:
        root: semitones above the tonic, 0 to 11.
        intervals: of its notes above the root, ascending from 0.
    """

    root: int
    intervals: tuple[int, ...]

    @property
    def tones(self) -> frozenset[int]:
        """Gives its notes in semitones above the tonic, 0 to 11."""
        return frozenset((self.root + interval) % PITCH_CLASSES for interval in self.intervals)

    @property
    def third(self) -> int:
        """Gives the interval of the note that tells major from minor; the fourth of a suspended one."""
        return self.intervals[1]

    def scale(self, mode: Mode) -> tuple[int, ...]:
        """Gives the seven notes a melody uses over it, ascending in semitones above the tonic.

        They are the scale of the mode, in which each note of the chord takes the place of its neighbour: the major
        dominant of a minor key brings the leading tone.
        """
        notes = list(SCALES[mode])
        for tone in self.tones - set(notes):
            notes[min(range(len(notes)), key=lambda i: (abs(notes[i] - tone), i == 0))] = tone
        return tuple(sorted(notes))


@cache
def chord(numeral: str, mode: Mode) -> Chord:
    """Gives the chord of a Roman numeral, such as ``vi``, ``V7``, ``Imaj7``, ``bVII``, ``iidim`` or ``I5``.

    The numeral counts along the scale of the mode; capitals are major, small letters minor.

    Raises:
        ValueError: it is no such numeral.
    """
    match = _NUMERAL.fullmatch(numeral)
    if match is None:
        raise ValueError(f"{numeral!r} is no chord. Expected a Roman numeral such as vi, V7 or Imaj7.")
    flat, degree, suffix = match.groups()
    root = (SCALES[mode][_NUMERALS.index(degree.upper())] - bool(flat)) % PITCH_CLASSES
    triad = _TRIADS[degree.isupper()]
    intervals = {
        None: triad,
        "maj7": (*triad, 11),
        "7": (*triad, 10),
        "6": (*triad, 9),
        "dim": (0, 3, 6),
        "sus": (0, 5, 7),
        "5": (0, 7),
    }[suffix]
    return Chord(root, intervals)


def progression(numerals: str, mode: Mode) -> tuple[Chord, ...]:
    """Gives the chords of numerals that are set apart by spaces, one a bar."""
    return tuple(chord(numeral, mode) for numeral in numerals.split())


def key_name(tonic: int, mode: Mode) -> str:
    """Gives the usual name of a key: ``C# minor``, ``Eb major``."""
    return f"{KEY_NAMES[mode][tonic]} {mode}"


KEY_NAMES: dict[Mode, tuple[str, ...]] = {
    "major": ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"),
    "minor": ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"),
}

_SHARPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
_FLATS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")


def key_spellings(tonic: int, mode: Mode) -> tuple[str, ...]:
    """Gives the names people write for a key, the usual one first: ``C# minor``, ``C sharp minor``, ``Db minor``, …"""
    letters = dict.fromkeys((KEY_NAMES[mode][tonic], _SHARPS[tonic], _FLATS[tonic]))
    spelt = (letter[0] + {"": "", "#": " sharp", "b": " flat"}[letter[1:]] for letter in letters)
    return tuple(f"{name} {mode}" for name in dict.fromkeys((*letters, *spelt)))
