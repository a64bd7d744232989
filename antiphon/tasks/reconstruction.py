"""How far a sound is from the one it should be: the noise between them, and the distance of their spectra."""

from __future__ import annotations

import math

import numpy as np

from antiphon.audio.clip import Audio
from antiphon.errors import AudioError

_SIZES = (512, 1024, 2048)
_FLOOR = 1e-5  # of full scale: below it, differences are not heard
_FRAMES = 512  # that are transformed together


def snr_db(sound: Audio, wanted: Audio) -> float:
    """Power of ``wanted`` over the power of the difference, in dB; infinite for equal sounds.

    Raises:
        AudioError: different rates, channels or lengths.
    """
    _check(sound, wanted)
    power = noise = 0.0
    for start in range(0, len(wanted), 1 << 18):  # an hour as float64 would be gigabytes
        right = wanted.samples[:, start : start + (1 << 18)].astype(np.float64)
        power += float((right**2).sum())
        noise += float(((sound.samples[:, start : start + (1 << 18)] - right) ** 2).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(power / noise) if power > 0 else -math.inf


def log_spectral_distance_db(sound: Audio, wanted: Audio) -> float:
    """How far the levels of the spectra lie apart, in dB; 0 for equal sounds.

    Windows (Hann) of 512, 1024 and 2048 samples, each a quarter behind the one before; in each window the root of the
    mean over frequencies of the squared difference in level, and of these the mean over windows, channels and sizes.
    Levels below -100 dB of full scale count as -100.

    Raises:
        AudioError: different rates, channels or lengths.
    """
    _check(sound, wanted)
    return float(np.mean([_distance(sound.samples, wanted.samples, size) for size in _SIZES]))


def _distance(one: np.ndarray, other: np.ndarray, size: int) -> float:
    window, hop = np.hanning(size + 1)[:-1], size // 4
    total, count = 0.0, 0
    for left, right in zip(one, other, strict=True):
        rows = [np.lib.stride_tricks.sliding_window_view(_filled(x, size, hop), size)[::hop] for x in (left, right)]
        for start in range(0, len(rows[0]), _FRAMES):
            levels = [_levels(row[start : start + _FRAMES] * window, window) for row in rows]
            total += float(np.sqrt(((levels[0] - levels[1]) ** 2).mean(axis=1)).sum())
        count += len(rows[0])
    return total / count


def _filled(samples: np.ndarray, size: int, hop: int) -> np.ndarray:
    """With half a window of silence at each end, so that windows have them in their middle."""
    return np.pad(samples, (size // 2, size // 2 + -len(samples) % hop))


def _levels(windowed: np.ndarray, window: np.ndarray) -> np.ndarray:
    magnitudes = np.abs(np.fft.rfft(windowed, axis=1)) / (window.sum() / 2)
    levels: np.ndarray = 20 * np.log10(np.maximum(magnitudes, _FLOOR))
    return levels


def _check(sound: Audio, wanted: Audio) -> None:
    own, theirs = [(*audio.samples.shape, audio.sampling_rate) for audio in (sound, wanted)]
    if own != theirs:
        raise AudioError(f"sounds of (channels, samples, Hz) {own} and {theirs}", expected="equal ones")
