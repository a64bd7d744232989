"""Key and mode from sound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from antiphon.errors import ParamError
from antiphon.evaluation.key import Key, key_agreement, key_of

from .songs import RATE_HZ, chords

PROGRESSIONS = {"major": [0, 3, 4, 0, 5, 3, 4, 0], "minor": [0, 3, 4, 0, 5, 3, 4, 0]}


@pytest.mark.parametrize("mode", ["major", "minor"])
@pytest.mark.parametrize("tonic", range(12))
def test_the_key_of_a_chord_progression_is_its_own(tonic: int, mode: str) -> None:
    found = key_of(chords(PROGRESSIONS[mode], tonic, mode), RATE_HZ)
    assert (found.tonic, found.mode) == (tonic, mode)
    assert found.score > 0.7


def test_it_does_not_matter_how_loud_a_moment_is() -> None:
    sound = chords(PROGRESSIONS["major"], 2, "major")
    fading = sound * np.linspace(1, 0.02, len(sound), dtype=np.float32)
    assert key_of(fading, RATE_HZ).name == key_of(sound, RATE_HZ).name == "D major"


def test_silence_has_no_key_worth_a_score() -> None:
    assert key_of(np.zeros(RATE_HZ), RATE_HZ) == Key(0, "major", 0.0)


@pytest.mark.parametrize(
    ("tonic", "mode", "agreement"),
    [
        (9, "minor", "right"),
        (0, "major", "relative"),
        (4, "minor", "fifth"),
        (2, "minor", "fifth"),
        (9, "major", "parallel"),
        (10, "minor", "wrong"),
        (5, "major", "wrong"),
    ],
)
def test_keys_that_are_nearly_right_are_counted_apart(tonic: int, mode: Any, agreement: str) -> None:
    assert key_agreement(Key(9, "minor", 0.9), tonic, mode) == agreement


def test_the_relative_of_a_minor_key_is_major_and_back() -> None:
    assert key_agreement(Key(9, "minor", 0.9), 0, "major") == "relative"
    assert key_agreement(Key(0, "major", 0.9), 9, "minor") == "relative"


@pytest.mark.parametrize(("tonic", "mode"), [(12, "major"), (-1, "minor"), (0, "dorian")])
def test_a_key_that_there_is_not_is_refused(tonic: int, mode: Any) -> None:
    with pytest.raises(ParamError, match="0 to 11"):
        key_agreement(Key(0, "major", 1.0), tonic, mode)
