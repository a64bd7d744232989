"""Passages of files: read alone, equal to those of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.audio import files, sndfile
from antiphon.audio.passages import length_at, load_passage
from antiphon.audio.resampling import resample
from antiphon.errors import AudioError, ParamError


def music(seconds: float, rate_hz: int, channels: int = 2) -> np.ndarray:
    steps = np.random.default_rng(0).normal(size=(channels, int(seconds * rate_hz)))
    walk = np.cumsum(steps - steps.mean(axis=1, keepdims=True), axis=1)
    return (walk / np.abs(walk).max() * 0.8).astype(np.float32)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3", "m4a"])
@pytest.mark.parametrize("rate_hz", [22_050, 32_000, 44_100])
def test_a_passage_is_that_of_the_whole_file_resampled(suffix: str, rate_hz: int, tmp_path: Path) -> None:
    path = files.save(tmp_path / f"a.{suffix}", music(3, rate_hz), rate_hz, format=suffix)
    header = files.read_header(path)
    samples, found_hz = files.load(path)
    assert (header.channels, header.rate_hz, header.samples) == (*samples.shape[:1], found_hz, samples.shape[1])
    whole = resample(samples, found_hz, 32_000)
    assert length_at(header, 32_000) == whole.shape[1]
    last = whole.shape[1] - 999  # where Vorbis is beside its aim after a seek
    for start, count in ((0, 640), (1, 31_999), (40_001, 20_480), (last - 5000, 3000), (last, 999)):
        passage = load_passage(path, header, start=start, count=count, rate_hz=32_000, channels=None)
        np.testing.assert_allclose(passage, whole[:, start : start + count], atol=2e-6)


def test_a_passage_reads_little_more_than_itself(tmp_path: Path, monkeypatch: Any) -> None:
    path = files.save(tmp_path / "a.wav", music(20, 44_100), 44_100)
    decoded: list[int] = []

    def counted(*args: Any, **settings: Any) -> Any:
        samples, rate_hz = decode(*args, **settings)
        decoded.append(samples.shape[1])
        return samples, rate_hz

    decode = sndfile.decode
    monkeypatch.setattr(sndfile, "decode", counted)
    header = files.read_header(path)
    assert decoded == []
    load_passage(path, header, start=320_000, count=32_000, rate_hz=32_000, channels=1)
    assert len(decoded) == 1
    assert decoded[0] < 1.3 * 44_100


def test_channels_are_brought_to_the_number_asked_for(tmp_path: Path) -> None:
    stereo = files.save(tmp_path / "a.wav", music(1, 32_000), 32_000, subtype="FLOAT")
    samples, _ = files.load(stereo)
    mono = load_passage(stereo, files.read_header(stereo), start=5, count=10, rate_hz=32_000, channels=1)
    np.testing.assert_allclose(mono[0], samples.mean(axis=0)[5:15], atol=1e-6)


def test_a_passage_beyond_the_end_is_refused(tmp_path: Path) -> None:
    path = files.save(tmp_path / "a.wav", music(1, 32_000), 32_000)
    header = files.read_header(path)
    with pytest.raises(AudioError, match="ends 100 samples before"):
        load_passage(path, header, start=30_000, count=2100, rate_hz=32_000, channels=1)
    with pytest.raises(AudioError, match="has 32000 samples"):
        load_passage(path, header, start=64_000, count=1, rate_hz=32_000, channels=1)
    with pytest.raises(ParamError, match="0 samples"):
        load_passage(path, header, start=0, count=0, rate_hz=32_000, channels=1)


def test_a_file_that_has_become_another_is_refused(tmp_path: Path) -> None:
    path = files.save(tmp_path / "a.wav", music(1, 32_000), 32_000)
    header = files.read_header(path)
    files.save(path, music(1, 44_100), 44_100)
    with pytest.raises(AudioError, match="a file at 44100 Hz"):
        load_passage(path, header, start=0, count=100, rate_hz=32_000, channels=1)


@pytest.mark.parametrize("bad", [{"start_s": -1.0}, {"start_s": float("nan")}, {"start_s": float("inf")}])
def test_a_start_that_is_no_place_is_refused(bad: Any, tmp_path: Path) -> None:
    path = files.save(tmp_path / "a.wav", music(1, 8000), 8000)
    with pytest.raises(ParamError, match="start_s"):
        files.load(path, **bad)


def test_a_header_tells_a_file_that_is_cut_short(tmp_path: Path) -> None:
    path = files.save(tmp_path / "a.wav", music(1, 8000), 8000)
    assert not files.read_header(path).cut_short
    path.write_bytes(path.read_bytes()[:10_000])
    header = files.read_header(path)
    assert header.cut_short
    assert header.samples < 8000
