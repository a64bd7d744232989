"""Decoding and encoding with libsndfile, block by block: wav, flac, ogg, opus, mp3, aiff and more."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from antiphon.audio.header import Header
from antiphon.audio.limits import Intake, Limits
from antiphon.audio.samples import to_pcm16
from antiphon.audio.stream import GuardedStream
from antiphon.errors import AudioError

logger = logging.getLogger(__name__)

_BLOCK_FRAMES = 1 << 16
# what libsndfile notes about a WAV whose data chunk promises more than the file holds
_SHORT_DATA = re.compile(r"^data\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
# programs that write to a pipe cannot know the size and put the largest one
_UNKNOWN_SIZE = 0x7FFFF000
# a seek into the last page of a Vorbis file lands beside its aim; pages of common encoders last a second at most
_LAST_PAGES_S = 10


class Refused(Exception):
    """libsndfile cannot make sense of a file; another decoder may."""


@functools.cache
def _straight_file() -> Any:
    """The class ``SoundFile`` without its seek after every block: in MP3 that seek changes the samples that follow."""
    import soundfile

    class StraightFile(soundfile.SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

    return StraightFile


def decode(
    stream: GuardedStream, name: str, limits: Limits, *, start_s: float = 0.0, first_s: float | None = None
) -> tuple[np.ndarray, int]:
    """Gives float32 (C, N) and the rate in Hz of a file; a damaged end shortens the sound, with a warning.

    Args:
        start_s: where to begin; what lies before is not read, unless the format has to be read from its beginning.
        first_s: only so many seconds are read from there.

    Raises:
        Refused: the format is unknown, the header damaged, or no sample comes out.
        AudioError: a limit is broken, a sample is not finite, or the sound ends before ``start_s``.
    """
    with _opened(stream) as file:
        intake = Intake(file.channels, file.samplerate, limits, name, first_s=first_s)
        start = round(start_s * file.samplerate)
        promised, damage = _short_data(file), _seek(file, start, name) or _drain(file, intake)
        length = intake.length_samples
        if length == 0:
            raise Refused(_reason(stream.error or damage or AudioError("it holds no samples")))
        broken = damage or stream.error
        # .frames is what the header says: a reason to warn, never a size to allocate
        if not intake.is_full and (broken or promised or start + length < file.frames < _UNKNOWN_SIZE):
            cause = _reason(broken) if broken else "its header promises more"
            logger.warning("%s is cut short or damaged: kept %d samples (%s)", name, length, cause)
    return intake.joined(), intake.rate_hz


def _opened(stream: GuardedStream) -> Any:
    try:
        return _straight_file()(stream)
    except Exception as error:  # LibsndfileError, and TypeError for headerless formats
        raise Refused(_reason(stream.error or error)) from error


def header(stream: GuardedStream, name: str, limits: Limits) -> Header | None:
    """Gives what a file states, or ``None`` where it does not know its own length.

    Raises:
        Refused: the format is unknown or the header damaged. AudioError: a limit is broken.
    """
    with _opened(stream) as file:
        limits.check_stream(file.channels, file.samplerate, name)
        if not file.frames < _UNKNOWN_SIZE:
            return None
        return Header(file.channels, file.samplerate, file.frames, cut_short=_short_data(file))


def _seek(file: Any, start: int, name: str) -> Exception | None:
    """Goes to a sample; what goes wrong on the way is returned."""
    if start == 0:
        return None
    if not start < file.frames:
        raise AudioError(f"{name} has {file.frames} samples", expected=f"more than the {start} before the passage")
    place = start
    if file.subtype == "VORBIS":
        place = min(start, max(0, file.frames - _LAST_PAGES_S * file.samplerate))
    buffer = np.empty((_BLOCK_FRAMES, file.channels), np.float32)
    try:
        if place:
            file.seek(place)
        while place < start:
            read = len(file.read(out=buffer[: start - place]))
            if not read:
                raise AudioError("it ends before the passage")
            place += read
    except Exception as error:  # reported by the caller
        return error
    return None


def _drain(file: Any, intake: Intake) -> Exception | None:
    """Reads as much as is wanted, or to the first damage, which is returned."""
    buffer = np.empty((_BLOCK_FRAMES, intake.channels), np.float32)
    while not intake.is_full:
        try:
            block = file.read(out=buffer)
        except Exception as error:  # reported by the caller
            return error
        if len(block) == 0:
            return None
        intake.add(block.T.copy())
    return None


def peak(stream: GuardedStream) -> float:
    """Gives the largest absolute sample that a file of ours decodes to, in little memory.

    Raises:
        AudioError: it cannot be decoded.
    """
    stream.seek(0)
    try:
        largest = 0.0
        with _straight_file()(stream) as file:
            buffer = np.empty((_BLOCK_FRAMES, file.channels), np.float32)
            while len(block := file.read(out=buffer)):
                largest = max(largest, float(block.max()), -float(block.min()))
    except Exception as error:
        cause = stream.error or error
        raise AudioError(f"the file just written cannot be read again: {_reason(cause)}") from cause
    return largest


def _short_data(file: Any) -> bool:
    found = _SHORT_DATA.search(file.extra_info)
    return found is not None and int(found[2]) < int(found[1]) < _UNKNOWN_SIZE


def encode(
    stream: GuardedStream,
    samples: np.ndarray,
    rate_hz: int,
    *,
    container: str,
    subtype: str,
    compression: float | None,
    gain: float,
    tags: Mapping[str, str],
) -> None:
    """Writes ``samples`` (C, N) times ``gain`` to ``stream``, with tags by libsndfile's names.

    Raises:
        AudioError: the format cannot hold this sound, or ``stream`` refused a write (its own error is the cause).
    """
    try:
        file = _straight_file()(
            stream,
            "w",
            samplerate=rate_hz,
            channels=samples.shape[0],
            format=container,
            subtype=subtype,
            compression_level=compression,
        )
        with file:
            for key, value in tags.items():
                setattr(file, key, value)
            # whole songs in one call overflow the stack of the Vorbis encoder
            for start in range(0, samples.shape[1], _BLOCK_FRAMES):
                block = samples[:, start : start + _BLOCK_FRAMES].T
                block = block * np.float32(gain) if gain != 1.0 else block
                # libsndfile rounds down; rounded to the nearest here, the error has half the power and no offset
                file.write(np.ascontiguousarray(to_pcm16(block) if subtype == "PCM_16" else block))
                if stream.error:
                    break
    except Exception as error:
        # a full disk shows as a failed assertion inside soundfile; the stream knows better
        cause = stream.error or error
        what = f"a sound of {samples.shape[0]} channels at {rate_hz} Hz could not be written as {container} {subtype}"
        raise AudioError(f"{what}: {_reason(cause)}") from cause
    if stream.error:
        raise AudioError(f"the sound could not be written: {_reason(stream.error)}") from stream.error


def metadata(stream: GuardedStream) -> dict[str, str]:
    """Gives the tags of a file by libsndfile's names.

    Raises:
        Refused: libsndfile does not know the format.
    """
    try:
        with _straight_file()(stream) as file:
            return {key: value for key, value in file.copy_metadata().items() if value}
    except Exception as error:
        raise Refused(_reason(stream.error or error)) from error


def _reason(error: Exception) -> str:
    # libsndfile's messages begin with the repr of the Python object that was read
    text = (
        getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error) or type(error).__name__
    )
    return str(text).strip().rstrip(".")
