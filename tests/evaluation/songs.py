"""Sounds by rule whose tempo and key tests know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RATE_HZ = 32_000
C4_HZ = 261.6256


def clicks(
    bpm: float,
    *,
    seconds: float = 8.0,
    offbeats: float = 0.0,
    swing: float = 0.0,
    seed: int = 0,
    rate_hz: int = RATE_HZ,
) -> np.ndarray:
    """Kick and snare in turn, a cymbal on each beat, and one between them at a volume of ``offbeats``.

    ``swing=1`` is the ratio 2:1.
    """
    generator = np.random.default_rng(seed)
    samples = generator.normal(0, 1e-3, round(seconds * rate_hz))
    beat_s, first_s = 60 / bpm, generator.uniform(0, 0.2)
    for number in range(-1, int(seconds / beat_s) + 1):
        start_s = first_s + number * beat_s
        add(samples, start_s, _kick(rate_hz) if number % 2 else _hiss(generator, 0.2, rate_hz), rate_hz)
        add(samples, start_s, _hiss(generator, 0.2, rate_hz), rate_hz)
        add(samples, start_s + beat_s * (0.5 + swing / 6), _hiss(generator, offbeats, rate_hz), rate_hz)
    return samples.astype(np.float32)


def add(samples: np.ndarray, start_s: float, sound: np.ndarray, rate_hz: int) -> None:
    """Adds a sound at its place, as far as it lies within the samples."""
    first = round(start_s * rate_hz)
    if 0 <= first < len(samples):
        end = min(len(samples), first + len(sound))
        samples[first:end] += sound[: end - first]


def chords(degrees: Sequence[int], tonic: int, mode: str, *, chord_s: float = 1.0) -> np.ndarray:
    """Triads on degrees of the scale (0 is the tonic), with their root in the bass; in minor degree 4 is major."""
    scale = [0, 2, 4, 5, 7, 9, 11] if mode == "major" else [0, 2, 3, 5, 7, 8, 10]
    parts = []
    for degree in degrees:
        notes = [scale[(degree + step) % 7] + 12 * ((degree + step) // 7) for step in (0, 2, 4)]
        if mode == "minor" and degree == 4:
            notes[1] += 1
        parts.append(sum(note(tonic + pitch, chord_s) for pitch in (*notes, notes[0] - 24)))
    return np.concatenate(parts).astype(np.float32)


def note(pitch: int, seconds: float, *, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A tone with six harmonics that fades; ``pitch`` counts semitones from the middle C."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    frequency_hz = C4_HZ * 2 ** (pitch / 12)
    waves = [np.sin(2 * np.pi * frequency_hz * h * time) / h for h in range(1, 7)]
    tone: np.ndarray = 0.05 * np.sum(waves, axis=0) * np.exp(-1.5 * time)
    return tone


def _kick(rate_hz: int) -> np.ndarray:
    time = np.arange(rate_hz // 8) / rate_hz
    kick: np.ndarray = 0.5 * np.sin(2 * np.pi * 80 * time) * np.exp(-time / 0.04)
    return kick


def _hiss(generator: np.random.Generator, volume: float, rate_hz: int) -> np.ndarray:
    time = np.arange(rate_hz // 20) / rate_hz
    hiss: np.ndarray = volume * generator.normal(0, 1, len(time)) * np.exp(-time / 0.01)
    return hiss
