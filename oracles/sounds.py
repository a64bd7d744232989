"""Sounds by formula, for oracles and for the tests that compare with them."""

from __future__ import annotations

import numpy as np


def melody(samples: int, rate_hz: int, *, first: int = 0) -> np.ndarray:
    """Three notes a second with two overtones, as float32 (samples,); other tunes begin at other notes."""
    time_s = np.arange(samples) / rate_hz
    semitones = (first + 7 * np.floor(3 * time_s)) % 24
    phase = 2 * np.pi * np.cumsum(220 * 2 ** (semitones / 12)) / rate_hz
    return (0.4 * np.sin(phase) + 0.2 * np.sin(2 * phase) + 0.1 * np.sin(3 * phase)).astype(np.float32)


def noise(*shape: int) -> np.ndarray:
    """Noise in [-1, 1], float32: the low digits of a quadratic sequence, the same everywhere."""
    steps = np.arange(np.prod(shape), dtype=np.uint64)
    mixed = (steps * steps * np.uint64(2_654_435_761) + steps * np.uint64(40_503)) % np.uint64(65_537)
    return (mixed.astype(np.float32) / np.float32(32_768) - 1).reshape(shape)
