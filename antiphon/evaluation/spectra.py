"""Spectra that the measurements share: every sound is heard in mono, at one rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from antiphon.audio.mel import mel_filterbank
from antiphon.audio.resampling import check_rate, resample
from antiphon.audio.samples import as_samples

RATE_HZ = 32_000


def heard(samples: Any, rate_hz: int) -> Tensor:
    """A sound as the measurements hear it: float32 (N,) in mono at ``RATE_HZ``.

    Args:
        samples: (N,) or (C, N), anything ``as_samples`` takes.

    Raises:
        AudioError, ParamTypeError, ParamError: samples or a rate that cannot be used.
    """
    mono = as_samples(samples, channels=1)
    return torch.from_numpy(resample(mono, check_rate(rate_hz, "rate_hz"), RATE_HZ)[0])


def magnitudes(sound: Tensor, window: int, hop: int) -> Tensor:
    """The magnitudes of windows (Hann) centred on every ``hop``-th sample of (..., N): (..., window / 2 + 1, F).

    A sine of full scale has 1 at its frequency; there is silence before the sound and after it.
    """
    shape = torch.hann_window(window, dtype=sound.dtype)
    filled = torch.nn.functional.pad(sound, (window // 2, window // 2))
    rows = filled.reshape(-1, filled.shape[-1])
    spectrum = torch.stft(rows, window, hop, window=shape, center=False, return_complex=True)
    levels = spectrum.abs() * (2.0 / float(shape.sum()))
    return levels.view(*sound.shape[:-1], *levels.shape[-2:])


def mel_levels(sound: Tensor, *, bands: int, window: int, hop: int) -> Tensor:
    """Magnitudes in bands that lie as the ear hears them, of (..., N) at ``RATE_HZ``: (..., bands, F)."""
    return mel_filterbank(bands, window, RATE_HZ) @ magnitudes(sound, window, hop)
