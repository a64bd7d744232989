"""Melodies on the short way: what a piece hears of one, alone and among others, in one window and in many."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon
from antiphon import Audio
from antiphon.audio import separation
from antiphon.errors import AudioError, MissingExtraError, ParamError, ParamTypeError
from antiphon.tasks.melody import Melody
from antiphon.tasks.replay import Recipe

from ..tunes import tune

PROMPT = "80s pop track with bassy drums and synth"
WINDOWS = {"window_seconds": 0.5, "stride_seconds": 0.3}  # 1.1 s are three of them
HUM, OTHER = tune([0, 4, 7, 4, 9, 5, 2, 0]), tune([2, 2, 11, 10, 6])


def same(a: Audio, b: Audio) -> bool:
    return a.samples.shape == b.samples.shape and bool((a.samples == b.samples).all())


@pytest.fixture
def passed(follow: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What reaches the documented ``generate``."""
    calls: list[dict[str, Any]] = []
    generate = follow.model.generate
    monkeypatch.setattr(follow.model, "generate", lambda **kw: calls.append(kw) or generate(**kw))
    return calls


@pytest.mark.parametrize("settings", [{}, WINDOWS], ids=["one window", "three"])
@pytest.mark.parametrize("prompt", [PROMPT, None])
def test_a_melody_matters_with_a_text_and_without(follow: Any, prompt: str | None, settings: dict[str, float]) -> None:
    asked = {"seconds": 1.1, "seed": 4, **settings}
    hum, other, none = (follow(prompt, melody=melody, **asked) for melody in (HUM, OTHER, None))
    assert not any(same(a, b) for a, b in itertools.combinations((hum, other, none), 2))
    assert same(follow(prompt, melody=HUM, **asked), hum)


def test_the_text_matters_beside_a_melody(follow: Any) -> None:
    pieces = [follow(prompt, melody=HUM, seconds=0.5, seed=4) for prompt in (PROMPT, "calm piano", None)]
    assert not any(same(a, b) for a, b in itertools.combinations(pieces, 2))


def test_a_melody_alone_is_still_guided_and_nothing_is_not(follow: Any, passed: list[dict[str, Any]]) -> None:
    follow(None, melody=HUM, seconds=0.2, seed=1)
    follow(None, seconds=0.2, seed=1)
    assert [call["guidance_scale"] for call in passed] == [3.0, 1.0]
    follow([None, None], melody=[HUM, None], seconds=0.1, seed=1)  # which costs the second one nothing
    assert [call["guidance_scale"] for call in passed[2:]] == [3.0, 1.0]
    assert same(follow(None, seconds=0.2, seed=1, guidance=5.0), follow(None, seconds=0.2, seed=1))
    assert not same(
        follow(None, melody=HUM, seconds=0.2, seed=1, guidance=1.0), follow(None, melody=HUM, seconds=0.2, seed=1)
    )


@pytest.mark.parametrize("settings", [{}, WINDOWS], ids=["one window", "three"])
def test_a_piece_follows_its_own_melody_whatever_its_neighbours_follow(follow: Any, settings: dict[str, float]) -> None:
    prompts = [PROMPT, "a slow calm song with guitar and strings and bells", None, None, "piano"]
    melodies = [HUM, None, OTHER, None, OTHER]
    pieces = follow(prompts, melody=melodies, seconds=1.1, seed=10, **settings)
    for number, (prompt, melody, piece) in enumerate(zip(prompts, melodies, pieces, strict=True)):
        alone = follow(prompt, melody=melody, seconds=1.1, seed=10 + number, **settings)
        np.testing.assert_allclose(piece.samples, alone.samples, atol=1e-5)
        assert ("melody" in piece.parameters) == (melody is not None)


def test_one_melody_serves_all_prompts_and_variations(follow: Any) -> None:
    pieces = follow([PROMPT, "piano"], melody=HUM, seconds=0.4, seed=3, n=2)
    assert [piece.seed for piece in pieces] == [3, 4, 5, 6]
    np.testing.assert_allclose(pieces[3].samples, follow("piano", melody=HUM, seconds=0.4, seed=6).samples, atol=1e-5)


def test_a_melody_may_be_a_file_its_bytes_an_audio_or_an_array(follow: Any, tmp_path: Path) -> None:
    stereo = Audio(np.concatenate([HUM.samples, 0.5 * HUM.samples]), HUM.sampling_rate)
    path = stereo.save(tmp_path / "hum.wav", subtype="FLOAT")
    want = follow(PROMPT, melody=stereo, seconds=0.4, seed=2)
    for given in (path, str(path), path.read_bytes(), Melody(path)):
        assert same(follow(PROMPT, melody=given, seconds=0.4, seed=2), want)
    for given in (stereo.samples, torch.from_numpy(stereo.samples), Melody(stereo.samples, HUM.sampling_rate)):
        rate = {} if isinstance(given, Melody) else {"sampling_rate": HUM.sampling_rate}
        assert same(follow(PROMPT, melody=given, seconds=0.4, seed=2, **rate), want)
    noted = follow(PROMPT, melody=path, seconds=0.4, seed=2).parameters["melody"]
    assert (noted["name"], noted["separate"]) == ("hum.wav", False)
    assert noted["seconds"] == pytest.approx(HUM.seconds)
    assert noted["sha256"] == want.parameters["melody"]["sha256"]


def test_the_rate_of_a_melody_changes_little_of_what_is_heard(follow: Any, passed: list[dict[str, Any]]) -> None:
    for melody in (HUM, HUM.resample(48_000), HUM.resample(32_000)):
        follow(PROMPT, melody=melody, seconds=0.1, seed=1)
    first, *others = (call["input_features"][0].argmax(-1) for call in passed)
    assert all((first == other).float().mean() > 0.9 for other in others)


def test_a_window_hears_the_melody_at_its_place_in_the_piece(follow: Any, passed: list[dict[str, Any]]) -> None:
    notes = [0, 2, 4, 5, 7, 9, 11] * 7
    long = tune(notes, note_s=1.0)
    follow(PROMPT, melody=long, seconds=4.0, seed=1, window_seconds=2.0, stride_seconds=1.0)
    (features,) = (call["input_features"] for call in passed)
    assert features.shape == (1, 3, 235, 12)
    frames_a_second = 32_000 / 4096
    for window in range(3):
        heard = features[0, window].argmax(-1)
        middles = [round((second + 0.5) * frames_a_second) for second in range(29)]
        assert heard[middles].tolist() == notes[window : window + 29]


def test_a_short_melody_comes_again_until_the_end(follow: Any, passed: list[dict[str, Any]]) -> None:
    follow(PROMPT, melody=tune([0, 7], note_s=1.0), seconds=4.0, seed=1, window_seconds=2.0, stride_seconds=1.0)
    heard = passed[0]["input_features"][0].argmax(-1)
    second = [round((k + 0.5) * 32_000 / 4096) for k in range(28)]
    assert heard[0][second].tolist() == [0, 7] * 14
    assert heard[1][second].tolist() == [7, 0] * 14


def test_a_stream_follows_as_the_whole_piece_does(follow: Any) -> None:
    asked = {"melody": HUM, "seconds": 1.1, "seed": 5, **WINDOWS}
    chunks = list(follow.stream(PROMPT, chunk_seconds=0.3, **asked))
    piece = follow(PROMPT, **asked)
    assert np.abs(Audio.join(chunks).samples - piece.samples).max() < 1e-5
    assert all(chunk.parameters == piece.parameters for chunk in chunks)


def test_a_piece_goes_on_from_a_recording_and_follows_a_melody(follow: Any) -> None:
    asked = {"continue_from": Audio(OTHER.samples[:, :11_025], 22_050), "seconds": 1.3, "seed": 5}
    for windows in ({}, WINDOWS):
        piece, other = (follow(PROMPT, melody=melody, **asked, **windows) for melody in (HUM, None))
        assert piece.samples.shape == other.samples.shape
        assert np.abs(piece.samples[:, :10_000] - other.samples[:, :10_000]).max() < 1e-4  # 0.5 s of recording
        assert np.abs(piece.samples[:, 20_000:] - other.samples[:, 20_000:]).max() > 0.01
        assert {"melody", "continue_from"} <= set(piece.parameters)


def test_a_rate_is_for_the_array_among_melody_and_recording(follow: Any, tmp_path: Path) -> None:
    path = OTHER.save(tmp_path / "other.wav", subtype="FLOAT")
    want = follow(PROMPT, melody=HUM, continue_from=OTHER, seconds=2.5, seed=5)
    asked = {"melody": HUM.samples, "continue_from": path, "sampling_rate": HUM.sampling_rate}
    assert same(follow(PROMPT, seconds=2.5, seed=5, **asked), want)
    with pytest.raises(ParamError, match="states its own"):
        follow(PROMPT, seconds=2.5, melody=HUM, continue_from=path, sampling_rate=22_050)


def test_a_stereo_model_and_a_rounded_one_follow_too(make_checkpoint: Any, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "stereo", channels=2, melody=True)
    for composer in (antiphon.load(folder, device="cpu"), antiphon.load(folder, device="cpu", quantize="int8")):
        hum, other = (composer(PROMPT, melody=melody, seconds=0.6, seed=1) for melody in (HUM, OTHER))
        assert hum.samples.shape == (2, 19_200)
        assert not same(hum, other)


def test_a_melody_is_taken_apart_once_and_only_where_asked(follow: Any, monkeypatch: Any) -> None:
    heard: list[tuple[tuple[int, ...], int]] = []

    def apart(samples: np.ndarray, rate_hz: int) -> np.ndarray:
        heard.append((samples.shape, rate_hz))
        return np.repeat(OTHER.samples, 2, axis=0)

    monkeypatch.setattr(separation, "separate", apart)
    stereo = Audio(np.concatenate([HUM.samples, 0.5 * HUM.samples]), HUM.sampling_rate)
    pieces = follow([PROMPT, None], melody=stereo, separate=True, seconds=0.3, seed=1)
    assert heard == [(stereo.samples.shape, HUM.sampling_rate)]
    np.testing.assert_allclose(pieces[0].samples, follow(PROMPT, melody=OTHER, seconds=0.3, seed=1).samples, atol=1e-5)
    assert pieces[0].parameters["melody"]["separate"] is True
    again = Recipe.of(pieces[0]).make(follow, melody=stereo)
    np.testing.assert_allclose(again.samples, pieces[0].samples, atol=1e-5)
    apart_once = Melody(stereo, separate=True)
    for _ in range(2):
        assert same(
            follow(PROMPT, melody=apart_once, seconds=0.3, seed=1),
            follow(PROMPT, melody=stereo, separate=True, seconds=0.3, seed=1),
        )
    assert len(heard) == 5


def test_without_demucs_a_separation_says_what_to_install(follow: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(__import__("sys").modules, "demucs.pretrained", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'antiphon\[separate\]'"):
        follow(PROMPT, melody=HUM, separate=True, seconds=0.1)


def test_melodies_that_do_not_fit_the_call_are_refused(follow: Any, compose: Any) -> None:
    with pytest.raises(ParamError, match=r"follows none.*musicgen-melody"):
        compose("a", melody=HUM)
    with pytest.raises(ParamError, match="2 melodies for 3 prompts"):
        follow(["a", "b", "c"], melody=[HUM, None])
    with pytest.raises(ParamError, match="sampling_rate is not given"):
        follow("a", melody=HUM.samples)
    with pytest.raises(ParamError, match="separate=True without a melody"):
        follow("a", separate=True)
    with pytest.raises(ParamError, match="not separated"):
        follow("a", melody=Melody(HUM), separate=True)
    with pytest.raises(ParamTypeError, match="separate is of type str"):
        follow("a", melody=HUM, separate="yes")
    with pytest.raises(AudioError, match=r"missing\.wav"):
        follow("a", melody="missing.wav")


def test_a_piece_is_made_again_with_its_melody_alone(follow: Any, tmp_path: Path) -> None:
    path = HUM.save(tmp_path / "hum.flac")
    for settings in ({"seconds": 0.5}, {"seconds": 1.4, **WINDOWS}):
        piece = follow(PROMPT, melody=path, seed=9, **settings)
        recipe = Recipe.of(Audio.load(piece.save(tmp_path / "x.wav")))
        np.testing.assert_array_equal(recipe.make(follow, melody=path).samples, piece.samples)
        with pytest.raises(ParamError, match=r"follows 'hum\.flac'.*--melody"):
            recipe.make(follow)
        with pytest.raises(ParamError, match="samples of this melody are others"):
            recipe.make(follow, melody=OTHER)
    with pytest.raises(ParamError, match="follows no melody"):
        Recipe.of(follow(PROMPT, seconds=0.1, seed=1)).make(follow, melody=HUM)


def test_a_stopped_piece_with_a_melody_is_made_to_where_it_stopped(follow: Any) -> None:
    asked = iter(range(1, 1000))
    piece = follow(PROMPT, melody=HUM, seed=1, seconds=1.5, stop_when=lambda: next(asked) >= 37, **WINDOWS)
    assert 0.2 < piece.seconds < 1.5
    np.testing.assert_array_equal(Recipe.of(piece).make(follow, melody=HUM).samples, piece.samples)


@pytest.mark.parametrize("settings", [{}, {"window_seconds": 2.0, "stride_seconds": 1.0}], ids=["one", "three"])
def test_the_agreement_of_a_piece_is_with_what_its_windows_heard(follow: Any, settings: dict[str, float]) -> None:
    hum = tune([0, 2, 4, 5, 7, 9, 11], note_s=0.5)
    piece = follow(PROMPT, melody=hum, seconds=4.0, seed=1, **settings)
    sung = Audio(np.resize(hum.resample(32_000).samples, (1, 128_000)), 32_000, parameters=piece.parameters)
    found = follow.agreement(sung, hum)  # a piece that is its melody
    assert found.share > 0.9
    assert len(found.heard) == len(found.made) == 4 * 32_000 // 4096 + 1
    shifted = dataclasses.replace(sung, samples=tune([1, 3, 5, 6, 8, 10, 0] * 2, note_s=0.5, rate_hz=32_000).samples)
    assert follow.agreement(dataclasses.replace(shifted, samples=shifted.samples[:, :128_000]), hum).share < 0.1
    assert follow.agreement(piece, hum).share < 0.9  # the weights are random


def test_the_agreement_of_a_long_piece_is_with_the_windows_that_made_its_moments(follow: Any) -> None:
    hum = tune([0, 2, 4, 5, 7, 9, 11], note_s=0.5)
    sung = np.resize(hum.resample(32_000).samples, (1, 60 * 32_000))
    settings = {"seconds": 60.0, "window_seconds": 30.0, "stride_seconds": 18.0}
    assert follow.agreement(Audio(sung, 32_000, parameters=settings), hum).share > 0.9
    late = Audio(np.roll(sung, 16_000 * 3, axis=1), 32_000, parameters=settings)  # three notes late
    assert follow.agreement(late, hum).share < 0.1
