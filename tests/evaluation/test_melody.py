"""Following a melody."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon import Audio
from antiphon.errors import AudioError
from antiphon.evaluation.melody import melody_similarity

from ..tunes import tune

UP, DOWN = tune([0, 4, 7, 12] * 3), tune([1, 10, 6, 3] * 3)


def test_a_melody_is_like_itself_at_another_level_and_octave() -> None:
    higher = tune([note + 12 for note in [0, 4, 7, 12] * 3])
    assert melody_similarity(UP, UP) == pytest.approx(1)
    assert melody_similarity(Audio(UP.samples * 0.1, UP.sampling_rate), UP) == pytest.approx(1, abs=1e-3)
    assert melody_similarity(higher, UP) > 0.9


def test_another_melody_is_less_like_it() -> None:
    assert melody_similarity(DOWN, UP) < 0.5


def test_the_melody_comes_again_when_it_ends() -> None:
    once = tune([0, 7], note_s=0.96)  # whole frames
    twice = tune([0, 7, 0, 7], note_s=0.96)
    assert melody_similarity(twice, once) > 0.85


def test_silence_is_like_nothing_and_cannot_be_followed() -> None:
    silence = Audio(np.zeros_like(UP.samples), UP.sampling_rate)
    assert melody_similarity(silence, UP) == 0
    with pytest.raises(AudioError, match="silent"):
        melody_similarity(UP, silence)
