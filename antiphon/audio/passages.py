"""Passages of a sound file at another rate, read alone and yet as they are in the whole."""

from __future__ import annotations

import math

import numpy as np

from antiphon.audio import files
from antiphon.audio.header import Header
from antiphon.audio.resampling import resample, resampled_length
from antiphon.audio.samples import to_channels
from antiphon.audio.stream import Source
from antiphon.errors import AudioError, ParamError

# How far beside itself a resampled sample hears, and how long a lossy decoder needs until it is under way.
_MARGIN_S = 0.1


def length_at(header: Header, rate_hz: int) -> int:
    """Gives how many samples the whole file has at another rate."""
    return resampled_length(header.samples, header.rate_hz, rate_hz)


def load_passage(
    source: Source, header: Header, *, start: int, count: int, rate_hz: int, channels: int | None
) -> np.ndarray:
    """Gives samples ``start`` to ``start + count`` of a file brought to ``rate_hz``, float32 (C, count).

    They are those of the whole file resampled, to float32's rounding. From disk comes the passage and little more.

    Args:
        header: of the file, as ``read_header`` gives it. start, count: in samples at ``rate_hz``.
        channels: 1 averages, more repeat a single one; ``None`` keeps them.

    Raises:
        AudioError: a file that cannot be read, is another than its header says or too short, or other channels.
        ParamError: a passage that cannot be.
    """
    if not (start >= 0 and count >= 1):
        raise ParamError(f"a passage of {count!r} samples from {start!r}", expected="one sample or more, from 0 on")
    # in steps of both rates at once, so that a sample of the passage is one of the whole
    common = math.gcd(header.rate_hz, rate_hz)
    read, made = header.rate_hz // common, rate_hz // common
    margin = math.ceil(_MARGIN_S * common)
    first, last = max(0, start // made - margin), -(-(start + count) // made) + margin
    samples, file_rate_hz = files.load(
        source, start_s=first * read / header.rate_hz, first_s=(last - first) * read / header.rate_hz
    )
    if file_rate_hz != header.rate_hz:
        raise AudioError(f"a file at {file_rate_hz} Hz", expected=f"{header.rate_hz} Hz, as it was found before")
    if channels is not None:
        samples = to_channels(samples, channels)
    samples = resample(samples[:, : (last - first) * read], header.rate_hz, rate_hz)
    passage = samples[:, start - first * made :][:, :count]
    if passage.shape[1] < count:
        raise AudioError(
            f"a file that ends {count - passage.shape[1]} samples before its passage does",
            expected="as many as it states",
            fix="Fetch the file again",
        )
    return np.ascontiguousarray(passage)
