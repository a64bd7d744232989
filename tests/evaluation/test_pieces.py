"""The making of pieces for an evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon import Audio
from antiphon.errors import AudioError
from antiphon.evaluation.asked import Asked
from antiphon.evaluation.pieces import Making, found_pieces, make_pieces
from antiphon.tasks.composer import Composer

from ..tunes import tune

MAKING = Making(seconds=0.2, prompt_s=0.1, seed=7, together=2)


@pytest.fixture
def composed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the composer was asked for, call by call."""
    calls: list[dict[str, Any]] = []
    compose = Composer.compose

    def spied(self: Composer, prompt: Any, **settings: Any) -> Any:
        calls.append({"prompt": prompt, **settings})
        return compose(self, prompt, **settings)

    monkeypatch.setattr(Composer, "compose", spied)
    return calls


@pytest.fixture
def asked(tmp_path: Path) -> list[Asked]:
    """Three prompts, the second of which is to be gone on from."""
    recording = tune([0, 4, 7]).save(tmp_path / "tune.wav")
    return [Asked("pop"), Asked("on", continue_from=recording), Asked("rock"), Asked("blues")]


def test_pieces_have_the_seeds_of_their_places_and_groups_share_a_kind(
    compose: Any, composed: list[dict[str, Any]], asked: list[Asked], tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    made = make_pieces(compose, asked, tmp_path / "pieces", MAKING, on_piece=lambda done, of: told.append((done, of)))
    assert [(call["prompt"], call["seed"]) for call in composed] == [
        (["pop", "rock"], [7, 9]),
        (["blues"], [10]),
        (["on"], [8]),
    ]
    assert [path.name for path in made.values()] == ["0001.wav", "0002.wav", "0003.wav", "0004.wav"]
    sounds = [Audio.load(path) for path in made.values()]
    assert [sound.seconds for sound in sounds] == pytest.approx([0.2, 0.3, 0.2, 0.2])
    assert [sound.seed for sound in sounds] == [7, 8, 9, 10]
    assert composed[2]["continue_from"][0].seconds == pytest.approx(0.1)
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_is_there_is_not_made_again_and_what_is_something_else_is(
    compose: Any, composed: list[dict[str, Any]], asked: list[Asked], tmp_path: Path
) -> None:
    first = make_pieces(compose, asked, tmp_path, MAKING)
    samples = Audio.load(first[2]).samples
    first[2].write_bytes(b"half a piece")
    Audio(np.zeros(100), 32_000).save(first[3])
    composed.clear()
    again = make_pieces(compose, asked, tmp_path, MAKING)
    assert [call["prompt"] for call in composed] == [["rock", "blues"]]
    assert np.array_equal(Audio.load(again[2]).samples, samples)
    composed.clear()
    make_pieces(compose, asked, tmp_path, Making(seconds=0.2, prompt_s=0.1, seed=7, guidance=1.5), places=[0])
    assert [call["guidance"] for call in composed] == [1.5]


def test_loud_pieces_are_kept_as_they_came(
    compose: Any, asked: list[Asked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loud = Audio(np.full(6400, 1.5, np.float32), 32_000)
    monkeypatch.setattr(Composer, "compose", lambda self, prompt, **settings: [loud] * len(prompt))
    made = make_pieces(compose, asked, tmp_path, MAKING, places=[0])
    assert Audio.load(made[0]).peak == 1.5


def test_a_melody_is_followed_or_left_out(follow: Any, tmp_path: Path, composed: list[dict[str, Any]]) -> None:
    asked = [Asked("led", melody=tune([0, 4, 7, 12]).save(tmp_path / "tune.wav")), Asked("free")]
    led = make_pieces(follow, asked, tmp_path / "led", MAKING)
    free = make_pieces(follow, asked, tmp_path / "free", MAKING, melodies=False, places=[0])
    assert [call["melody"] for call in composed] == [[asked[0].melody, None], None]
    assert list(free) == [0]
    assert "melody" in Audio.load(led[0]).parameters
    assert not np.array_equal(Audio.load(led[0]).samples, Audio.load(free[0]).samples)


def test_files_that_are_there_are_taken_in_the_order_of_their_names(tmp_path: Path, asked: list[Asked]) -> None:
    for name in ("b.wav", "a.wav", "d.wav", "c.wav", ".hidden"):
        (tmp_path / name).touch()
    (tmp_path / "tune.wav").unlink()
    assert [path.name for path in found_pieces(tmp_path, asked)] == ["a.wav", "b.wav", "c.wav", "d.wav"]
    with pytest.raises(AudioError, match="4 files"):
        found_pieces(tmp_path, asked[:3])
