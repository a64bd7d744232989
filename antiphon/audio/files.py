"""Reading and writing sound files: ``load``, ``save``, ``encode`` and ``read_tags``."""

from __future__ import annotations

import io
import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from antiphon.audio import media, riff, sndfile
from antiphon.audio.destination import destination
from antiphon.audio.formats import FALLBACK_RATE_HZ, SUBTYPE_BYTES, Format, known_format
from antiphon.audio.header import Header
from antiphon.audio.limits import Limits
from antiphon.audio.resampling import check_rate, resample
from antiphon.audio.samples import as_samples
from antiphon.audio.stream import GuardedStream, Source, opened
from antiphon.errors import AudioError, ParamError, ParamTypeError, unknown_argument

logger = logging.getLogger(__name__)

__all__ = ["TAGS", "Header", "Limits", "encode", "load", "read_header", "read_tags", "save"]

TAGS = riff.KEYS
_MAX_TAG_BYTES = 32_000  # all together; Opus files with a header beyond 60 kB cannot be opened again
_PEAK = 10 ** (-0.1 / 20)
_RETRIES = 4
_MARGIN = 10 ** (-0.05 / 20)  # a softer sound does not code to the same sound, softer
_DEFAULT_LIMITS = Limits()


# The sizes in a WAV header have 32 bits; beyond this (headers and tags need some) RF64 is written instead.
_WAV_MAX_BYTES = (1 << 32) - (1 << 20)


def load(
    source: Source, *, limits: Limits = _DEFAULT_LIMITS, start_s: float = 0.0, first_s: float | None = None
) -> tuple[np.ndarray, int]:
    """Gives the sound of a file: float32 (C, N) and the sampling rate in Hz that the file states.

    libsndfile reads wav, flac, ogg, opus, mp3, aiff and more; FFmpeg, where the extra ``media`` is installed, what it
    refuses (m4a, aac, webm, mp4). The content decides, not the name. A file that is cut short or damaged gives the
    part before the damage, and a warning in the log.

    Args:
        source: a path, the bytes of a file, or a binary file object (read from its start, left open).
        limits: bounds on decoded bytes, channels and rate, kept while decoding.
        start_s: where to begin. libsndfile goes there and reads nothing of what lies before; FFmpeg decodes it.
        first_s: only so many seconds are decoded from there, and no more memory is taken; all unless told.

    Raises:
        AudioError: no such file, no regular file, no sound, unknown format, samples not finite, a limit broken, or a
            sound that ends before ``start_s``.
        ParamTypeError: ``source`` is none of the three. ParamError: ``start_s`` is no place, ``first_s`` no length.
    """
    if first_s is not None and not 0 < first_s < math.inf:
        raise ParamError(f"first_s={first_s!r}", expected="a number of seconds above 0, or None")
    if not 0 <= start_s < math.inf:
        raise ParamError(f"start_s={start_s!r}", expected="a number of seconds, not below 0")
    with opened(source, limits) as (stream, name):
        riff.check_header(stream, name)
        try:
            return sndfile.decode(stream, name, limits, start_s=start_s, first_s=first_s)
        except sndfile.Refused as refused:
            if not media.available():
                raise _unknown(name, refused) from refused
            until_s = None if first_s is None else start_s + first_s
            samples, rate_hz = media.decode(stream, name, limits, first_s=until_s)
            start = round(start_s * rate_hz)
            if not start < samples.shape[1]:
                raise AudioError(
                    f"{name} has {samples.shape[1]} samples", expected=f"more than the {start} before the passage"
                ) from None
            return (samples[:, start:].copy() if start else samples), rate_hz


def read_header(source: Source, *, limits: Limits = _DEFAULT_LIMITS) -> Header:
    """Gives what a sound file states: channels, rate and length; only a file that states no length is decoded.

    Raises:
        AudioError, ParamTypeError: as ``load``, except for what shows only in decoding.
    """
    with opened(source, limits) as (stream, name):
        riff.check_header(stream, name)
        try:
            found = sndfile.header(stream, name, limits)
        except sndfile.Refused as refused:
            if not media.available():
                raise _unknown(name, refused) from refused
            found = media.header(stream, name, limits)
    if found is not None:
        return found
    samples, rate_hz = load(source, limits=limits)
    return Header(len(samples), rate_hz, samples.shape[1])


def _unknown(name: str, refused: Exception) -> AudioError:
    return AudioError(
        f"{name} cannot be read as sound ({refused})",
        expected="wav, flac, ogg, opus, mp3 or aiff",
        fix="For m4a, aac, webm and mp4 install FFmpeg: pip install 'antiphon[media]'",
    )


def read_tags(source: Source) -> dict[str, str]:
    """Gives the text tags of a file (``title``, ``comment``, ``software`` and others that are there).

    Raises:
        AudioError: no such file, no regular file, or no format that is known here.
    """
    with opened(source, Limits(max_decoded_bytes=1 << 61)) as (stream, name):
        riff.check_header(stream, name)
        try:
            tags = sndfile.metadata(stream)
        except sndfile.Refused as refused:
            if media.available():
                return media.metadata(stream, name)
            raise AudioError(f"the tags of {name} cannot be read ({refused})", expected="a sound file") from refused
        tags.update(riff.read_info(stream))
        stream.seek(0)
        latin = stream.read(3) == b"ID3"
    tags = {key: _repaired(value) if latin else value for key, value in tags.items()}
    if "software" in tags:  # libsndfile and LAME add their own names
        tags["software"] = re.sub(r" \((libsndfile-[\d.]+|LAME.*)\).*$", "", tags["software"], flags=re.DOTALL)
    return tags


def _repaired(text: str) -> str:
    # ID3 tags of libsndfile hold UTF-8 declared as Latin-1
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def save(
    path: str | os.PathLike[str],
    samples: np.ndarray,
    rate_hz: int,
    *,
    format: str | None = None,
    subtype: str | None = None,
    tags: Mapping[str, str] | None = None,
    peak_dbfs: float | None = None,
) -> Path:
    """Writes a sound to ``path``, whole or not at all, and gives the path.

    Integer and lossy formats cannot hold samples beyond +-1: such a sound is scaled to a peak of -0.1 dBFS and the gain
    is logged. Lossy formats know few sampling rates; others are resampled to 48 kHz, which is logged. WAV beyond 4 GB
    is written as RF64. Every format but two gives back as many samples as it was given: WebM has at least 960, and AAC
    without a container begins with 1024 more and ends with a whole frame.

    Args:
        path: the file; replaced if it exists, written to if it is a pipe or a device (see ``destination``).
        samples: (C, N) or (N,), as ``as_samples`` takes them.
        rate_hz: 1000 to 384000.
        format: ``wav``, ``flac``, ``ogg`` (Vorbis), ``opus``, ``mp3``, and with FFmpeg (the extra ``media``) ``m4a``,
            ``aac`` and ``webm``; else the suffix of ``path`` decides.
        subtype: ``PCM_16`` (default), ``PCM_24``, ``PCM_32`` or ``FLOAT`` for wav; ``PCM_16`` or ``PCM_24`` for flac.
        tags: texts by the names in ``TAGS``, 32 kB together. MP3 and M4A keep their encoder's name as ``software``.
        peak_dbfs: the largest sample that the file may decode to, in dB of full scale, 0 or less. Lossy coding moves
            peaks, by a decibel and more, so such a file is decoded again to see, and made again where it went beyond.

    Raises:
        AudioError: unknown suffix, samples empty or not finite, a format that cannot hold them, or a failed write.
        ParamError, ParamTypeError: the rate, ``subtype`` or a tag.
    """
    path = Path(path)
    job = _prepared(samples, rate_hz, format or path.suffix.lstrip("."), subtype, tags, peak_dbfs)
    with destination(path, needed_bytes=job.least_bytes) as file:
        job.write(file)
    return path


def encode(
    samples: np.ndarray,
    rate_hz: int,
    *,
    format: str = "wav",
    subtype: str | None = None,
    tags: Mapping[str, str] | None = None,
    peak_dbfs: float | None = None,
) -> bytes:
    """Gives the bytes of the file that ``save`` would write; same arguments, same errors."""
    held = io.BytesIO()
    _prepared(samples, rate_hz, format, subtype, tags, peak_dbfs).write(held)
    return held.getvalue()


@dataclass(frozen=True)
class _Job:
    """A sound that its format can hold, ready to be written."""

    samples: np.ndarray
    rate_hz: int
    format: Format
    subtype: str
    gain: float
    ceiling: float | None  # for what the file decodes to
    tags: dict[str, str]

    @property
    def least_bytes(self) -> int:
        """What the file will need at least; 0 where coding makes it smaller."""
        return self.samples.size * SUBTYPE_BYTES[self.subtype] if self.format.container == "WAV" else 0

    def write(self, file: BinaryIO) -> None:
        gain = self.gain
        self._write(file, gain)
        if self.ceiling is None or self.subtype in SUBTYPE_BYTES:
            return
        for _ in range(_RETRIES):
            peak = (media if self.format.writer == "FFmpeg" else sndfile).peak(GuardedStream(file))
            if peak <= self.ceiling:
                return
            gain *= _MARGIN * self.ceiling / peak
            logger.info("coding raised the peak to %.2f dBFS: coded again, softer", 20 * np.log10(peak))
            file.seek(0)
            file.truncate()
            self._write(file, gain)

    def _write(self, file: BinaryIO, gain: float) -> None:
        stream = GuardedStream(file)
        if self.format.writer == "FFmpeg":
            media.encode(stream, self.samples, self.rate_hz, format=self.format, gain=gain, tags=self.tags)
            return
        wave = self.format.container == "WAV"
        sndfile.encode(
            stream,
            self.samples,
            self.rate_hz,
            container="RF64" if wave and self.least_bytes > _WAV_MAX_BYTES else self.format.container,
            subtype=self.subtype,
            compression=self.format.compression,
            gain=gain,
            tags={} if wave else self.tags,
        )
        if wave:
            riff.append_info(file, self.tags)


def _prepared(
    samples: np.ndarray,
    rate_hz: int,
    name: str,
    subtype: str | None,
    tags: Mapping[str, str] | None,
    peak_dbfs: float | None,
) -> _Job:
    kind = known_format(name)
    subtype = subtype or kind.subtypes[0]
    if subtype not in kind.subtypes:
        raise ParamError(f"subtype={subtype!r} for {name.lower()}", expected=f"one of {', '.join(kind.subtypes)}")
    if peak_dbfs is not None and not (-60 <= peak_dbfs <= 0):
        raise ParamError(f"peak_dbfs={peak_dbfs!r}", expected="-60 to 0")
    rate_hz, samples, checked = check_rate(rate_hz, "rate_hz"), as_samples(samples, name="samples"), _checked_tags(tags)
    if samples.shape[0] > kind.max_channels:
        raise AudioError(
            f"{name.lower()} cannot hold {samples.shape[0]} channels", expected=f"at most {kind.max_channels}"
        )
    if kind.rates_hz is not None and rate_hz not in kind.rates_hz:
        logger.info("%s cannot hold %d Hz: resampled to %d Hz", name.lower(), rate_hz, FALLBACK_RATE_HZ)
        samples, rate_hz = resample(samples, rate_hz, FALLBACK_RATE_HZ), FALLBACK_RATE_HZ
    ceiling = None if peak_dbfs is None else 10 ** (peak_dbfs / 20)
    gain = 1.0 if subtype == "FLOAT" and ceiling is None else _gain(samples, ceiling)
    return _Job(samples, rate_hz, kind, subtype, gain, ceiling, checked)


def _gain(samples: np.ndarray, ceiling: float | None) -> float:
    peak = max(float(samples.max()), -float(samples.min()))
    if peak <= (ceiling or 1.0) * (1 + 1e-5):  # a sound that was scaled to the ceiling may lie a rounding above it
        return 1.0
    gain = (ceiling or _PEAK) / peak
    # under a ceiling it was levelled before, and only resampling has moved its peaks
    level = logging.WARNING if ceiling is None else logging.INFO
    logger.log(level, "the peak is %.3f: scaled by %.2f dB so that nothing clips", peak, 20 * np.log10(gain))
    return gain


def _checked_tags(tags: Mapping[str, str] | None) -> dict[str, str]:
    checked = {}
    for key, value in (tags or {}).items():
        if key not in TAGS:
            raise unknown_argument(str(key), TAGS, where="tags")
        if not isinstance(value, str):
            raise ParamTypeError(f"the tag {key!r} is of type {type(value).__name__}", expected="text")
        # tags are C strings: a zero byte would end them; lone surrogates have no encoding; empty ones are refused
        if text := value.replace("\0", "").encode("utf-8", "replace").decode():
            checked[key] = text
    size = sum(len(value.encode()) for value in checked.values())
    if size > _MAX_TAG_BYTES:
        raise ParamError(f"the tags have {size} bytes", expected=f"at most {_MAX_TAG_BYTES}", fix="Shorten them")
    return checked
