"""Tempo from sound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from antiphon.errors import AudioError, ParamError
from antiphon.evaluation.tempo import tempo_agreement, tempo_of

from .songs import RATE_HZ, clicks

TEMPOS = [70, 83, 95, 107, 120, 133, 147, 160]


@pytest.mark.parametrize("bpm", TEMPOS)
def test_the_tempo_of_clicks_is_theirs(bpm: int) -> None:
    found = tempo_of(clicks(bpm), RATE_HZ)
    assert found.bpm == pytest.approx(bpm, rel=0.015)
    assert found.confidence > 0.3


# even off-beats at 70 are beats at 140 to anybody
@pytest.mark.parametrize(("bpm", "swing"), [(bpm, swing) for bpm in TEMPOS for swing in (0.0, 1.0) if bpm > 80])
def test_off_beats_and_swing_do_not_change_it(bpm: int, swing: float) -> None:
    found = tempo_of(clicks(bpm, offbeats=0.05, swing=swing, seed=bpm), RATE_HZ)
    assert found.bpm == pytest.approx(bpm, rel=0.04)


def test_neither_level_nor_rate_nor_channels_change_it() -> None:
    whole = tempo_of(clicks(100), RATE_HZ).bpm
    assert tempo_of(0.1 * clicks(100), RATE_HZ).bpm == pytest.approx(whole, rel=0.01)
    assert tempo_of(clicks(100, rate_hz=44_100), 44_100).bpm == pytest.approx(100, rel=0.01)
    assert tempo_of(np.stack([clicks(100)] * 2), RATE_HZ).bpm == whole


def test_noise_and_silence_have_no_clear_tempo() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 8 * RATE_HZ).astype(np.float32)
    assert tempo_of(noise, RATE_HZ).confidence < 0.15
    assert tempo_of(np.zeros_like(noise), RATE_HZ).confidence == 0


def test_a_sound_too_short_for_beats_is_refused() -> None:
    with pytest.raises(AudioError, match=r"1\.50 s"):
        tempo_of(clicks(100, seconds=1.5), RATE_HZ)


@pytest.mark.parametrize(
    ("found", "asked", "agreement"),
    [
        (100.0, 100.0, "right"),
        (104.0, 100.0, "right"),
        (96.0, 100.0, "right"),
        (104.5, 100.0, "wrong"),
        (160.0, 80.0, "octave"),
        (80.0, 160.0, "octave"),
        (70.0, 105.0, "octave"),
        (150.0, 100.0, "octave"),
        (210.0, 70.0, "octave"),
        (120.0, 100.0, "wrong"),
    ],
)
def test_other_metrical_levels_are_told_from_wrong_tempos(found: float, asked: float, agreement: str) -> None:
    assert tempo_agreement(found, asked) == agreement


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_tempo_that_cannot_be_is_refused(bad: Any) -> None:
    with pytest.raises(ParamError, match="positive"):
        tempo_agreement(bad, 100.0)
