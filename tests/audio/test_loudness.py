from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest

from antiphon.audio.loudness import Target, loudness_lufs, normalise
from antiphon.errors import AudioError, ParamError, ParamTypeError

RATE_HZ = 48_000


def sine(
    level_db: float, seconds: float, *, hertz: float = 1000, rate_hz: int = RATE_HZ, channels: int = 1
) -> np.ndarray:
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    wave = 10 ** (level_db / 20) * np.sin(2 * np.pi * hertz * time)
    return np.tile(wave.astype(np.float32), (channels, 1))


def steps(*parts: tuple[float, float]) -> np.ndarray:
    """Stereo sines of 1 kHz of the given levels and seconds, one after the other."""
    return np.concatenate([sine(level, seconds, channels=2) for level, seconds in parts], axis=1)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000])
def test_a_full_scale_sine_on_one_channel_has_minus_3_01_lufs(rate_hz: int) -> None:
    assert loudness_lufs(sine(0, 2, hertz=997, rate_hz=rate_hz), rate_hz) == pytest.approx(-3.01, abs=0.01)


# Cases 1 to 6 of EBU Tech 3341; the tolerance of the page is 0.1 LU.
MINIMUM_REQUIREMENTS = {
    "1": (steps((-23, 20)), -23),
    "2": (steps((-33, 20)), -33),
    "3, the relative gate": (steps((-36, 10), (-23, 60), (-36, 10)), -23),
    "4, the absolute gate": (steps((-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)), -23),
    "5, no gate": (steps((-26, 20), (-20, 20.1), (-26, 20)), -23),
    # without the low frequencies, which count nothing and are put in loud
    "6, surround": (np.concatenate([sine(level, 20) for level in (-28, -28, -24, -3, -30, -30)]), -23),
}


@pytest.mark.parametrize("case", MINIMUM_REQUIREMENTS)
def test_the_cases_of_the_broadcasters_are_met(case: str) -> None:
    samples, lufs = MINIMUM_REQUIREMENTS[case]
    assert loudness_lufs(samples, RATE_HZ) == pytest.approx(lufs, abs=0.05)


def piece(rate_hz: int, channels: int, seconds: float, seed: int) -> np.ndarray:
    """Tones and noise that swell."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate_hz)) / rate_hz
    swell = 0.02 + 0.5 * np.abs(np.sin(0.9 * time)) ** 6
    rows = [
        swell * (np.sin(2 * np.pi * 80 * (k + 1) * time) + 0.3 * rng.standard_normal(time.size))
        for k in range(channels)
    ]
    return np.stack(rows).astype(np.float32) * 0.5


# pyloudnorm 0.2.0, Meter(rate_hz, filter_class="DeMan").integrated_loudness(piece(...).T). Its shelf bends towards the
# Nyquist frequency of lower rates, while ours keeps the shape it has at 48 kHz: noise at 24 kHz differs by 0.05.
REFERENCE = {
    (48_000, 1, 9.05, 0): -18.311574,
    (48_000, 2, 5.0, 1): -15.892862,
    (44_100, 2, 7.33, 2): -15.022426,
    (32_000, 1, 12.0, 3): -18.878106,
    (32_000, 2, 0.4, 4): -39.809496,
    (24_000, 5, 6.0, 5): -9.659957,
}


@pytest.mark.parametrize("case", REFERENCE)
def test_other_sounds_measure_as_pyloudnorm_measures_them(case: tuple[int, int, float, int]) -> None:
    assert loudness_lufs(piece(*case), case[0]) == pytest.approx(
        REFERENCE[case], abs=1e-5 if case[0] == 48_000 else 0.05
    )


def test_the_length_of_the_segments_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = piece(11_025, 2, 20.05, 0)
    whole = loudness_lufs(samples, 11_025)
    for seconds in (1, 3, 100):
        monkeypatch.setattr("antiphon.audio.loudness._SEGMENT_SECONDS", seconds)
        assert loudness_lufs(samples, 11_025) == pytest.approx(whole, abs=1e-3)


def test_ten_decibels_more_are_ten_units_more() -> None:
    quiet = piece(32_000, 2, 3.0, 0)
    assert loudness_lufs(quiet * 10**0.5, 32_000) - loudness_lufs(quiet, 32_000) == pytest.approx(10, abs=1e-3)


def test_F128_silence_is_minus_infinity_and_too_short_a_sound_has_no_loudness() -> None:
    assert loudness_lufs(np.zeros(RATE_HZ), RATE_HZ) == -math.inf
    assert loudness_lufs(np.full(RATE_HZ, 1e-6), RATE_HZ) == -math.inf
    assert math.isnan(loudness_lufs(sine(0, 0.399), RATE_HZ))
    assert math.isfinite(loudness_lufs(sine(0, 0.4), RATE_HZ))
    assert math.isnan(loudness_lufs(np.ones(1), 1000))


def test_what_is_no_sound_is_refused() -> None:
    with pytest.raises(AudioError, match="nan"):
        loudness_lufs(np.full(RATE_HZ, np.nan), RATE_HZ)
    with pytest.raises(ParamError, match="rate_hz="):
        loudness_lufs(sine(0, 1), math.nan)  # type: ignore[arg-type]


STRATEGIES = ["peak", "clip", "rms", "loudness"]


def test_peak_brings_the_largest_sample_to_its_headroom() -> None:
    done = normalise(piece(32_000, 2, 3, 0), 32_000, Target())
    assert done.strategy == "peak" and done.limited_db == 0
    assert done.peak == np.abs(done.samples).max() == pytest.approx(10 ** (-1 / 20), rel=1e-5)
    assert normalise(sine(-6, 1), RATE_HZ, Target(peak_clip_headroom_db=3)).gain_db == pytest.approx(3, abs=1e-3)


def test_rms_brings_the_power_of_the_average_of_the_channels_to_its_headroom() -> None:
    samples = piece(32_000, 2, 3, 0)
    done = normalise(samples, 32_000, Target(strategy="rms"))
    assert done.limited_db == 0 and done.strategy == "rms"
    assert 10 * np.log10(np.mean(done.samples.mean(axis=0) ** 2.0)) == pytest.approx(-18, abs=1e-3)
    np.testing.assert_allclose(done.samples, samples * 10 ** (done.gain_db / 20), rtol=1e-5)


def test_loudness_brings_the_loudness_to_minus_14_lufs() -> None:
    done = normalise(sine(-30, 2), RATE_HZ, Target(strategy="loudness"))
    assert done.lufs == pytest.approx(-14, abs=0.01) and done.limited_db == 0
    assert done.gain_db == pytest.approx(-14 + 33.01, abs=0.02)
    quieter = normalise(sine(-30, 2), RATE_HZ, Target(strategy="loudness", loudness_headroom_db=23))
    assert quieter.lufs == loudness_lufs(quieter.samples, RATE_HZ) == pytest.approx(-23, abs=0.01)


def test_clip_changes_only_what_is_beyond_the_headroom() -> None:
    samples = piece(32_000, 2, 2, 0)
    same = normalise(samples / np.abs(samples).max() * 0.85, 32_000, Target(strategy="clip"))
    np.testing.assert_array_equal(same.samples, samples / np.abs(samples).max() * np.float32(0.85))
    held = normalise(samples / np.abs(samples).max() * 2, 32_000, Target(strategy="clip"))
    assert held.gain_db == 0 and held.limited_db < -6 and held.peak <= 10 ** (-1 / 20) * (1 + 1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("channels", [1, 2])
def test_F128_nothing_is_ever_cut_off(strategy: Any, channels: int) -> None:
    # a click over a quiet tone: every strategy but the peak asks for far more than full scale
    samples = sine(-40, 1, channels=channels)
    samples[:, 20_000] = 0.9
    clipped = np.clip(4 * piece(RATE_HZ, channels, 2, 0), -1, 1)
    for sound in (samples, clipped):
        done = normalise(sound, RATE_HZ, Target(strategy=strategy))
        assert done.peak == np.abs(done.samples).max() <= 10 ** (-1 / 20) * (1 + 1e-6)
        # a run of samples at the top is what cutting leaves; there are no more of them than before
        assert runs_at_the_top(done.samples) <= runs_at_the_top(sound)


def runs_at_the_top(wave: np.ndarray) -> int:
    top = np.abs(wave) > (1 - 1e-5) * np.abs(wave).max()
    return int((top[:, 1:] & top[:, :-1]).sum())


def test_the_compressor_bends_what_is_loud() -> None:
    samples = piece(32_000, 2, 3, 0)
    plain = normalise(samples, 32_000, Target(strategy="loudness", loudness_headroom_db=5))
    bent = normalise(samples, 32_000, Target(strategy="loudness", loudness_headroom_db=5, loudness_compressor=True))
    assert plain.limited_db < bent.limited_db <= 0 and bent.gain_db == plain.gain_db
    assert bent.peak <= 10 ** (-1 / 20) * (1 + 1e-6)


@pytest.mark.parametrize("strategy", ["peak", "rms", "loudness"])
def test_without_normalize_a_sound_is_only_turned_down(strategy: Any) -> None:
    quiet, loud = sine(-40, 1), sine(12, 1)
    target = Target(strategy=strategy, normalize=False)
    np.testing.assert_array_equal(normalise(quiet, RATE_HZ, target).samples, quiet)
    assert normalise(loud, RATE_HZ, target).gain_db < -12
    assert normalise(quiet, RATE_HZ, Target(strategy=strategy)).gain_db > 20


def test_none_changes_nothing() -> None:
    loud = sine(12, 1)
    assert normalise(loud, RATE_HZ, Target(strategy="none")).samples is loud


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("samples", [np.zeros((2, RATE_HZ)), np.zeros(1), np.full(RATE_HZ, 1e-40), np.full(50, 1e-6)])
def test_F128_silence_stays_silence(strategy: Any, samples: np.ndarray) -> None:
    done = normalise(samples, RATE_HZ, Target(strategy=strategy))
    np.testing.assert_array_equal(done.samples, np.atleast_2d(samples.astype(np.float32)))
    assert done.gain_db == 0


@pytest.mark.parametrize("seconds", [0.1, 0.399, 1 / RATE_HZ])
def test_F128_a_short_sound_goes_by_its_peak_and_says_so(seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="antiphon"):
        done = normalise(0.1 + sine(-30, seconds + 1e-9), RATE_HZ, Target(strategy="loudness"))
    assert done.strategy == "peak" and done.peak == pytest.approx(10 ** (-1 / 20)) and math.isnan(done.lufs)
    assert "less than 0.4 s" in caplog.text


def test_F128_what_is_hardly_there_is_not_raised_to_a_loudness(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="antiphon"):
        done = normalise(sine(-60, 1), RATE_HZ, Target(strategy="loudness"))
    assert done.strategy == "none" and done.gain_db == 0 and "too quiet" in caplog.text


def test_F128_channels_that_cancel_out_go_by_their_peak(caplog: pytest.LogCaptureFixture) -> None:
    wave = sine(-20, 1)
    with caplog.at_level(logging.INFO, logger="antiphon"):
        done = normalise(np.concatenate([wave, -wave]), RATE_HZ, Target(strategy="rms"))
    assert done.strategy == "peak" and done.peak == pytest.approx(10 ** (-1 / 20)) and "cancel" in caplog.text


@pytest.mark.parametrize(
    "bad",
    [
        {"peak_clip_headroom_db": -1},
        {"peak_clip_headroom_db": math.nan},
        {"rms_headroom_db": 71},
        {"loudness_headroom_db": math.inf},
        {"loudness_compressor": True, "strategy": "peak"},
    ],
)
def test_a_level_out_of_range_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ParamError, match=next(iter(bad))):
        Target(**bad)


def test_an_unknown_strategy_is_named() -> None:
    with pytest.raises(ParamTypeError, match="'peek'.*Did you mean 'peak'"):
        Target(strategy="peek")  # type: ignore[arg-type]
