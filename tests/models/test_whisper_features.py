"""The documented Whisper feature extractor gives the reference's numbers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import antiphon
from antiphon.errors import AudioError, ParamError, ParamTypeError

RATE_HZ = 16000
SMALL = {"feature_size": 20, "chunk_length": 2}


def sounds(*samples: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [(rng.standard_normal(count) * 0.2).astype(np.float32) for count in samples]


def both(settings: dict[str, Any]) -> tuple[Any, Any]:
    return antiphon.WhisperFeatureExtractor(**settings), transformers.WhisperFeatureExtractor(**settings)


def assert_same(ours: Any, theirs: Any) -> None:
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        assert type(ours[name]) is type(expected) and ours[name].shape == expected.shape, name
        assert ours[name].dtype == expected.dtype, name
        np.testing.assert_allclose(np.asarray(ours[name]), np.asarray(expected), atol=1e-5)


@pytest.mark.row("R135")
def test_defaults_are_the_documented_ones_and_a_checkpoint_sets_128_bands() -> None:
    extractor = antiphon.WhisperFeatureExtractor()
    assert (extractor.feature_size, extractor.sampling_rate, extractor.hop_length) == (80, 16000, 160)
    assert (extractor.chunk_length, extractor.n_fft, extractor.padding_value, extractor.dither) == (30, 400, 0.0, 0.0)
    assert (extractor.n_samples, extractor.nb_max_frames, extractor.return_attention_mask) == (480_000, 3000, False)
    assert antiphon.WhisperFeatureExtractor(feature_size=128).mel_filters.shape == (201, 128)


@pytest.mark.parametrize(
    "call",
    [
        {},
        {"return_attention_mask": True},
        {"padding": "longest", "return_attention_mask": True},
        {"padding": "longest", "truncation": False, "return_attention_mask": True},
        {"padding": True, "pad_to_multiple_of": 3200, "return_attention_mask": True},
        {"padding": "longest", "pad_to_multiple_of": 1000, "return_attention_mask": True},
        {"max_length": 16_000},
        {"do_normalize": True, "return_attention_mask": True},
        {"return_tensors": "np", "device": "cpu"},
    ],
)
def test_a_batch_is_that_of_the_reference(call: dict[str, Any]) -> None:
    ours, theirs = both(SMALL)
    call = {"return_tensors": "pt", "sampling_rate": RATE_HZ} | call
    given = sounds(12_345, 40_000, 1)
    assert_same(ours(given, **call), theirs(given, **call))


@pytest.mark.parametrize("feature_size", [80, 128])
def test_one_sound_of_the_usual_settings_is_that_of_the_reference(feature_size: int) -> None:
    ours, theirs = both({"feature_size": feature_size})
    given = sounds(100_000)[0]
    assert_same(ours(given, sampling_rate=RATE_HZ), theirs(given, sampling_rate=RATE_HZ))


def test_lists_arrays_and_tensors_are_the_same_sounds() -> None:
    extractor = antiphon.WhisperFeatureExtractor(**SMALL)
    batch = np.stack(sounds(4000, 4000))
    expected = extractor(batch, sampling_rate=RATE_HZ).input_features
    assert expected.shape == (2, 20, 200)
    for form in (list(batch), batch.tolist(), torch.from_numpy(batch), list(torch.from_numpy(batch))):
        np.testing.assert_array_equal(extractor(form, sampling_rate=RATE_HZ).input_features, expected)
    single = extractor(batch[0].tolist(), sampling_rate=RATE_HZ).input_features
    np.testing.assert_array_equal(single, expected[:1])


def test_without_padding_sounds_keep_their_lengths() -> None:
    extractor = antiphon.WhisperFeatureExtractor(**SMALL)
    made = extractor(sounds(4000, 8000), sampling_rate=RATE_HZ, padding=False, return_attention_mask=True)
    assert [item.shape for item in made.input_features] == [(20, 25), (20, 50)]
    assert [int(mask.sum()) for mask in made.attention_mask] == [25, 50]
    with pytest.raises(ParamError, match="padding=True"):
        extractor(sounds(4000, 8000), sampling_rate=RATE_HZ, padding=False, return_tensors="pt")


def test_dither_is_the_noise_of_torch() -> None:
    ours, theirs = both({**SMALL, "dither": 0.01})
    given = sounds(32_000)[0]
    torch.manual_seed(5)
    expected = theirs(given, sampling_rate=RATE_HZ, return_tensors="pt")
    torch.manual_seed(5)
    assert_same(ours(given, sampling_rate=RATE_HZ, return_tensors="pt"), expected)


def test_the_mask_counts_frames_also_where_the_settings_ask_for_it() -> None:
    """The reference gives samples there."""
    extractor = antiphon.WhisperFeatureExtractor(**SMALL, return_attention_mask=True)
    mask = extractor(sounds(1601), sampling_rate=RATE_HZ).attention_mask
    assert mask.shape == (1, 200) and mask.dtype == np.int32 and int(mask.sum()) == 11


def test_padding_on_the_left_moves_sound_and_mask() -> None:
    extractor = antiphon.WhisperFeatureExtractor(**SMALL, padding_side="left")
    made = extractor(sounds(3200), sampling_rate=RATE_HZ, return_attention_mask=True)
    assert made.attention_mask[0].tolist() == [0] * 180 + [1] * 20
    assert made.input_features[0, :, :170].max() < made.input_features[0, :, 185:].max()


def test_files_go_both_ways(tmp_path: Path) -> None:
    ours, theirs = both({"feature_size": 128, "dither": 0.1, "chunk_length": 20})
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    opened = transformers.WhisperFeatureExtractor.from_pretrained(tmp_path / "ours")
    assert opened.to_dict() == theirs.to_dict()
    assert antiphon.AutoFeatureExtractor.from_pretrained(tmp_path / "theirs").to_dict() == ours.to_dict()
    written = json.loads((tmp_path / "ours" / "preprocessor_config.json").read_text())
    assert written["n_samples"] == 320_000 and written["nb_max_frames"] == 2000
    again = antiphon.WhisperFeatureExtractor.from_pretrained(tmp_path / "ours", chunk_length=10)
    assert again.n_samples == 160_000


def test_memory_beside_the_result_is_that_of_one_row() -> None:
    """Rows are made one by one, straight from what came."""
    extractor, held = antiphon.WhisperFeatureExtractor(**SMALL), []
    spectrum = extractor._spectrum
    extractor._spectrum = lambda *args: held.append(args[0].size) or spectrum(*args)  # type: ignore[method-assign,func-returns-value]
    extractor(sounds(32_000, 32_000, 32_000), sampling_rate=RATE_HZ)
    assert held == [32_000] * 3


@pytest.mark.parametrize(
    "settings",
    [
        {"feature_size": 0},
        {"hop_length": 0},
        {"n_fft": 1},
        {"chunk_length": float("nan")},
        {"chunk_length": 0},
        {"dither": float("nan")},
        {"dither": -1.0},
        {"sampling_rate": 0},
        {"padding_side": "middle"},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ParamError):
        antiphon.WhisperFeatureExtractor(**settings)


def test_F034_another_rate_is_refused_and_none_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    extractor = antiphon.WhisperFeatureExtractor(**SMALL)
    for rate in (0, -1, 44_100, float("nan"), "44100", 2**31):
        with pytest.raises(ParamError):
            extractor(sounds(4000)[0], sampling_rate=rate)
    with caplog.at_level(logging.WARNING):
        extractor(sounds(4000)[0])
    assert "taken to be at 16000 Hz" in caplog.text


def test_F030_nothing_is_refused_and_one_sample_is_a_sound() -> None:
    extractor = antiphon.WhisperFeatureExtractor(**SMALL)
    for empty in ([], np.zeros(0, np.float32), [np.zeros(0, np.float32)]):
        with pytest.raises(AudioError):
            extractor(empty, sampling_rate=RATE_HZ)
    assert np.isfinite(extractor([0.5], sampling_rate=RATE_HZ).input_features).all()


def test_F031_samples_that_are_no_numbers_are_refused_with_their_place() -> None:
    extractor = antiphon.WhisperFeatureExtractor(**SMALL)
    for bad in (float("nan"), float("inf"), 1e30):
        broken = sounds(4000)[0].astype(np.float64)
        broken[1234] = bad
        with pytest.raises(AudioError, match="sample 1234"):
            extractor(broken, sampling_rate=RATE_HZ)
    for calm in (np.zeros(4000), np.full(4000, 1e-42), np.ones(4000)):
        assert np.isfinite(extractor(calm, sampling_rate=RATE_HZ).input_features).all()


def test_F032_F033_other_types_and_shapes_are_refused() -> None:
    extractor = antiphon.WhisperFeatureExtractor(**SMALL)
    for wrong in (np.ones(4000, bool), np.ones(4000, complex), b"RIFF", "song.wav"):
        with pytest.raises(ParamTypeError):
            extractor(wrong, sampling_rate=RATE_HZ)
    with pytest.raises(AudioError, match="2 channels"):
        extractor([np.zeros((2, 4000), np.float32)], sampling_rate=RATE_HZ)
    with pytest.raises(AudioError):
        extractor(np.zeros((1, 2, 4000), np.float32), sampling_rate=RATE_HZ)
    whole = (sounds(4000)[0] * 32767).astype(np.int16)
    halves = extractor(whole, sampling_rate=RATE_HZ).input_features
    np.testing.assert_allclose(
        halves, extractor(whole.astype(np.float32) / 32768, sampling_rate=RATE_HZ).input_features, atol=1e-6
    )
