"""How clearly the beginning of a piece tells its key, from its notes alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from recipes.builtin.songs.piece import Piece
from recipes.builtin.songs.theory import MODES, PITCH_CLASSES, Mode

# how well each note fits into a key, from its tonic upwards: by the ratings of listeners, and by counts in music
_PROFILES: tuple[dict[Mode, tuple[float, ...]], ...] = (
    {
        "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
        "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
    },
    {
        "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
        "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
    },
)
# what sounds of a note is its third and fifth partial too
_PARTIALS = ((0, 1.0), (7, 0.3), (4, 0.12))
# long notes count for less than their length: most instruments fade
_LENGTH_POWER, _LEVEL_POWER, _MEASURED_LEVEL = 0.7, 2, 100


def clarity(piece: Piece, seconds: float) -> float:
    """Gives by how much the notes of its first seconds fit its key better than any other, -2 to 2.

    The figure is a difference of correlations with profiles of the 24 keys, the least over two kinds of profile.

    Source: C. Krumhansl, "Cognitive Foundations of Musical Pitch", and D. Temperley, "Music and Probability", for the
        profiles and the method.
    """
    found = _correlations() @ _normal(_strengths(piece, seconds))  # (profiles, 24)
    own = MODES.index(piece.mode) * PITCH_CLASSES + piece.tonic
    others = np.delete(found, own, axis=1)
    return float((found[:, own] - others.max(axis=1)).min())


def _strengths(piece: Piece, seconds: float) -> np.ndarray:
    """How much of each pitch class sounds, C first."""
    strengths = np.zeros(PITCH_CLASSES)
    end = seconds / piece.seconds_a_beat
    for part in piece.parts:
        if part.drums:
            continue
        level = (part.level / _MEASURED_LEVEL) ** _LEVEL_POWER
        for note in part.notes:
            if note.start_beat < end:
                weight = level * note.velocity * min(note.beats, end - note.start_beat) ** _LENGTH_POWER
                for interval, share in _PARTIALS:
                    strengths[(note.pitch + interval) % PITCH_CLASSES] += weight * share
    return strengths


@lru_cache(maxsize=1)
def _correlations() -> np.ndarray:
    """The normal profiles of all keys, (profiles, 24, 12): major from C upwards, then minor."""
    return np.array(
        [
            [_normal(np.roll(profile[mode], tonic)) for mode in MODES for tonic in range(PITCH_CLASSES)]
            for profile in _PROFILES
        ]
    )


def _normal(values: np.ndarray) -> np.ndarray:
    """With mean 0 and length 1; zeros stay."""
    centred = values - np.mean(values)
    length = np.linalg.norm(centred)
    normal: np.ndarray = centred / length if length else centred
    return normal
