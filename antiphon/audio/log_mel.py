"""Log-mel spectra as speech encoders hear them: 80 dB below the loudest band, scaled to about -1 to 1."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from antiphon.audio.mirroring import mirrored
from antiphon.audio.resampling import check_rate
from antiphon.errors import AudioError, ParamError, ParamTypeError

MAX_HZ = 8000.0
"""Where the highest band ends, whatever the rate."""

_FLOOR = 1e-10
_RANGE_BELS = 8.0
# so few frames at a time that their spectra stay in a processor's cache
_BLOCK_FRAMES = 256

# the mel scale of M. Slaney's Auditory Toolbox: even steps up to 1000 Hz, even ratios above
_LINEAR_HZ = 200.0 / 3
_BEND_HZ = 1000.0
_BEND_MEL = _BEND_HZ / _LINEAR_HZ
_RATIO = np.log(6.4) / 27.0


def log_mel(
    samples: Tensor, filters: Tensor, *, n_fft: int = 400, hop_samples: int = 160, out: Tensor | None = None
) -> Tensor:
    """Gives the log-mel spectrum of one sound, float32 (bands, N // hop_samples).

    Frame ``f`` is centred on sample ``f * hop_samples``; at its ends the sound is mirrored. Values are powers in bels,
    cut off 8 below the loudest of the whole sound, plus 4, over 4. However long the sound, few frames are worked on at
    a time; silence behind the sound costs nothing.

    Args:
        samples: (N,) floating point, finite, more than ``n_fft // 2`` of them; computed in float32.
        filters: (bands, n_fft // 2 + 1), as ``mel_bands`` gives them.
        n_fft: samples that a frame sees. hop_samples: from one frame to the next.
        out: where the spectrum is written, (bands, N // hop_samples) float32.

    Raises:
        AudioError: too few samples for a mirror. ParamTypeError: ``samples`` are no floats.
        ParamError: sizes that do not go together.

    Source: A. Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2.2; numbers as
        transformers' ``WhisperFeatureExtractor``.
    """
    frames = _frames(samples, filters, n_fft, hop_samples)
    spectrum = samples.new_empty(filters.shape[0], frames, dtype=torch.float32) if out is None else out
    if spectrum.shape != (filters.shape[0], frames):
        raise ParamError(f"out of shape {tuple(spectrum.shape)}", expected=f"{(filters.shape[0], frames)}")
    window = torch.hann_window(n_fft, device=samples.device)
    heard = min(frames, -(-(_sounding(samples) + n_fft // 2) // hop_samples))
    for first in range(0, heard, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, heard)
        part = mirrored(samples, first * hop_samples - n_fft // 2, (last - 1) * hop_samples - n_fft // 2 + n_fft)
        bins = torch.view_as_real(torch.fft.rfft(part.unfold(0, n_fft, hop_samples) * window))
        power = bins.square_().sum(-1)  # (frames of the block, n_fft / 2 + 1)
        spectrum[:, first:last] = (filters @ power.T).clamp_(min=_FLOOR).log10_()
    spectrum[:, heard:] = float(np.log10(_FLOOR))
    return spectrum.clamp_(min=float(spectrum.max()) - _RANGE_BELS).add_(4.0).div_(4.0)


def _frames(samples: Tensor, filters: Tensor, n_fft: int, hop_samples: int) -> int:
    if not samples.is_floating_point():
        raise ParamTypeError(f"samples are {samples.dtype}", expected="floats")
    if not (n_fft >= 2 and hop_samples >= 1 and filters.shape[-1] == n_fft // 2 + 1):
        raise ParamError(
            f"n_fft={n_fft!r}, hop_samples={hop_samples!r} and filters of shape {tuple(filters.shape)}",
            expected="filters (bands, n_fft // 2 + 1) and a hop of at least 1",
        )
    least = max(n_fft // 2 + 1, hop_samples)
    if samples.ndim != 1 or not samples.shape[0] >= least:
        raise AudioError(
            f"a sound of shape {tuple(samples.shape)}", expected=f"(samples,), {least} or more", fix="Add silence"
        )
    return int(samples.shape[0] // hop_samples)


def _sounding(samples: Tensor) -> int:
    """Samples up to the last that is not zero."""
    if samples[-1] != 0:
        return int(samples.shape[0])
    places = samples.nonzero()
    return int(places[-1]) + 1 if len(places) else 0


@lru_cache(maxsize=16)
def mel_bands(bands: int, n_fft: int, rate_hz: int) -> Tensor:
    """Gives triangles of equal area over the frequencies: float32 (bands, n_fft // 2 + 1), shared, not to be changed.

    They stand in even steps of mel from 0 to 8000 Hz.

    Raises:
        ParamError: sizes that cannot be, or a rate that ``check_rate`` refuses.

    Source: M. Slaney, Auditory Toolbox, 1998; in float64, as librosa's ``filters.mel``.
    """
    rate_hz = check_rate(rate_hz, "rate_hz")
    if not (bands >= 1 and n_fft >= 2):
        raise ParamError(f"{bands!r} bands of {n_fft!r} samples", expected="at least 1 band and 2 samples")
    corners_hz = _hertz(np.linspace(0.0, _mel(MAX_HZ), bands + 2))
    bins_hz = np.linspace(0.0, rate_hz // 2, n_fft // 2 + 1)
    low, centre, high = (corners_hz[i : i + bands, None] for i in range(3))
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (high - low))
    return torch.from_numpy(triangles).float()


def _mel(hz: float) -> float:
    return hz / _LINEAR_HZ if hz < _BEND_HZ else _BEND_MEL + float(np.log(hz / _BEND_HZ)) / _RATIO


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < _BEND_MEL, mels * _LINEAR_HZ, _BEND_HZ * np.exp(_RATIO * (mels - _BEND_MEL)))
