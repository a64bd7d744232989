"""Melodies that are damaged, hostile, strange or do not fit, on the short way and the command line."""

from __future__ import annotations

import json
import logging
import os
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon import Audio
from antiphon.audio.files import encode
from antiphon.cli.app import run
from antiphon.errors import AudioError, ParamError, ParamTypeError
from antiphon.tasks.melody import Melody

from ..tunes import tune

RATE_HZ = 22_050
HUM = tune([0, 4, 7, 4, 9, 5])
_ASKED = {"seconds": 0.1, "seed": 1}
_SHORT = ("--seconds", "0.1", "--seed", "1", "--device", "cpu")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, melody_checkpoint: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODEL", str(melody_checkpoint))
    monkeypatch.delenv("ANTIPHON_DEBUG", raising=False)


def one_line(capsys: Any) -> str:
    caught = capsys.readouterr()
    assert caught.out == ""
    assert caught.err.startswith("error: ") and caught.err.count("\n") == 1
    return caught.err


def same(a: Audio, b: Audio) -> bool:
    return a.samples.shape == b.samples.shape and bool((a.samples == b.samples).all())


@pytest.mark.parametrize("melody", [np.zeros(0), np.zeros((2, 0)), b"", encode(HUM.samples, RATE_HZ)[:44]])
def test_F030_a_melody_without_samples_is_refused(follow: Any, melody: Any) -> None:
    rate = {"sampling_rate": RATE_HZ} if isinstance(melody, np.ndarray) else {}
    with pytest.raises(AudioError):
        follow("a", melody=melody, **_ASKED, **rate)


@pytest.mark.parametrize("samples", [1, 220])
def test_F030_F043_one_sample_and_a_hundredth_of_a_second_are_melodies(follow: Any, samples: int) -> None:
    clip = np.full(samples, 0.1, np.float32)
    for windows in ({}, {"window_seconds": 0.4, "stride_seconds": 0.2}):
        piece = follow("a", melody=clip, sampling_rate=RATE_HZ, seconds=0.7, seed=1, **windows)
        assert len(piece) == 22_400 and np.isfinite(piece.samples).all()


@pytest.mark.parametrize(("bad", "at"), [(np.nan, 5), (np.inf, 0), (-np.inf, 99), (1e30, 50)])
def test_F031_a_melody_with_a_bad_sample_is_refused_with_its_place(follow: Any, bad: float, at: int) -> None:
    clip = np.zeros(100, np.float32)
    clip[at] = bad
    with pytest.raises(AudioError, match=f"melody holds .* at sample {at}"):
        follow("a", melody=clip, sampling_rate=RATE_HZ, **_ASKED)


@pytest.mark.parametrize("clip", [np.zeros(9000), np.full(9000, 1e-40), np.zeros((2, 40_000))])
def test_F031_F043_silence_is_heard_as_no_melody(follow: Any, clip: np.ndarray) -> None:
    piece = follow("a", melody=clip.astype(np.float32), sampling_rate=RATE_HZ, **_ASKED)
    assert same(piece, follow("a", **_ASKED))
    assert np.isfinite(follow("a", melody=np.ones(9000), sampling_rate=RATE_HZ, **_ASKED).samples).all()


def test_F032_integers_are_scaled_and_other_types_refused(follow: Any) -> None:
    loud = np.rint(HUM.samples[0] * 32_767).astype(np.int16)
    given_ = {"sampling_rate": RATE_HZ, **_ASKED}
    want = follow("a", melody=loud.astype(np.float32) / 32_768, **given_)
    assert same(follow("a", melody=loud, **given_), want)
    assert same(follow("a", melody=loud[::-1][::-1], **given_), want)
    for bad in (HUM.samples[0] > 0, HUM.samples[0] * 1j, HUM.samples[0].astype(object), {"a": 1}, 5, 0.5, True):
        with pytest.raises(ParamTypeError, match="melody"):
            follow("a", melody=bad, **given_)


@pytest.mark.parametrize("shape", [(9000, 2), (9, 9000), (1, 2, 9000), (2, 3, 2, 9000)])
def test_F033_a_shape_that_could_be_two_things_is_refused(follow: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="melody"):
        follow("a", melody=np.zeros(shape, np.float32), sampling_rate=RATE_HZ, **_ASKED)


@pytest.mark.parametrize("rate_hz", [0, -1, 1, 44_100.5, float("nan"), "44100", 2**31, True])
def test_F034_a_rate_that_no_sound_has_is_refused(follow: Any, rate_hz: Any) -> None:
    with pytest.raises(ParamError, match="sampling_rate="):
        follow("a", melody=HUM.samples, sampling_rate=rate_hz, **_ASKED)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_F037_a_melody_that_is_cut_short_is_heard_as_far_as_it_goes(follow: Any, suffix: str, caplog: Any) -> None:
    whole = encode(HUM.samples, RATE_HZ, format=suffix)
    Path(f"cut.{suffix}").write_bytes(whole[: 2 * len(whole) // 3])
    with caplog.at_level(logging.WARNING):
        piece = follow("a", melody=f"cut.{suffix}", **_ASKED)
    assert 0 < piece.parameters["melody"]["seconds"] < HUM.seconds
    assert "cut short" in caplog.text


def long_wav(path: Path, seconds: float, *, rate_hz: int = 44_100, channels: int = 2) -> None:
    """A WAV of 16 bits that takes no room on the disk: a tune at its beginning, and a hole behind it."""
    hum = tune([0, 4, 7], rate_hz=rate_hz)
    sung = np.repeat(np.rint(hum.samples[0] * 32_767).astype("<i2"), channels).tobytes()
    size = int(seconds * rate_hz) * channels * 2
    format = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * channels * 2, channels * 2, 16)
    with open(path, "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<I", 16) + format)
        file.write(b"data" + struct.pack("<I", size) + sung)
        file.truncate(44 + size)


def test_F038_F043_three_hours_of_melody_cost_no_more_than_the_piece_hears(follow: Any, caplog: Any) -> None:
    long_wav(Path("long.wav"), 3 * 3600)
    long_wav(Path("short.wav"), 60)
    assert os.stat("long.wav").st_size > 1_900_000_000
    follow("a", melody="short.wav", **_ASKED)
    peaks = []
    for name in ("short.wav", "long.wav"):
        tracemalloc.start()
        piece = follow("a", melody=name, **_ASKED)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert piece.parameters["melody"]["seconds"] == pytest.approx(31.1)
    assert peaks[1] < 1.1 * peaks[0] < 100_000_000
    assert caplog.text == ""


@pytest.mark.parametrize("seconds", [0.5, 1.5, 8.0])
def test_F043_a_melody_may_be_shorter_or_longer_than_the_piece(follow: Any, seconds: float) -> None:
    clip = tune([0, 7, 4, 9], note_s=seconds / 4)
    for windows in ({}, {"window_seconds": 0.6, "stride_seconds": 0.4}):
        piece = follow("a", melody=clip, seconds=1.0, seed=1, **windows)
        assert len(piece) == 32_000 and np.isfinite(piece.samples).all()
        assert not same(piece, follow("a", seconds=1.0, seed=1, **windows))


def test_F040_what_is_no_sound_is_no_melody(follow: Any) -> None:
    Path("picture.wav").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    Path("list.m3u8").write_text("#EXTM3U\n/etc/passwd\n")
    Path("folder.wav").mkdir()
    os.mkfifo("pipe.wav")
    for bad in ("picture.wav", "list.m3u8", "folder.wav", "pipe.wav", "/dev/zero", "http://example.com/hum.wav", ""):
        with pytest.raises(AudioError):
            follow("a", melody=bad, **_ASKED)


def test_F040_a_file_object_and_a_text_stream(follow: Any) -> None:
    HUM.save("hum.wav")
    with open("hum.wav", "rb") as file:
        assert same(follow("a", melody=file, **_ASKED), follow("a", melody="hum.wav", **_ASKED))
    with open("hum.wav", encoding="latin-1") as text, pytest.raises(ParamTypeError):
        follow("a", melody=text, **_ASKED)


@pytest.mark.parametrize("name", ["a b.wav", "-x.wav", "line\nbreak.wav", "quote'\".wav", "🎹.wav", "\x1b[31m.wav"])
def test_F041_the_name_of_a_melody_is_data(follow: Any, name: str, capsys: Any) -> None:
    HUM.save(name)
    assert follow("a", melody=name, **_ASKED).parameters["melody"]["name"] == name
    assert run(["generate", "a", *_SHORT, f"--melody={name}", "--json", "--picture", "-o", "x.wav"]) == 0
    assert json.loads(capsys.readouterr().out)["picture"] == "x.png"
    assert Audio.load("x.wav").parameters["melody"]["name"] == name


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 2000), value=st.integers(0, 255), cut=st.integers(1, 3000))
def test_F044_mutated_melodies_are_read_or_refused(at: int, value: int, cut: int) -> None:
    data = bytearray(encode(HUM.samples[:, :3000], RATE_HZ, format="flac"))
    data[at % len(data)] = value
    try:
        tuned = Melody(bytes(data[: len(data) - cut % 50])).tune(1.0)
    except AudioError:
        return
    assert np.isfinite(tuned.line).all()


def test_F055_as_many_melodies_as_prompts(follow: Any) -> None:
    for melodies, prompts in (([HUM, HUM], "a"), ([HUM], ["a", "b"]), ([], ["a"]), ([None, None], "a")):
        count = len(prompts) if isinstance(prompts, list) else 1
        with pytest.raises(ParamError, match=f"{len(melodies)} melodies for {count} prompts"):
            follow(prompts, melody=melodies, **_ASKED)


def test_F061_a_misspelt_melody_is_named(follow: Any) -> None:
    with pytest.raises(ParamTypeError, match="Did you mean 'melody'"):
        follow.stream("a", melodie=HUM)
    with pytest.raises(TypeError, match="melodie"):
        follow("a", melodie=HUM)


def test_F065_two_streams_may_share_a_melody(follow: Any) -> None:
    shared = Melody(HUM)
    streams = [follow.stream("a", melody=shared, seconds=s, seed=1, chunk_seconds=0.2) for s in (0.8, 1.2)]
    made: list[list[Audio]] = [[], []]
    while streams[1] is not None and len(made[1]) < 6:
        for stream, chunks in zip(streams, made, strict=True):
            chunks.extend(chunk for chunk in [next(stream, None)] if chunk is not None)
    for chunks, seconds in zip(made, (0.8, 1.2), strict=True):
        whole = follow("a", melody=HUM, seconds=seconds, seed=1)
        np.testing.assert_allclose(Audio.join(chunks).samples, whole.samples, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (["--separate"], "--melody"),
        (["--picture", "-o", "-"], "--picture"),
        (["--picture", "-o", "/dev/null"], "--picture"),
        (["--melodi", "hum.wav"], "--melody"),
        (["--melody"], "--melody"),
    ],
)
def test_F115_options_of_melodies_that_do_not_go_together(
    options: list[str], hint: str, capsys: Any, monkeypatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: False)
    assert run(["generate", "a", *_SHORT, *options]) == 2
    assert hint in one_line(capsys)
    assert list(Path().iterdir()) == []


def test_F115_what_cannot_be_followed_is_told_before_a_model_is_loaded(capsys, monkeypatch, checkpoint: Path) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("the model was loaded")

    monkeypatch.setattr("antiphon.tasks.load.load", refuse)
    HUM.save("hum.wav")
    assert run(["generate", "a", *_SHORT, "--melody", "gone.wav"]) == 1
    assert "gone.wav" in one_line(capsys)
    assert run(["generate", "a", *_SHORT, "--melody", "http://example.com/hum.wav"]) == 1
    assert "Download it first" in one_line(capsys)
    assert run(["generate", "a", *_SHORT, "--melody", "hum.wav", "--model", str(checkpoint)]) == 1
    assert "musicgen-melody" in one_line(capsys)


@pytest.mark.parametrize(
    ("missing", "options", "extra"),
    [("matplotlib", ["--picture"], "plot"), ("demucs.pretrained", ["--separate"], "separate")],
)
def test_F124_a_missing_extra_is_told_before_a_model_is_loaded(missing, options, extra, capsys, monkeypatch) -> None:
    monkeypatch.setattr("antiphon.tasks.load.load", lambda *_, **__: 1 / 0)
    monkeypatch.setitem(sys.modules, missing, None)
    HUM.save("hum.wav")
    assert run(["generate", "a", *_SHORT, "--melody", "hum.wav", *options]) == 1
    assert f"pip install 'antiphon[{extra}]'" in one_line(capsys)
