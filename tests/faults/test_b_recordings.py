"""Recordings to listen to that are damaged, hostile, strange or too long, through a processor of a listening model."""

from __future__ import annotations

import io
import logging
import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import antiphon
from antiphon.audio.files import encode
from antiphon.errors import AntiphonError, AudioError, ParamError, ParamTypeError

from .. import qwen2_tokenizers

RATE_HZ = 16000
NOISE = (np.random.default_rng(0).standard_normal(20_000) * 0.2).astype(np.float32)
WAV = encode(NOISE, RATE_HZ)


def made() -> antiphon.MusicFlamingoProcessor:
    """A processor with windows of a second, of which it hears three."""
    extractor = antiphon.WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    return antiphon.MusicFlamingoProcessor(extractor, qwen2_tokenizers.ours(), max_audio_len=3)


@pytest.fixture(scope="module")
def processor() -> antiphon.MusicFlamingoProcessor:
    return made()


def hear(processor: Any, recording: Any, rate_hz: Any = None, **call: Any) -> Any:
    """What a conversation about one recording becomes."""
    part = {"type": "audio", "audio": recording} | ({} if rate_hz is None else {"sampling_rate": rate_hz})
    chat = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}]
    return processor.apply_chat_template(chat, tokenize=True, return_dict=True, **call)


@pytest.mark.parametrize("empty", [np.zeros(0), np.zeros((2, 0)), [], b"", WAV[:44]])
def test_F030_a_recording_without_samples_is_refused(processor: Any, empty: Any) -> None:
    with pytest.raises(AudioError):
        hear(processor, empty, RATE_HZ)


@pytest.mark.parametrize("samples", [1, 160, 320])
def test_F030_less_than_a_frame_is_refused_by_name(processor: Any, samples: int) -> None:
    with pytest.raises(AudioError, match="part 1 of message 0 of the conversation is too short.*20 ms"):
        hear(processor, NOISE[:samples], RATE_HZ)
    assert hear(processor, NOISE[:321], RATE_HZ)["input_ids"].tolist()[0].count(processor.audio_token_id) == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_F031_a_bad_sample_is_named_with_its_place(processor: Any, bad: float) -> None:
    broken = NOISE.astype(np.float64)
    broken[4321] = bad
    with pytest.raises(AudioError, match="sample 4321"):
        hear(processor, broken, RATE_HZ)


@pytest.mark.parametrize("calm", [np.zeros(8000), np.full(8000, 1e-42), np.ones(8000)])
def test_F031_silence_and_constants_have_finite_features(processor: Any, calm: np.ndarray) -> None:
    assert torch.isfinite(hear(processor, calm, RATE_HZ)["input_features"]).all()


def test_F032_every_type_of_sample_is_one_sound_and_the_rest_refused(processor: Any) -> None:
    whole = (NOISE * 32767).astype(np.int16)
    expected = hear(processor, whole.astype(np.float32) / 32768, RATE_HZ)["input_features"]
    readonly = whole.astype(np.float64) / 32768
    readonly.flags.writeable = False
    for form in (whole, readonly, torch.from_numpy(whole), np.repeat(whole, 2)[::2], memoryview(readonly)):
        torch.testing.assert_close(hear(processor, form, RATE_HZ)["input_features"], expected, atol=1e-4, rtol=0)
    for wrong in (NOISE > 0, NOISE.astype(complex), np.array(["a"]), np.array([None]), 5, {"a": 1}, object()):
        with pytest.raises(ParamTypeError):
            hear(processor, wrong, RATE_HZ)


@pytest.mark.parametrize("shape", [(10_000, 2), (1, 2, 8000), (9, 2000), (1,) * 8])
def test_F033_a_shape_that_could_be_two_things_is_refused(processor: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError):
        hear(processor, np.zeros(shape, np.float32) + 0.1, RATE_HZ)


@pytest.mark.parametrize("rate_hz", [0, -1, 1, 44_100.5, float("nan"), "44100", 2**31])
def test_F034_a_rate_that_no_sound_has_is_refused(processor: Any, rate_hz: Any) -> None:
    with pytest.raises(ParamError, match="sampling_rate"):
        hear(processor, NOISE, rate_hz)


def test_F034_a_missing_rate_is_warned_of(processor: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        hear(processor, NOISE)
    assert "taken to be at 16000 Hz" in caplog.text
    caplog.clear()
    hear(processor, NOISE, RATE_HZ)
    assert not caplog.text


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_F036_the_length_in_seconds_stays_at_every_rate(processor: Any, rate_hz: int) -> None:
    made = hear(processor, np.resize(NOISE, int(1.5 * rate_hz)), rate_hz)
    assert made["input_features_mask"].sum(-1).tolist() == [100, 50]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_F037_a_file_that_is_cut_short_is_heard_as_far_as_it_goes(processor: Any, suffix: str) -> None:
    whole = encode(np.tile(NOISE, 2), RATE_HZ, format=suffix)
    frames = []
    for share in (0.3, 0.6, 1.0):
        try:
            frames.append(int(hear(processor, whole[: int(len(whole) * share)])["input_features_mask"].sum()))
        except AudioError:
            frames.append(0)
    assert frames[-1] >= 250 and frames == sorted(frames)


def test_F038_three_hours_cost_no_more_than_what_is_heard(
    processor: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "long.wav"
    data = 3 * 3600 * 8000
    with path.open("wb") as file:
        riff = (b"RIFF", 36 + data, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8, b"data", data)
        file.write(struct.pack("<4sI4s4sIHHIIHH4sI", *riff))
        file.truncate(44 + data)
    hear(processor, NOISE, RATE_HZ)
    tracemalloc.start()
    made = hear(processor, path)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(made["input_features"]) == 3 and peak_bytes < 8 << 20
    assert "lasts 10800.00 s and the model hears 3 s" in caplog.text
    with pytest.raises(AudioError, match="lasts 10800"):
        hear(processor, path, strict=True)


def test_F039_F040_what_is_no_sound_is_refused(processor: Any, tmp_path: Path) -> None:
    (tmp_path / "picture.wav").write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))
    (tmp_path / "list.m3u8").write_text(f"#EXTM3U\n{tmp_path}/picture.wav\n")
    os.mkfifo(tmp_path / "pipe.wav")
    broken = bytearray(WAV)
    broken[22:24] = b"\xff\xff"
    for wrong in ("picture.wav", "list.m3u8", "pipe.wav", "", "missing.wav"):
        with pytest.raises(AudioError):
            hear(processor, tmp_path / wrong)
    for content in (bytes(broken), b"ffconcat version 1.0\n", os.urandom(64), b"<html>"):
        with pytest.raises(AudioError):
            hear(processor, content)
    with pytest.raises(AudioError):
        hear(processor, "/dev/zero")
    with pytest.raises(ParamTypeError):
        hear(processor, io.StringIO("text"))


@pytest.mark.parametrize(
    "name", ["a b.wav", "'q\".wav", "-n.wav", "é🥁.wav", "a\nb.wav", "file.wav;rm -rf", "{{7*7}}.wav"]
)
def test_F041_F054_the_name_of_a_recording_is_data(processor: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(WAV)
    part = {"type": "audio", "path": str(tmp_path / name)}
    chat = [{"role": "user", "content": [part]}]
    made = processor.apply_chat_template(chat, tokenize=True, return_dict=True)
    assert made["input_features"].shape[0] == 2
    assert name not in processor.decode(made["input_ids"][0])


@pytest.mark.parametrize("address", ["http://x.org/a.mp3", "https://x.org/a.mp3", "ftp://x/a", "s3://b/a.wav"])
def test_F040_addresses_are_not_fetched(processor: Any, address: str) -> None:
    for key in ("path", "url", "audio"):
        chat = [{"role": "user", "content": [{"type": "audio", key: address}]}]
        with pytest.raises(ParamError, match="Download it first"):
            processor.apply_chat_template(chat, tokenize=True)
    with pytest.raises(ParamError, match="Download it first"):
        processor("<sound>", address)


def test_F042_whole_windows_and_a_sample_more_have_as_many_tokens_as_frames(processor: Any) -> None:
    long = np.resize(NOISE, 4 * RATE_HZ)
    for samples, windows, tokens in (
        (RATE_HZ, 1, 25),
        (RATE_HZ + 1, 2, 25),
        (RATE_HZ + 321, 2, 26),
        (3 * RATE_HZ, 3, 75),
        (3 * RATE_HZ + 1, 3, 75),
    ):
        made = hear(processor, long[:samples], RATE_HZ)
        assert len(made["input_features"]) == windows, samples
        assert made["input_ids"].tolist()[0].count(processor.audio_token_id) == tokens, samples


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(at=st.integers(0, 200), value=st.integers(0, 255), cut=st.integers(1, len(WAV)))
def test_F044_mutated_recordings_are_heard_or_refused(at: int, value: int, cut: int) -> None:
    content = bytearray(WAV[:cut])
    if at < len(content):
        content[at] = value
    try:
        found = hear(_SHARED, bytes(content))
    except AntiphonError:
        return
    assert torch.isfinite(found["input_features"]).all()


_SHARED = made()
