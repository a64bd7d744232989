"""Decoding with FFmpeg (the optional package ``av``) what libsndfile does not know: m4a, aac, webm, mp4 and more."""

from __future__ import annotations

import logging
from types import ModuleType
from typing import Any

import numpy as np

from antiphon.audio.limits import Intake, Limits
from antiphon.audio.stream import GuardedStream
from antiphon.errors import AudioError

logger = logging.getLogger(__name__)

# Without it FFmpeg takes playlists (ffconcat, m3u8, SDP, DASH), whatever the file is called, and opens the files and
# addresses they name. None of these formats can name another file that FFmpeg would follow.
_FORMATS = "wav,flac,ogg,mp3,mov,matroska,aac,aiff"
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "none", "enable_drefs": "0"}
_SCALES = {"u1": (128.0, 2.0**7), "i2": (0.0, 2.0**15), "i4": (0.0, 2.0**31), "i8": (0.0, 2.0**63)}


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


def decode(stream: GuardedStream, name: str, limits: Limits) -> tuple[np.ndarray, int]:
    """Gives float32 (C, N) and the rate in Hz of the first sound track; a damaged end shortens it, with a warning.

    Raises:
        AudioError: not one of the accepted formats, no sound track, nothing decodable, or a limit is broken.
    """
    av = _import()
    if av is None:
        raise AudioError(f"{name} needs FFmpeg", fix="Install it: pip install 'antiphon[media]'")
    stream.seek(0)
    try:
        container = av.open(stream, mode="r", options=dict(_OPTIONS), metadata_errors="replace")
    except Exception as error:  # ten classes and more, most of them not FFmpegError
        raise AudioError(
            f"{name} cannot be read as sound ({_reason(stream.error or error)})", expected=f"one of {_FORMATS}"
        ) from error
    intake: Intake | None = None
    damage: Exception | None = None
    with container:
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
            for frame in container.decode(track):
                intake = _take(frame, intake, limits, name)
        except AudioError:
            raise
        except Exception as error:  # as above
            damage = error
    return _finished(intake, stream.error or damage, name)


def _take(frame: Any, intake: Intake | None, limits: Limits, name: str) -> Intake:
    channels, rate_hz = frame.layout.nb_channels, frame.sample_rate
    if intake is None:
        intake = Intake(channels, rate_hz, limits, name)
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
