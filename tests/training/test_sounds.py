"""Random passages of sounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antiphon.audio import files
from antiphon.audio.resampling import resample
from antiphon.errors import AudioError, DataError, ParamError
from antiphon.training.inspection import Inspected, inspect
from antiphon.training.manifest import Manifest
from antiphon.training.sounds import Sounds

from .datasets import manifest, tone


def generator(number: int = 0) -> np.random.Generator:
    return np.random.default_rng([1, number])


@pytest.fixture
def data(tmp_path: Path) -> Inspected:
    """Three sounds: of one, two and a half second, in one and two channels."""
    tone(tmp_path / "a.wav", 1.0)
    tone(tmp_path / "b.wav", 2.0, channels=2, pitch_hz=300)
    tone(tmp_path / "c.flac", 0.5, rate_hz=32_000)
    return inspect(Manifest.read(tmp_path))


def test_a_passage_lies_anywhere_in_the_sound_and_is_the_generators_alone(data: Inspected) -> None:
    sounds = Sounds(data, rate_hz=8000, seconds=0.25)
    samples, rate_hz = files.load(data.item(0).path)
    whole = resample(samples, rate_hz, 8000)[0]
    starts = []
    for number in range(40):
        passage = sounds.example(0, generator(number))["samples"][0]
        again = sounds.example(0, generator(number))["samples"][0]
        assert (passage == again).all()
        (start,) = np.flatnonzero(np.abs(whole[:6001] - passage[0]) + np.abs(whole[1999:] - passage[1999]) < 2e-5)
        np.testing.assert_allclose(whole[start : start + 2000], passage, atol=1e-5)
        starts.append(int(start))
    assert min(starts) < 600
    assert max(starts) > 5400
    assert len(set(starts)) > 35


def test_a_passage_stays_within_the_part_that_counts(tmp_path: Path) -> None:
    time = np.arange(32_000) / 16_000
    files.save(tmp_path / "a.wav", ((time >= 0.5) & (time < 1.5)).astype(np.float32) * 0.5, 16_000)
    data = inspect(Manifest.read(manifest(tmp_path, [{"path": "a.wav", "start_s": 0.5, "end_s": 1.5}])))
    sounds = Sounds(data, rate_hz=16_000, seconds=0.9)
    for number in range(20):
        assert sounds.example(0, generator(number))["samples"].min() == 0.5


def test_a_batch_has_one_length_and_says_what_is_sound(data: Inspected) -> None:
    sounds = Sounds(data, rate_hz=16_000, channels=2, seconds=0.75)
    examples = [sounds.example(place, generator()) for place in range(3)]
    batch = sounds.collate(examples)
    assert batch["samples"].shape == (3, 2, 12_000)
    assert batch["samples"].dtype is torch.float32
    assert batch["lengths"].tolist() == [12_000, 12_000, 8000]
    assert batch["names"] == ["a.wav", "b.wav", "c.flac"]
    assert not batch["samples"][2, :, 8000:].any()
    assert torch.equal(batch["samples"][0, 0], batch["samples"][0, 1])  # mono on both channels
    assert not torch.equal(batch["samples"][1, 0], batch["samples"][1, 1])


def test_gains_are_drawn_between_two_bounds(data: Inspected) -> None:
    plain = Sounds(data, rate_hz=16_000, seconds=0.25)
    louder = Sounds(data, rate_hz=16_000, seconds=0.25, gain_db=(-6.0, 2.0))
    gains = []
    for number in range(30):
        before, after = (s.example(0, generator(number))["samples"] for s in (plain, louder))
        gain = np.abs(after).max() / np.abs(before).max()
        np.testing.assert_allclose(after, before * gain, rtol=1e-4, atol=1e-6)  # at the same place
        gains.append(20 * np.log10(gain))
    assert -6.01 < min(gains) < -4
    assert 0 < max(gains) < 2.01


def test_a_sound_that_is_too_short_is_refused_where_that_is_asked_for(data: Inspected) -> None:
    sounds = Sounds(data, rate_hz=16_000, seconds=0.75, short="refuse")
    assert sounds.example(0, generator())["length"] == 12_000
    with pytest.raises(DataError, match=r"c\.flac has 0\.50 s"):
        sounds.example(2, generator())


def test_F131_a_file_that_has_gone_or_changed_is_an_error(data: Inspected) -> None:
    sounds = Sounds(data, rate_hz=16_000, seconds=0.25)
    data.item(0).path.unlink()
    tone(data.item(1).path, 2.0, rate_hz=22_050)
    data.item(2).path.write_bytes(b"junk")
    for place in range(3):
        with pytest.raises(AudioError):
            sounds.example(place, generator())


@pytest.mark.parametrize(
    "bad",
    [
        {"seconds": 0},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"rate_hz": 0},
        {"gain_db": (1.0, -1.0)},
        {"gain_db": (float("nan"), 0.0)},
        {"short": "maybe"},
    ],
)
def test_arguments_out_of_range_are_refused(bad: dict[str, Any], data: Inspected) -> None:
    with pytest.raises(ParamError):
        Sounds(data, **{"rate_hz": 16_000, "seconds": 1.0, **bad})
