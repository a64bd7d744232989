"""FFmpeg (the optional package ``av``) for what libsndfile does not know: m4a, aac, webm, and more for reading."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from antiphon.audio.formats import Format
from antiphon.audio.header import Header
from antiphon.audio.limits import Intake, Limits
from antiphon.audio.stream import GuardedStream
from antiphon.errors import AudioError

logger = logging.getLogger(__name__)

# Without it FFmpeg takes playlists (ffconcat, m3u8, SDP, DASH), whatever the file is called, and opens the files and
# addresses they name. None of these formats can name another file that FFmpeg would follow.
_FORMATS = "wav,flac,ogg,mp3,mov,matroska,aac,aiff"
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "none", "enable_drefs": "0"}
_NAMES = ("title", "artist", "album", "date", "genre", "copyright", "comment", "software")
_CODECS = {"AAC": ("aac", "fltp", 96_000), "OPUS": ("libopus", "flt", 128_000)}  # layout of samples, bits/s a channel
_LAYOUTS = {1: "mono", 2: "stereo"}
_PADDING_SAMPLES = 2048  # two frames of AAC
_SCALES = {"u1": (128.0, 2.0**7), "i2": (0.0, 2.0**15), "i4": (0.0, 2.0**31), "i8": (0.0, 2.0**63)}


_INSTALL = "Install it: pip install 'antiphon[media]'"


def available() -> bool:
    """Whether the optional package is there."""
    return _import() is not None


def _import() -> ModuleType | None:
    try:
        import av
    except ImportError:
        return None
    module: ModuleType = av
    return module


def decode(stream: GuardedStream, name: str, limits: Limits, *, first_s: float | None = None) -> tuple[np.ndarray, int]:
    """Gives float32 (C, N) and the rate in Hz of the first sound track; a damaged end shortens it, with a warning.

    Args:
        first_s: only so many seconds are read, from the beginning.

    Raises:
        AudioError: not one of the accepted formats, no sound track, nothing decodable, or a limit is broken.
    """
    intake: Intake | None = None
    damage: Exception | None = None
    stated = 0
    with _opened(stream, name) as container:
        try:
            if not container.streams.audio:
                raise AudioError(f"{name} holds no sound track", expected="a file with sound")
            track = container.streams.audio[0]
            context = track.codec_context
            if context is None:
                raise AudioError(
                    f"{name} holds sound in a coding that FFmpeg cannot decode", expected="a common coding"
                )
            # before a frame is decoded: FFmpeg allocates by these numbers
            limits.check_stream(context.layout.nb_channels, context.sample_rate, name)
            stated = _stated_samples(track, context.sample_rate)
            for frame in container.decode(track):
                intake = _take(frame, intake, limits, name, first_s)
                if intake.is_full:
                    break
        except AudioError:
            raise
        except Exception as error:  # as above
            damage = error
    samples, rate_hz = _finished(intake, stream.error or damage, name)
    # the last frame of a codec is filled up; only that much of what the header says is believed
    filled = 0 < samples.shape[1] - stated <= _PADDING_SAMPLES and stated > 0
    return (samples[:, :stated].copy() if filled else samples), rate_hz


@contextmanager
def _opened(stream: GuardedStream, name: str) -> Iterator[Any]:
    av = _import()
    if av is None:
        raise AudioError(f"{name} needs FFmpeg", fix=_INSTALL)
    stream.seek(0)
    try:
        container = av.open(stream, mode="r", options=dict(_OPTIONS), metadata_errors="replace")
    except Exception as error:  # ten classes and more, most of them not FFmpegError
        raise AudioError(
            f"{name} cannot be read as sound ({_reason(stream.error or error)})", expected=f"one of {_FORMATS}"
        ) from error
    with container:
        yield container


def header(stream: GuardedStream, name: str, limits: Limits) -> Header | None:
    """Gives what a file states of its first sound track, or ``None`` where it does not state its length.

    Raises:
        AudioError: not one of the accepted formats, no sound track, or a limit is broken.
    """
    with _opened(stream, name) as container:
        track = container.streams.audio[0] if container.streams.audio else None
        if track is None or track.codec_context is None:
            raise AudioError(f"{name} holds no sound track that can be decoded", expected="a file with sound")
        channels, rate_hz = track.codec_context.layout.nb_channels, track.codec_context.sample_rate
        limits.check_stream(channels, rate_hz, name)
        stated = _stated_samples(track, rate_hz)
        return Header(channels, rate_hz, stated) if stated > 0 else None


def _stated_samples(track: Any, rate_hz: int) -> int:
    """The length that the header states, 0 where it states none."""
    if not track.duration or not track.time_base:
        return 0
    length: int = round(track.duration * track.time_base * rate_hz)
    return length


def peak(stream: GuardedStream) -> float:
    """Gives the largest absolute sample that a file of ours decodes to, in little memory.

    Raises:
        AudioError: it cannot be decoded.
    """
    largest = 0.0
    with _opened(stream, "the file just written") as container:
        for frame in container.decode(audio=0):
            array = frame.to_ndarray()
            largest = max(largest, float(array.max()), -float(array.min()))
    return largest


def metadata(stream: GuardedStream, name: str) -> dict[str, str]:
    """Gives the text tags of a file by our names.

    Raises:
        AudioError: not one of the accepted formats.
    """
    with _opened(stream, name) as container:
        found = {str(key).lower(): str(value) for key, value in container.metadata.items()}
    return {key: found[key] for key in _NAMES if found.get(key)}


def encode(
    stream: GuardedStream, samples: np.ndarray, rate_hz: int, *, format: Format, gain: float, tags: Mapping[str, str]
) -> None:
    """Writes ``samples`` (C, N) times ``gain`` to ``stream``, with tags by our names.

    Raises:
        AudioError: FFmpeg is not installed, or ``stream`` refused a write (its own error is the cause).
    """
    av = _import()
    if av is None:
        raise AudioError(f"{format.subtypes[0]} in {format.container} is written by FFmpeg", fix=_INSTALL)
    # the length of a sound is stated in units of the first, which are milliseconds unless told
    options = {"ipod": {"movie_timescale": str(rate_hz)}, "adts": {"write_id3v2": "1"}}.get(format.container, {})
    try:
        with av.open(stream, "w", format=format.container, options=options) as container:
            container.metadata.update(tags)
            _encode_into(container, av, samples, rate_hz, format=format, gain=gain, stream=stream)
    except Exception as error:  # as in reading
        cause = stream.error or error
        raise AudioError(f"the sound could not be written as {format.subtypes[0]}: {_reason(cause)}") from cause
    if stream.error:
        raise AudioError(f"the sound could not be written: {_reason(stream.error)}") from stream.error


def _encode_into(
    container: Any,
    av: ModuleType,
    samples: np.ndarray,
    rate_hz: int,
    *,
    format: Format,
    gain: float,
    stream: GuardedStream,
) -> None:
    codec, layout_of_samples, bits_per_second = _CODECS[format.subtypes[0]]
    channels, length = samples.shape
    layout = _LAYOUTS[channels]
    track = container.add_stream(codec, rate=rate_hz, layout=layout, format=layout_of_samples)
    track.bit_rate = bits_per_second * channels
    track.codec_context.open()
    size = track.codec_context.frame_size
    for start in range(0, max(length, format.shortest), size):
        block = samples[:, start : start + size] * np.float32(gain)
        missing = min(size, format.shortest - start) - block.shape[1]
        if missing > 0:
            block = np.pad(block, ((0, 0), (0, missing)))
        if not track.codec_context.format.is_planar:
            block = block.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format=layout_of_samples, layout=layout)
        frame.sample_rate, frame.pts = rate_hz, start
        container.mux(track.encode(frame))
        if stream.error:
            return
    container.mux(track.encode(None))


def _take(frame: Any, intake: Intake | None, limits: Limits, name: str, first_s: float | None) -> Intake:
    channels, rate_hz = frame.layout.nb_channels, frame.sample_rate
    if intake is None:
        intake = Intake(channels, rate_hz, limits, name, first_s=first_s)
    if (channels, rate_hz) != (intake.channels, intake.rate_hz):
        raise AudioError(
            f"{name} changes from {intake.channels} channels at {intake.rate_hz} Hz to {channels} at {rate_hz} Hz",
            expected="one rate and one number of channels throughout",
        )
    array = frame.to_ndarray()
    if not frame.format.is_planar:  # (1, n * C), interleaved
        array = array.reshape(-1, channels).T
    if array.dtype.kind != "f":
        middle, scale = _SCALES[array.dtype.str[1:]]
        array = (array.astype(np.float64) - middle) / scale
    intake.add(np.array(array, np.float32, order="C"))
    return intake


def _finished(intake: Intake | None, damage: Exception | None, name: str) -> tuple[np.ndarray, int]:
    if intake is None or intake.length_samples == 0:
        reason = _reason(damage) if damage else "it decodes to no samples"
        raise AudioError(f"{name} holds no sound that can be decoded ({reason})") from damage
    if damage is not None:
        kept = intake.length_samples
        logger.warning("%s is cut short or damaged: kept %d samples (%s)", name, kept, _reason(damage))
    return intake.joined(), intake.rate_hz


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).strip().rstrip(".")
