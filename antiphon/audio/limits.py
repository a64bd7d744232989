"""How much sound a file may turn into, and the counter that watches it while it is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from antiphon.audio.resampling import MAX_RATE_HZ, MIN_RATE_HZ
from antiphon.audio.samples import MAX_CHANNELS, check_finite
from antiphon.errors import AudioError, ParamError

_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What ``files.load`` accepts. A few kilobytes can decode to gigabytes, so the decoded bytes are what counts.

    Args:
        max_decoded_bytes: size of the float32 samples, 2 GiB unless told (an hour and a half of 48 kHz stereo).
        max_channels: 1 to 8.
        min_rate_hz, max_rate_hz: sampling rates, within 1000 to 384000.
        max_seconds: length, unlimited unless told.

    Raises:
        ParamError: a value out of range.
    """

    max_decoded_bytes: int = 2 << 30
    max_channels: int = MAX_CHANNELS
    min_rate_hz: int = MIN_RATE_HZ
    max_rate_hz: int = MAX_RATE_HZ
    max_seconds: float | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.max_decoded_bytes < 1 << 62):
            raise ParamError(f"max_decoded_bytes={self.max_decoded_bytes!r}", expected="a positive number of bytes")
        if not (1 <= self.max_channels <= MAX_CHANNELS):
            raise ParamError(f"max_channels={self.max_channels!r}", expected=f"1 to {MAX_CHANNELS}")
        if not (MIN_RATE_HZ <= self.min_rate_hz <= self.max_rate_hz <= MAX_RATE_HZ):
            raise ParamError(
                f"min_rate_hz={self.min_rate_hz!r} and max_rate_hz={self.max_rate_hz!r}",
                expected=f"{MIN_RATE_HZ} <= min_rate_hz <= max_rate_hz <= {MAX_RATE_HZ}",
            )
        if self.max_seconds is not None and not (self.max_seconds > 0):
            raise ParamError(f"max_seconds={self.max_seconds!r}", expected="a positive number of seconds, or None")

    @property
    def max_file_bytes(self) -> int:
        """A file larger than this cannot keep the other limits: no format stores a sample in more than 8 bytes."""
        return 2 * self.max_decoded_bytes + 64 * _MIB  # cover pictures and tags come on top

    def check_stream(self, channels: int, rate_hz: int, name: str) -> None:
        """Raises ``AudioError`` for a number of channels or a rate that a file states and these limits refuse."""
        if not (1 <= channels <= self.max_channels):
            raise AudioError(f"{name} has {channels} channels", expected=f"1 to {self.max_channels}")
        if not (self.min_rate_hz <= rate_hz <= self.max_rate_hz):
            raise AudioError(
                f"{name} states a sampling rate of {rate_hz} Hz",
                expected=f"{self.min_rate_hz} to {self.max_rate_hz} Hz",
            )

    def check_file_bytes(self, size_bytes: int, name: str) -> None:
        """Raises ``AudioError`` for a file too large to keep the other limits."""
        if not (size_bytes <= self.max_file_bytes):
            raise AudioError(f"{name} has {size_bytes} bytes", expected=f"at most {self.max_file_bytes}", fix=_RAISE)


_RAISE = "Cut the file, or pass limits=Limits(...) with a higher bound"


class Intake:
    """Collects decoded blocks of one sound and stops at the first that breaks a limit.

    Args:
        channels, rate_hz: as the file states them; checked here.
        limits: the bounds.
        name: what messages call the file.
        first_s: how many seconds are wanted, from the beginning; all unless told.

    Attributes:
        length_samples: how many are there. is_full: no more are wanted.

    Raises:
        AudioError: here and in ``add``, where a limit is broken or a sample is not finite.
    """

    def __init__(self, channels: int, rate_hz: int, limits: Limits, name: str, *, first_s: float | None = None) -> None:
        limits.check_stream(channels, rate_hz, name)
        self.channels, self.rate_hz, self.name = channels, rate_hz, name
        self.length_samples = 0
        self._wanted = None if first_s is None else math.ceil(first_s * rate_hz)
        self._limits = limits
        self._blocks: list[np.ndarray] = []

    def add(self, block: np.ndarray) -> None:
        """Takes a block, float32 (C, n), or what is wanted of it; it is kept as it is, so hand over a copy of a buffer
        that is used again.
        """
        if self._wanted is not None:
            block = block[:, : self._wanted - self.length_samples]
        # before the block is kept: a whole bomb never is in memory
        length = self.length_samples + block.shape[1]
        if not (length * self.channels * 4 <= self._limits.max_decoded_bytes):
            raise AudioError(
                f"{self.name} decodes to more than {self._limits.max_decoded_bytes} bytes",
                expected="a shorter sound",
                fix=_RAISE,
            )
        seconds = self._limits.max_seconds
        if seconds is not None and not (length <= seconds * self.rate_hz):
            raise AudioError(f"{self.name} is longer than {seconds:g} s", expected="a shorter sound", fix=_RAISE)
        check_finite(block, self.name, offset_samples=self.length_samples)
        self._blocks.append(block)
        self.length_samples = length

    @property
    def is_full(self) -> bool:
        return self._wanted is not None and self.length_samples >= self._wanted

    def joined(self) -> np.ndarray:
        """The whole sound, float32 (C, N); the blocks are given up on the way, to keep the peak of memory low."""
        out = np.empty((self.channels, self.length_samples), np.float32)
        start = 0
        blocks, self._blocks = self._blocks[::-1], []
        while blocks:
            block = blocks.pop()
            out[:, start : start + block.shape[1]] = block
            start += block.shape[1]
        return out
