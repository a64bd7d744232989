"""Tunes by rule, for melodies that tests know note by note."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from antiphon import Audio

C4_HZ = 261.6256


def tune(notes: Sequence[int], *, note_s: float = 0.4, rate_hz: int = 22_050) -> Audio:
    """Sines one after the other; a note is its distance from the middle C in semitones."""
    time = np.arange(round(note_s * rate_hz)) / rate_hz
    waves = [0.3 * np.sin(2 * np.pi * C4_HZ * 2 ** (note / 12) * time) for note in notes]
    return Audio(np.concatenate(waves).astype(np.float32), rate_hz)
