"""Recipes of pieces, and how a piece compares with its file."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon import Audio, __version__
from antiphon.errors import AudioError, CheckpointError, ParamError
from antiphon.tasks.replay import Recipe, compare

SETTINGS = {"seconds": 0.4, "guidance": 2.0, "temperature": 0.9, "top_k": 30, "top_p": 0.9}


@pytest.fixture(scope="module")
def piece(compose: Any) -> Audio:
    return compose("calm piano", seed=5, **SETTINGS)


def changed(piece: Audio, **parameters: Any) -> Audio:
    return dataclasses.replace(piece, parameters={**(piece.parameters or {}), **parameters})


def test_a_recipe_holds_what_the_piece_was_made_with(piece: Audio, compose: Any, tmp_path: Path) -> None:
    recipe = Recipe.of(Audio.load(piece.save(tmp_path / "x.mp3")))
    assert (recipe.prompt, recipe.seed, recipe.model, recipe.dtype) == ("calm piano", 5, compose.name, "float32")
    assert {name: recipe.settings[name] for name in SETTINGS} == SETTINGS
    assert (recipe.quantize, recipe.revision, recipe.recording, recipe.loudness, recipe.stopped_s) == (None,) * 5


def test_the_piece_of_a_recipe_is_the_piece(piece: Audio, compose: Any) -> None:
    np.testing.assert_array_equal(Recipe.of(piece).make(compose).samples, piece.samples)


def test_a_piece_without_chance_and_without_text_is_made_again(compose: Any) -> None:
    piece = compose(seconds=0.2, greedy=True)
    np.testing.assert_array_equal(Recipe.of(piece).make(compose).samples, piece.samples)


def test_the_recipe_loads_the_model_with_the_dtype_it_had(checkpoint: Path) -> None:
    record = {"software": f"antiphon {__version__}", "dtype": "bfloat16"}
    recipe = Recipe.of(Audio(np.zeros(9), 32_000, model=str(checkpoint), parameters=record))
    assert str(recipe.load(device="cpu").model.dtype) == "torch.bfloat16"


def test_quantisation_and_revision_are_part_of_loading(monkeypatch: Any) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("antiphon.tasks.replay.load", lambda name, **options: asked.append((name, options)))
    record = {"software": f"antiphon {__version__}", "quantize": "int8", "revision": "abc", "dtype": "float32"}
    recipe = Recipe.of(Audio(np.zeros(9), 32_000, model="some/model", parameters=record))
    recipe.load(device="cpu")
    assert asked == [("some/model", {"dtype": "float32", "device": "cpu", "quantize": "int8", "revision": "abc"})]


@pytest.mark.parametrize("steps", [4, 5, 20, 21, 37, 52, 53])
def test_a_stopped_piece_is_made_to_where_it_stopped(steps: int, compose: Any, tmp_path: Path) -> None:
    asked = iter(range(1, 1000))
    piece = compose("a", seed=1, seconds=1.0, stop_when=lambda: next(asked) >= steps)
    assert piece.parameters["stopped"] is True
    assert len(piece) == min(steps - 3, 50) * 640
    recipe = Recipe.of(Audio.load(piece.save(tmp_path / "x.wav")))
    assert recipe.stopped_s == piece.seconds
    np.testing.assert_array_equal(recipe.make(compose).samples, piece.samples)


@pytest.mark.parametrize("steps", [20, 26, 28, 29, 31, 35, 53, 54, 60])
def test_a_stopped_piece_of_many_windows_is_made_to_where_it_stopped(steps: int, compose: Any) -> None:
    clip = Audio(np.sin(np.arange(6500) / 20) * 0.3, 32_000)
    for recording in (None, clip):
        asked = iter(range(1, 1000))
        settings = {"seconds": 1.5, "window_seconds": 0.5, "stride_seconds": 0.3, "continue_from": recording}
        piece = compose("a", seed=1, stop_when=lambda asked=asked: next(asked) >= steps, **settings)
        assert 0.2 < piece.seconds < 1.5
        np.testing.assert_array_equal(Recipe.of(piece).make(compose, recording).samples, piece.samples)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (None, "no tags"),
        ({"software": "another program"}, "another program"),
        ({"software": 5}, "made by 5"),
        ({"software": "antiphon 9.0", "lyrics": "x"}, "antiphon 9.0 with lyrics"),
        ({"software": f"antiphon {__version__}", "text_temperature": 0.7}, "conversation.*antiphon talk"),
        ({"software": f"antiphon {__version__}", "melody": "x"}, "melody='x'"),
        ({"software": f"antiphon {__version__}", "continue_from": 5}, "continue_from='5'"),
        ({"software": f"antiphon {__version__}", "loudness": "very"}, "loudness='very'"),
        ({"software": f"antiphon {__version__}", "dtype": 5}, "dtype='5'"),
    ],
)
def test_tags_that_are_no_recipe_are_refused_by_name(parameters: Any, said: str) -> None:
    with pytest.raises(AudioError, match=said):
        Recipe.of(Audio(np.zeros(9), 32_000, parameters=parameters), "x.wav")


def test_settings_of_the_tags_are_checked_like_any_others(piece: Audio, compose: Any) -> None:
    with pytest.raises(ParamError, match="seconds="):
        Recipe.of(changed(piece, seconds="much")).make(compose)


def test_another_version_is_told(piece: Audio, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        Recipe.of(changed(piece, software="antiphon 0.0.1"), "x.wav")
    assert "x.wav was made by antiphon 0.0.1" in caplog.text


def test_a_recipe_without_a_model_says_how_to_name_one(piece: Audio) -> None:
    with pytest.raises(CheckpointError, match="--model"):
        Recipe.of(dataclasses.replace(piece, model=None)).load()


def test_a_recording_that_was_not_there_is_refused(piece: Audio, compose: Any) -> None:
    with pytest.raises(ParamError, match="no recording"):
        Recipe.of(piece).make(compose, piece)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [("x.wav", "PCM_16"), ("x.wav", "PCM_24"), ("x.wav", "FLOAT"), ("x.flac", "PCM_24"), ("x.ogg", None)],
)
def test_a_file_of_the_piece_compares_equal(name: str, subtype: Any, piece: Audio, tmp_path: Path) -> None:
    found = compare(piece, piece.save(tmp_path / name, subtype=subtype))
    assert (found.verdict, found.is_same, found.correlation) == ("equal", True, 1.0)


def test_a_louder_piece_than_full_scale_compares_equal(piece: Audio, tmp_path: Path) -> None:
    loud = dataclasses.replace(piece, samples=piece.samples * 10)
    assert compare(loud, loud.save(tmp_path / "x.wav")).verdict == "equal"


def test_one_sample_of_difference_is_found(piece: Audio, tmp_path: Path) -> None:
    samples = piece.samples.copy()
    samples[0, 100] += 2**-14
    found = compare(piece, dataclasses.replace(piece, samples=samples).save(tmp_path / "x.wav"))
    assert (found.verdict, found.is_same) == ("different", False)
    assert found.difference == pytest.approx(2**-14, rel=0.6)
    assert found.correlation > 0.999


def test_a_coder_that_shifts_and_changes_gives_a_like_piece_and_another_seed_does_not(compose, piece, tmp_path) -> None:
    moved = dataclasses.replace(piece, samples=np.pad(piece.samples * 0.9, ((0, 0), (700, 0))))
    assert compare(piece, moved.save(tmp_path / "x.mp3")).verdict == "alike"
    other = compose("calm piano", seed=6, **SETTINGS)
    found = compare(other, piece.save(tmp_path / "x.ogg"))
    assert found.verdict == "different"
    assert abs(found.correlation) < 0.5


def test_silence_and_other_lengths_are_different(piece: Audio, tmp_path: Path) -> None:
    silent = dataclasses.replace(piece, samples=np.zeros_like(piece.samples))
    assert compare(piece, silent.save(tmp_path / "x.ogg")).correlation == 0
    double = dataclasses.replace(piece, samples=np.tile(piece.samples, 2))
    assert compare(piece, double.save(tmp_path / "y.ogg")).verdict == "different"
