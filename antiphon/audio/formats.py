"""What each format of a sound file can hold, and who writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from antiphon.errors import AudioError

# How many bytes a sample has where it is kept as a number; the other subtypes are lossy.
SUBTYPE_BYTES = {"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4}
# What rates a format lacks are resampled to.
FALLBACK_RATE_HZ = 48_000

# By which sound files are told in a folder. Lossless first, then lossy; the last need FFmpeg.
SUFFIXES = frozenset(
    (
        *(".wav", ".flac", ".aiff", ".aif", ".aifc", ".au", ".caf", ".w64", ".rf64"),
        *(".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".mp4", ".webm", ".mka"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Format:
    """What one format can hold.

    Args:
        container: the name that the writer knows it by.
        subtypes: how samples may be stored; the first is the default.
        writer: libsndfile, or FFmpeg, which the extra ``media`` brings.
        rates_hz: the sampling rates there are; ``None``: any.
        max_channels: how many channels there may be.
        compression: for libsndfile, 0 (largest) to 1 (smallest).
        shortest: in samples; a shorter sound is filled up with silence, because its decoders would find nothing.
    """

    container: str
    subtypes: tuple[str, ...]
    writer: Literal["libsndfile", "FFmpeg"] = "libsndfile"
    rates_hz: tuple[int, ...] | None = None
    max_channels: int = 8
    compression: float | None = None
    shortest: int = 1


_OPUS_HZ = (8000, 12_000, 16_000, 24_000, 48_000)
_MP3_HZ = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_AAC_HZ = (*_MP3_HZ, 64_000, 88_200, 96_000)

FORMATS = {
    "wav": Format(container="WAV", subtypes=("PCM_16", "PCM_24", "PCM_32", "FLOAT")),
    "flac": Format(container="FLAC", subtypes=("PCM_16", "PCM_24")),
    # about 110 to 160 kbit/s a channel each: nothing to hear, and little overshoot
    "ogg": Format(container="OGG", subtypes=("VORBIS",), compression=0.3),
    "opus": Format(container="OGG", subtypes=("OPUS",), rates_hz=_OPUS_HZ, compression=0.5),
    "mp3": Format(container="MP3", subtypes=("MPEG_LAYER_III",), rates_hz=_MP3_HZ, max_channels=2, compression=0.0),
    "m4a": Format(container="ipod", subtypes=("AAC",), writer="FFmpeg", rates_hz=_AAC_HZ, max_channels=2),
    # without a container around it AAC does not know where the sound begins and ends: 1024 samples come before it
    "aac": Format(
        container="adts", subtypes=("AAC",), writer="FFmpeg", rates_hz=_AAC_HZ, max_channels=2, shortest=2048
    ),
    "webm": Format(
        container="webm", subtypes=("OPUS",), writer="FFmpeg", rates_hz=(48_000,), max_channels=2, shortest=960
    ),
}


def known_format(name: str) -> Format:
    """Gives the format called ``name`` (``wav``, ``m4a``, ...), in any case.

    Raises:
        AudioError: there is none.
    """
    if name.lower() not in FORMATS:
        known = ", ".join(f".{key}" for key in FORMATS)
        raise AudioError(f"{name!r} is no format that can be written", expected=known, fix="Change the suffix")
    return FORMATS[name.lower()]
