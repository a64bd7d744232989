"""Writing WAV while the sound is still being made, to a pipe as well as to a file."""

from __future__ import annotations

import errno
import logging
import os
import struct
from types import TracebackType
from typing import BinaryIO

import numpy as np

from antiphon.audio.limiter import Limiter
from antiphon.audio.resampling import check_rate
from antiphon.audio.samples import MAX_CHANNELS, to_pcm16
from antiphon.errors import ParamError, SessionError

logger = logging.getLogger(__name__)

_HEADER_BYTES = 44
_UNKNOWN = 0xFFFFFFFF  # what readers take for "until the end"


class WavWriter:
    """Writes 16-bit WAV to an open binary file, block by block.

    Nobody knows yet how long it will be, so the header says the largest length there is; where the file can seek,
    ``close`` writes the true one. Nobody knows the peak either, so what goes beyond full scale is turned down by a
    limiter, and logged; a sound within full scale has the bytes that ``files.save`` would write. 5 ms are held back
    until ``close``.

    Args:
        file: written from where it stands, and left open.
        rate_hz: 1000 to 384000.
        channels: 1 to 8.

    Raises:
        ParamError: the rate or the channels. OSError: from ``file``, here and in every call.
    """

    def __init__(self, file: BinaryIO, rate_hz: int, channels: int) -> None:
        if isinstance(channels, bool) or not isinstance(channels, int) or not (1 <= channels <= MAX_CHANNELS):
            raise ParamError(f"channels={channels!r}", expected=f"a whole number from 1 to {MAX_CHANNELS}")
        self._file, self._rate_hz, self._channels = file, check_rate(rate_hz, "rate_hz"), channels
        self._limiter = Limiter(channels, self._rate_hz)
        self._written = 0
        self._closed = False
        self._start = _position(file)
        self._put(self._header(_UNKNOWN))

    def write(self, samples: np.ndarray) -> None:
        """Takes the next samples, floats (C, n).

        Raises:
            AudioError: another number of channels, or samples that are not finite.
            SessionError: the writer is closed.
        """
        if self._closed:
            raise SessionError("the WAV is closed", fix="Write before close()")
        self._put_samples(self._limiter.push(samples))

    def close(self) -> None:
        """Writes what was held back and, where the file can seek, the length; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._put_samples(self._limiter.flush())
        if self._limiter.lowest_db < 0:
            logger.warning("peaks beyond full scale were turned down by up to %.2f dB", -self._limiter.lowest_db)
        if self._start is not None and self._written + _HEADER_BYTES < _UNKNOWN:
            self._file.seek(self._start)
            self._put(self._header(self._written))
            self._file.seek(0, os.SEEK_END)
        self._file.flush()

    def __enter__(self) -> WavWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # after an error of the pipe itself there is nobody to write the rest for
        if not isinstance(error, OSError):
            self.close()

    def _header(self, data_bytes: int) -> bytes:
        frame = 2 * self._channels
        total = _UNKNOWN if data_bytes == _UNKNOWN else data_bytes + _HEADER_BYTES - 8
        wave = struct.pack("<HHIIHH", 1, self._channels, self._rate_hz, self._rate_hz * frame, frame, 16)
        return (
            b"RIFF"
            + struct.pack("<I4s4sI", total, b"WAVE", b"fmt ", 16)
            + wave
            + struct.pack("<4sI", b"data", data_bytes)
        )

    def _put_samples(self, samples: np.ndarray) -> None:
        data = to_pcm16(samples.T).astype("<i2").tobytes()
        self._put(data)
        self._written += len(data)

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:  # a raw pipe may take less than it was given
            taken = self._file.write(rest)
            if taken is None:
                raise BlockingIOError(errno.EAGAIN, "the pipe does not wait for its reader")
            rest = rest[taken:]


def _position(file: BinaryIO) -> int | None:
    """Where the file stands, if one may come back there to write; in a file opened for appending one may not."""
    if not file.seekable():
        return None
    try:
        import fcntl

        if fcntl.fcntl(file.fileno(), fcntl.F_GETFL) & os.O_APPEND:
            return None
    except (ImportError, OSError):  # another system, or a file in memory
        pass
    return file.tell()
