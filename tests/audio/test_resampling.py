from __future__ import annotations

import numpy as np
import pytest

from antiphon.audio.resampling import check_rate, resample, resampled_length
from antiphon.errors import AudioError, ParamError, ParamTypeError

RATES_HZ = [8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000, 192_000]


@pytest.mark.parametrize(
    "rate", [0, -1, 1, 999, 384_001, 44100.5, float("nan"), float("inf"), "44100", b"1", 2**31, None, True, [44100], 1j]
)
def test_F034_an_unusable_rate_is_refused_by_name(rate: object) -> None:
    with pytest.raises(ParamError, match="sampling_rate="):
        check_rate(rate)
    with pytest.raises(ParamError, match="to_hz="):
        resample(np.zeros(10, np.float32), 8000, rate)  # type: ignore[arg-type]
    with pytest.raises(ParamError, match="from_hz="):
        resample(np.zeros(10, np.float32), rate, 8000)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [1000, 44100, 384_000, 44100.0, np.int64(44100), np.float32(8000)])
def test_an_integral_rate_of_any_type_becomes_an_int(rate: object) -> None:
    assert type(check_rate(rate)) is int


@pytest.mark.parametrize("from_hz", RATES_HZ)
@pytest.mark.parametrize("to_hz", [16000, 24000, 32000])
@pytest.mark.parametrize("length", [1, 2, 17, 1000, 4801])
def test_F036_the_length_is_exact(from_hz: int, to_hz: int, length: int) -> None:
    out = resample(np.ones((2, length), np.float32), from_hz, to_hz)
    assert out.shape == (2, -(-length * to_hz // from_hz)) and out.dtype == np.float32
    assert np.isfinite(out).all()


@pytest.mark.parametrize("rates", [(1000, 384_000), (384_000, 1000), (44100, 47999)])
def test_extreme_ratios_keep_the_length(rates: tuple[int, int]) -> None:
    for length in (1, 385, 5000):
        out = resample(np.ones(length, np.float32), *rates)
        assert out.shape == (resampled_length(length, *rates),)


@pytest.mark.parametrize("from_hz", [44100, 48000, 96000, 192_000])
def test_F036_what_lies_above_the_new_nyquist_frequency_is_gone(from_hz: int) -> None:
    to_hz = 32000
    time = np.arange(from_hz) / from_hz
    for hertz in (17000.0, 19000.0, from_hz * 0.48):
        out = resample(np.sin(2 * np.pi * hertz * time).astype(np.float32), from_hz, to_hz)
        inner = out[to_hz // 10 : -to_hz // 10]  # the sine starts and stops abruptly
        assert 20 * np.log10(np.abs(inner).max()) < -60


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_a_sine_in_the_passband_keeps_its_phase_and_level(from_hz: int) -> None:
    to_hz = 32000
    out = resample(np.sin(2 * np.pi * 1000 * np.arange(from_hz) / from_hz).astype(np.float32), from_hz, to_hz)
    expected = np.sin(2 * np.pi * 1000 * np.arange(out.shape[0]) / to_hz)
    np.testing.assert_allclose(out[3200:-3200], expected[3200:-3200], atol=2e-4)


def test_F036_there_is_no_drift_over_twenty_minutes() -> None:
    from_hz, to_hz, seconds = 8000, 11025, 1200
    wave = np.zeros(from_hz * seconds, np.float32)
    wave[[from_hz, from_hz * (seconds - 1)]] = 1
    out = resample(wave, from_hz, to_hz)
    assert out.shape == (to_hz * seconds,)
    half = out.shape[0] // 2
    assert int(out[:half].argmax()) == to_hz
    assert half + int(out[half:].argmax()) == to_hz * (seconds - 1)


def test_equal_rates_give_the_input_itself() -> None:
    wave = np.ones((2, 3, 4), np.float32)
    assert resample(wave, 16000, 16000) is wave
    assert resample(wave, 16000, 32000).shape == (2, 3, 8)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_F034_samples_that_are_not_finite_never_reach_the_filter(bad: float) -> None:
    with pytest.raises(AudioError, match="at sample 3"):
        resample(np.array([0, 0, 0, bad], np.float32), 16000, 32000)


def test_other_inputs_are_refused() -> None:
    with pytest.raises(AudioError, match="at least one sample"):
        resample(np.zeros((1, 0), np.float32), 16000, 32000)
    with pytest.raises(ParamTypeError, match="as_samples"):
        resample(np.zeros(4, np.int16), 16000, 32000)
    with pytest.raises(ParamTypeError, match="list"):
        resample([0.0], 16000, 32000)  # type: ignore[arg-type]
