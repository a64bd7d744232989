"""How far a piece follows a melody: known tunes, repetition, silence, other rates."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon import Audio
from antiphon.audio.melody_agreement import MelodyAgreement, pitch_classes
from antiphon.errors import ParamError

from ..tunes import tune

NOTES = [0, 2, 4, 5, 7, 9, 11, 1, 3, 6, 8, 10]


def at(seconds: float) -> int:
    return round(seconds * 32_000 / 4096)


@pytest.mark.parametrize("rate_hz", [16_000, 22_050, 32_000, 44_100, 48_000])
def test_the_pitch_classes_of_a_tune_are_its_notes_in_every_octave(rate_hz: int) -> None:
    notes = [note + 12 * (number % 3 - 1) for number, note in enumerate(NOTES)]
    classes = pitch_classes(tune(notes, note_s=1.0, rate_hz=rate_hz))
    assert len(classes) == 12 * 32_000 // 4096 + 1
    assert classes[[at(second + 0.5) for second in range(12)]].tolist() == NOTES


def test_a_piece_agrees_with_itself_and_not_with_its_transposition() -> None:
    piece = tune(NOTES)
    assert MelodyAgreement.of(piece, piece).share == 1.0
    assert MelodyAgreement.of(piece, tune([note + 1 for note in NOTES])).share < 0.1
    assert MelodyAgreement.of(piece, tune([note + 12 for note in NOTES])).share > 0.9


def test_half_of_a_tune_agrees_by_half() -> None:
    followed = tune([0, 2, 4, 5, 1, 3, 8, 10], note_s=1.0)
    assert MelodyAgreement.of(followed, tune([0, 2, 4, 5, 7, 9, 11, 6], note_s=1.0)).share == pytest.approx(
        0.5, abs=0.05
    )


def test_chance_is_what_the_same_notes_come_to_at_other_moments() -> None:
    rng = np.random.default_rng(3)
    heard, made = rng.integers(0, 12, 4000), np.where(rng.random(4000) < 0.7, 7, rng.integers(0, 12, 4000))
    shuffled = np.mean([(heard == rng.permutation(made)).mean() for _ in range(50)])
    assert MelodyAgreement(heard, made, 0.128).chance == pytest.approx(shuffled, abs=0.005)
    drone = MelodyAgreement(np.array([7, 7, 0, 4]), np.full(4, 7), 0.128)
    assert drone.share == drone.chance == 0.5


def test_a_melody_comes_again_when_it_ends() -> None:
    hum = tune([0, 7], note_s=1.0)
    agreement = MelodyAgreement.of(tune([0, 7] * 4, note_s=1.0), hum)
    assert len(agreement.heard) == len(agreement.made) == 8 * 32_000 // 4096 + 1
    assert agreement.frame_s == 0.128
    assert agreement.share > 0.85
    assert agreement.heard[[at(second + 0.5) for second in range(5)]].tolist() == [0, 7, 0, 7, 0]


def test_silence_is_the_first_pitch_class_and_channels_are_averaged() -> None:
    assert set(pitch_classes(Audio(np.zeros(32_000, np.float32), 32_000)).tolist()) == {0}
    hum = tune([9], note_s=1.0)
    both = Audio(np.concatenate([hum.samples, hum.samples]), hum.sampling_rate)
    assert set(pitch_classes(both).tolist()) == {9}


@pytest.mark.parametrize(("heard", "made"), [([0], [0, 1]), ([], []), ([[0]], [[0]])])
def test_rows_that_do_not_fit_are_refused(heard: list[int], made: list[int]) -> None:
    with pytest.raises(ParamError, match="equally long"):
        MelodyAgreement(np.array(heard), np.array(made), 0.128)
