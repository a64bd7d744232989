from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from antiphon.audio import media
from antiphon.audio.files import Limits, load
from antiphon.errors import AudioError

RATE_HZ = 44_100


def container(
    *,
    format: str = "mp4",
    codec: str = "aac",
    rate_hz: int = RATE_HZ,
    layout: str = "stereo",
    seconds: float = 0.5,
    options: dict[str, str] | None = None,
) -> bytes:
    """A file as FFmpeg writes it: a sine of 440 Hz on every channel."""
    held = io.BytesIO()
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    with av.open(held, "w", format=format, options=options or {}) as file:
        track: Any = file.add_stream(codec, rate=rate_hz, layout=layout)
        channels = track.codec_context.layout.nb_channels
        wave = np.repeat(0.5 * np.sin(2 * np.pi * 440 * time)[None], channels, 0).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave), format="fltp", layout=layout)
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler(
            format=track.codec_context.format.name,
            layout=layout,
            rate=rate_hz,
            frame_size=track.codec_context.frame_size,
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(track.encode(part))
        file.mux(track.encode(None))
    return held.getvalue()


@pytest.mark.parametrize(
    "format, codec, rate_hz",
    [
        ("mp4", "aac", 44_100),
        ("adts", "aac", 32_000),
        ("webm", "libopus", 48_000),
        ("mov", "pcm_s16le", 24_000),
        ("mp4", "alac", 44_100),
    ],
)
def test_formats_that_libsndfile_lacks_are_read_by_ffmpeg(
    tmp_path: Path, format: str, codec: str, rate_hz: int
) -> None:
    data = container(format=format, codec=codec, rate_hz=rate_hz)
    path = tmp_path / "a.m4a"
    path.write_bytes(data)
    for source in (data, path):
        samples, got_hz = load(source)
        assert got_hz == rate_hz and samples.dtype == np.float32 and samples.shape[0] == 2
        assert abs(samples.shape[1] - rate_hz // 2) <= 2048 + 1024
        middle = samples[:, rate_hz // 8 : -rate_hz // 8]
        assert np.abs(np.abs(middle).max(axis=1) - 0.5).max() < 0.05


def test_the_limits_hold_for_ffmpeg_too() -> None:
    data = container(seconds=1)
    for limits, word in [
        (Limits(max_decoded_bytes=100_000), "decodes to more"),
        (Limits(max_seconds=0.5), "longer than"),
        (Limits(max_channels=1), "2 channels"),
        (Limits(max_rate_hz=32_000), "44100 Hz"),
    ]:
        with pytest.raises(AudioError, match=word):
            load(data, limits=limits)


def test_F040_a_track_without_sound_is_refused() -> None:
    held = io.BytesIO()
    with av.open(held, "w", format="matroska") as file:
        track: Any = file.add_stream("mpeg4", rate=10)
        track.width = track.height = 32
        track.pix_fmt = "yuv420p"
        for _ in range(3):
            file.mux(track.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        file.mux(track.encode(None))
    with pytest.raises(AudioError, match="no sound track"):
        load(held.getvalue())


def test_a_short_file_is_kept_as_far_as_it_goes(caplog: pytest.LogCaptureFixture) -> None:
    data = container(format="adts", seconds=1)
    with caplog.at_level(logging.WARNING):
        samples, _ = load(data[: len(data) // 2])
    assert 10_000 < samples.shape[1] < 40_000


@pytest.mark.parametrize("format", ["mp4", "adts", "matroska"])
def test_F037_a_file_cut_anywhere_gives_the_sound_before_the_cut(format: str) -> None:
    # in fragments, as streams have it: otherwise the directory is at the end, and a cut file has none
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "100000"}
    whole = container(format=format, seconds=1, options=options if format == "mp4" else None)
    full, kept = load(whole)[0].shape[1], [0]
    for percent in range(100):
        try:
            samples, rate_hz = load(whole[: len(whole) * percent // 100])
        except AudioError:
            continue
        assert rate_hz == RATE_HZ and np.isfinite(samples).all()
        kept.append(samples.shape[1])
    assert kept == sorted(kept) and kept[-1] <= full and len(set(kept)) > 5


@pytest.mark.parametrize("stated", [0, 1, 2**31 - 1])
def test_F037_a_length_in_the_header_is_believed_only_about_the_last_frame(stated: int) -> None:
    whole = container(seconds=0.5)
    full = load(whole)[0].shape[1]
    head = whole.index(b"mdhd") + 4 + 4 + 8  # version and flags, two times, then the rate and the length
    assert int.from_bytes(whole[head : head + 4], "big") == RATE_HZ
    lying = whole[: head + 4] + stated.to_bytes(4, "big") + whole[head + 8 :]
    assert full <= load(lying)[0].shape[1] <= full + 2048


@pytest.mark.parametrize("format", ["mp4", "adts"])
def test_F044_mutated_files_give_sound_or_an_error(format: str) -> None:
    whole, rng, sounds = container(format=format, seconds=0.2), np.random.default_rng(0), 0
    for _ in range(150):
        data = bytearray(whole)
        for position in rng.integers(0, len(data), 4):
            data[position] = rng.integers(256)
        try:
            samples, _ = load(bytes(data[: rng.integers(len(data) // 2, 2 * len(data))]))
        except AudioError:
            continue
        assert np.isfinite(samples).all()
        sounds += 1
    assert sounds > 5


def test_F040_without_the_package_the_message_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert not media.available()
    with pytest.raises(AudioError, match=r"pip install 'antiphon\[media\]'"):
        load(b"\0\0\0\x18ftypM4A " + bytes(100))
