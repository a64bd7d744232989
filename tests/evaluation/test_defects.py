"""Silence, clipping, loops and levels."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.evaluation.defects import defects_of

from .songs import RATE_HZ, chords


def test_the_level_is_the_root_mean_square() -> None:
    square = np.tile([0.1, -0.1], RATE_HZ)
    assert defects_of(square, RATE_HZ).level_dbfs == pytest.approx(-20)


def test_silence_is_the_share_of_quiet_moments() -> None:
    sound = np.random.default_rng(0).normal(0, 0.01, 4 * RATE_HZ)
    sound[RATE_HZ : 2 * RATE_HZ] = 0
    assert defects_of(sound, RATE_HZ).silent == pytest.approx(0.25)
    nothing = defects_of(np.zeros(RATE_HZ), RATE_HZ)
    assert (nothing.silent, nothing.clipped, nothing.repeated) == (1.0, 0.0, 0.0)


def test_a_peak_is_no_clipping_and_a_cut_one_is() -> None:
    sound = np.zeros(1000)
    sound[10] = sound[20] = sound[21] = 1.0
    assert defects_of(sound, RATE_HZ).clipped == 0
    sound[30:35] = -1.0
    assert defects_of(sound, RATE_HZ).clipped == pytest.approx(5 / 1000)
    assert defects_of(np.stack([sound, 0 * sound]), RATE_HZ).clipped == pytest.approx(5 / 2000)


def test_a_stuck_sound_repeats_itself_more_than_music_and_noise() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE_HZ)
    stuck = np.tile(noise[: RATE_HZ // 2], 8)
    music = chords([0, 3, 5, 1], 0, "major")
    repeated = [defects_of(sound, RATE_HZ).repeated for sound in (stuck, music, noise)]
    # noise is much the same at any time, but not the same
    assert repeated[0] > 0.99 > repeated[2] > 0.95 > repeated[1]


def test_a_sound_of_one_moment_repeats_nothing() -> None:
    assert defects_of(np.full(100, 0.5), RATE_HZ).repeated == 0
