"""Recordings as a listener hears them: mono at the model's rate, whole, cut at a limit, or part by part."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from antiphon.audio import files
from antiphon.audio.passages import length_at, load_passage
from antiphon.audio.resampling import resample
from antiphon.audio.samples import to_channels
from antiphon.errors import AudioError, ParamError
from antiphon.tasks.recordings import Recording, check_rate_is_needed

logger = logging.getLogger(__name__)

Long = Literal["cut", "map"]

# a resampled sample hears a little of what follows, so that much more is read than is kept
_BEYOND_S = 0.1


@dataclass(frozen=True)
class Reach:
    """How much of a recording is heard.

    Args:
        longest_s: what the model hears at once, in seconds. long: what becomes of a longer recording: ``"cut"`` hears
            its beginning, ``"map"`` part after part. strict: a longer one is refused.
        part_s: of a part, at most ``longest_s``, which it is unless told.

    Raises:
        ParamError: a value out of range, or two that contradict each other.
    """

    longest_s: float
    long: Long = "cut"
    strict: bool = False
    part_s: float | None = None

    def __post_init__(self) -> None:
        if self.long not in ("cut", "map"):
            raise ParamError(f"long={self.long!r}", expected="'cut' or 'map'")
        if not isinstance(self.strict, bool):
            raise ParamError(f"strict={self.strict!r}", expected="True or False")
        if self.strict and self.long == "map":
            raise ParamError("strict=True and long='map'", expected="one of them: part by part nothing is cut")
        if self.part_s is None:
            return
        if self.long != "map":
            raise ParamError(f"part_seconds={self.part_s!r} and nothing is heard in parts", fix="Pass long='map'")
        number = isinstance(self.part_s, (int, float)) and not isinstance(self.part_s, bool)
        if not (number and 0 < self.part_s <= self.longest_s):
            raise ParamError(f"part_seconds={self.part_s!r}", expected=f"above 0, up to {self.longest_s:g}")

    @property
    def parts_s(self) -> float:
        """Seconds of a part."""
        return self.longest_s if self.part_s is None else float(self.part_s)


@dataclass(frozen=True, eq=False)
class HeardSound:
    """A passage of a recording, as the model hears it.

    Attributes:
        samples: float32 (N,) at the model's rate. start_s, end_s: its place in the recording. total_s: of the
            recording, where that is known.
    """

    samples: np.ndarray
    start_s: float
    end_s: float
    total_s: float

    @property
    def is_cut(self) -> bool:
        """Whether the recording goes on and nobody hears it."""
        return self.end_s < self.total_s


@dataclass(frozen=True, eq=False)
class Listened:
    """A sound that was heard: what it is, the digest of its samples, and what the model reads of it, (F, D)."""

    sound: HeardSound
    digest: str
    features: Tensor


def beginning_of(item: Any, sampling_rate: int | None, rate_hz: int, reach: Reach) -> HeardSound:
    """A recording, or what is heard of it at once.

    Args:
        item: a path, the bytes of a file, a binary file object, an ``Audio``, or an array at ``sampling_rate`` Hz.
        rate_hz: of the model. Where ``reach`` cuts, the log names the cut.

    Raises:
        AudioError: a sound that cannot be read or is empty; or a longer one than ``reach`` allows.
        ParamError: an array without a rate. ParamTypeError: no sound.
    """
    check_rate_is_needed(sampling_rate, audio=item)
    found = Recording.read(item, sampling_rate, argument="audio", first_s=reach.longest_s + _BEYOND_S)
    samples = _brought(found.samples, found.sampling_rate, rate_hz)
    longest = round(reach.longest_s * rate_hz)
    if len(samples) <= longest:
        seconds = len(samples) / rate_hz
        return HeardSound(samples, 0.0, seconds, seconds)
    total_s = _length_s(item, sampling_rate, at_least_s=len(samples) / rate_hz)
    name = found.name or "the recording"
    if reach.strict:
        raise AudioError(
            f"{name} lasts {total_s:.1f} s",
            expected=f"at most {reach.longest_s:g} s, which the model hears at once",
            fix="Cut it, leave out strict, or hear it part by part with long='map'",
        )
    logger.warning(
        "%s lasts %.1f s and the model hears %g s at once: what follows %s is not heard; long='map' hears it in parts",
        name,
        total_s,
        reach.longest_s,
        clock(reach.longest_s),
    )
    return HeardSound(samples[:longest].copy(), 0.0, reach.longest_s, total_s)


def parts_of(item: Any, sampling_rate: int | None, rate_hz: int, reach: Reach) -> Iterator[HeardSound]:
    """A recording part after part, each read when it is asked for; a last part below a second joins the one before,
    unless that would be longer than the model hears at once.

    Arguments and errors as of ``beginning_of``.
    """
    check_rate_is_needed(sampling_rate, audio=item)
    if isinstance(item, (str, os.PathLike, bytes, bytearray)):
        header = files.read_header(item)
        total = length_at(header, rate_hz)
        for start, end in _spans(total, rate_hz, reach):
            (part,) = load_passage(item, header, start=start, count=end - start, rate_hz=rate_hz, channels=1)
            yield HeardSound(part, start / rate_hz, end / rate_hz, total / rate_hz)
        return
    found = Recording.read(item, sampling_rate, argument="audio")
    samples = _brought(found.samples, found.sampling_rate, rate_hz)
    for start, end in _spans(len(samples), rate_hz, reach):
        yield HeardSound(samples[start:end], start / rate_hz, end / rate_hz, len(samples) / rate_hz)


def clock(seconds: float) -> str:
    """A moment as people write it: 0:07, 12:30, 1:02:03."""
    whole = math.floor(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _spans(total: int, rate_hz: int, reach: Reach) -> list[tuple[int, int]]:
    if not total:
        raise AudioError("the recording is empty", expected="at least one sample")
    length = max(1, round(reach.parts_s * rate_hz))
    spans = [(start, min(start + length, total)) for start in range(0, total, length)]
    if len(spans) > 1 and spans[-1][1] - spans[-1][0] < rate_hz and total - spans[-2][0] <= reach.longest_s * rate_hz:
        spans[-2:] = [(spans[-2][0], total)]
    return spans


def _brought(samples: np.ndarray, sampling_rate: int, rate_hz: int) -> np.ndarray:
    """(N,) in mono at ``rate_hz``."""
    (mono,) = resample(to_channels(samples, 1), sampling_rate, rate_hz)
    if not len(mono):
        raise AudioError("the recording is empty", expected="at least one sample")
    return np.ascontiguousarray(mono)


def _length_s(item: Any, sampling_rate: int | None, *, at_least_s: float) -> float:
    """How long a recording is of which only the beginning was read."""
    if isinstance(item, (str, os.PathLike, bytes, bytearray)):
        return max(at_least_s, files.read_header(item).seconds)
    length = getattr(item, "seconds", None)  # of an Audio
    if isinstance(length, float):
        return length
    if sampling_rate and isinstance(item, (np.ndarray, torch.Tensor)):
        return float(item.shape[-1] / sampling_rate)
    return at_least_s
