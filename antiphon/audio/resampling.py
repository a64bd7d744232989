"""Sampling rates: checking them, and changing them without drift."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from antiphon.audio.samples import check_finite
from antiphon.errors import AudioError, ParamError, ParamTypeError

MIN_RATE_HZ = 1000
MAX_RATE_HZ = 384_000


def check_rate(rate_hz: Any, name: str = "sampling_rate") -> int:
    """Gives ``rate_hz`` as an ``int`` if it is a usable sampling rate: an integral number in 1000..384000 Hz.

    Raises:
        ParamError: anything else; ``None``, text and NaN included.
    """
    rate = _integral(rate_hz)
    if rate is None or not (MIN_RATE_HZ <= rate <= MAX_RATE_HZ):
        raise ParamError(
            f"{name}={rate_hz!r}",
            expected=f"a whole number of hertz from {MIN_RATE_HZ} to {MAX_RATE_HZ}",
            fix="Pass the rate that the sound was recorded at" if rate_hz is None else None,
        )
    return rate


def _integral(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (float, np.floating)):
        return int(value) if float(value).is_integer() else None  # False for NaN and infinity
    try:
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def resampled_length(samples: int, from_hz: int, to_hz: int) -> int:
    """Gives the number of samples after resampling: ``ceil(samples * to_hz / from_hz)``, in exact arithmetic."""
    return -(-samples * to_hz // from_hz)


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Gives ``samples`` (..., N) at another rate, as float32 (..., ceil(N * to_hz / from_hz)), aligned at sample 0.

    Equal rates give the input itself. Content above the lower of the two Nyquist frequencies is removed.

    Raises:
        ParamError: a rate that ``check_rate`` refuses.
        ParamTypeError: ``samples`` is no floating point array.
        AudioError: no samples, or samples that are not finite (one NaN would spread over hundreds of samples).

    Source: the soxr library, quality HQ (polyphase filters, linear phase).
    """
    from_hz, to_hz = check_rate(from_hz, "from_hz"), check_rate(to_hz, "to_hz")
    if not isinstance(samples, np.ndarray) or samples.dtype.kind != "f":
        got = samples.dtype if isinstance(samples, np.ndarray) else type(samples).__name__
        raise ParamTypeError(f"samples are {got}", expected="a float32 array", fix="Use as_samples first")
    if samples.size == 0 or samples.ndim == 0:
        raise AudioError(f"samples of shape {samples.shape} cannot be resampled", expected="at least one sample")
    check_finite(samples, "samples")
    samples = samples.astype(np.float32, copy=False)
    if from_hz == to_hz:
        return samples
    flat = samples.reshape(-1, samples.shape[-1])
    length = resampled_length(flat.shape[1], from_hz, to_hz)
    out = np.empty((flat.shape[0], length), np.float32)
    for row, target in zip(flat, out, strict=True):
        _resample_row(row, target, from_hz, to_hz)
    return out.reshape(*samples.shape[:-1], length)


def _resample_row(row: np.ndarray, target: np.ndarray, from_hz: int, to_hz: int) -> None:
    import soxr

    # soxr rounds the length its own way; silence behind the sound, which it assumes anyway, gives enough to cut exactly
    silence = np.zeros(from_hz // to_hz + 16, np.float32)
    resampled = soxr.resample(np.concatenate([row, silence]), from_hz, to_hz, quality="HQ")
    target[:] = resampled[: target.shape[0]]
