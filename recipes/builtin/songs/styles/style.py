"""What a style is: the patterns its players choose from, the instruments they have, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recipes.builtin.songs.piece import Role

Drums = Mapping[str, str]
"""What each drum plays in a bar."""

POP_MAJOR = ("I V vi IV", "I vi IV V", "I IV vi V", "I IV I V", "I V I IV")
POP_MINOR = ("i VI iv V", "i iv V i", "i iv i V", "i VI V i", "i V i iv", "i VII VI V")
JAZZ_MAJOR = ("Imaj7 vi7 ii7 V7", "Imaj7 IVmaj7 ii7 V7", "Imaj7 ii7 V7 Imaj7", "I6 vi7 ii7 V7")
JAZZ_MINOR = ("i7 iv7 V7 i7", "i7 VImaj7 iv7 V7", "i i7 iv7 V7", "i7 iv7 i7 V7")
ROOT_MAJOR = ("I IV V IV", "I I IV V", "I IV I V", "I V IV I")
ROOT_MINOR = ("i iv V i", "i i iv V", "i VI V i", "i iv i V")


@dataclass(frozen=True)
class Style:
    """A style.

    Args:
        names: the words for it, the usual one first.
        moods: adjectives that fit it.
        beats: in a bar.
        drums: bars of drums, of which a piece uses one, and now and then ends a phrase with one of ``fills``; none for
            a style without drums.
        kits: names of ``instruments.KITS``.
        bass: bars whose signs are degrees of the chord: 1, 3, 5, 7, ``8`` an octave up, ``6`` the sixth, ``a`` a
            semitone below the next root.
        chords: bars of strokes, and of figures that name single notes of the chord upwards; for ``comps`` to play.
        pad: the same for ``pads``.
        rhythms: bars of the melody.
        leads: names of instruments for the melody.
        major: progressions, a chord a bar. minor: the same for minor keys.
        swing: the least and the most. swing_beats: the length of the pair of notes that swings.
        jitter_s: how exactly its players keep time, as a standard deviation.
        drum_words: how texts call its drums.
        mix_db: by how much a role is louder than it would be elsewhere.
    """

    names: tuple[str, ...]
    moods: tuple[str, ...]
    drums: tuple[Drums, ...]
    fills: tuple[Drums, ...]
    bass: tuple[str, ...]
    basses: tuple[str, ...]
    chords: tuple[str, ...]
    comps: tuple[str, ...]
    rhythms: tuple[str, ...]
    leads: tuple[str, ...]
    pad: tuple[str, ...] = ()
    pads: tuple[str, ...] = ()
    kits: tuple[str, ...] = ("standard",)
    beats: int = 4
    major: tuple[str, ...] = POP_MAJOR
    minor: tuple[str, ...] = POP_MINOR
    swing: tuple[float, float] = (0.0, 0.0)
    swing_beats: float = 1.0
    jitter_s: float = 0.005
    drum_words: tuple[str, ...] = ("drums",)
    mix_db: Mapping[Role, float] = field(default_factory=dict)
