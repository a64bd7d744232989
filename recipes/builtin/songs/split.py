"""Which combinations of style, key, lead and tempo training never hears."""

from __future__ import annotations

import hashlib

from recipes.builtin.songs.theory import Mode

TEMPO_BUCKET_BPM = 10
# together about one piece in twenty
_SHARE_OF_KEYS, _SHARE_OF_TEMPOS = 0.026, 0.026


def held_out(style: str, tempo_bpm: int, tonic: int, mode: Mode, lead: str) -> bool:
    """Tells whether a combination is kept for evaluation: its style and tonic, with mode and lead or with its tempo.

    Tempos count by tens. A function of the words alone, the same on every machine and in every version of Python. No
    pair of facts is held out as a whole: a style would lose some of its tempos, and others nothing.
    """
    of_keys = _fraction(f"{style}|{tonic}|{mode}|{lead}") < _SHARE_OF_KEYS
    return of_keys or _fraction(f"{style}|{tonic}|{tempo_bpm // TEMPO_BUCKET_BPM}") < _SHARE_OF_TEMPOS


def _fraction(words: str) -> float:
    """A number from 0 to 1 that looks random and is not."""
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big") / 2**64
