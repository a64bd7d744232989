from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.audio.limiter import Limiter
from antiphon.errors import AudioError, ParamError

RATE_HZ = 32_000


def bursts(channels: int = 2, length: int = 20_000) -> np.ndarray:
    """Noise that swells to about four times full scale and back, a few times."""
    rng = np.random.default_rng(0)
    swell = np.abs(np.sin(np.arange(length) / 1500)) ** 8
    return (rng.standard_normal((channels, length)) * swell).astype(np.float32)


def limited(wave: np.ndarray, *, ceiling: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    limiter = Limiter(wave.shape[0], rate_hz, ceiling=ceiling)
    return np.concatenate([limiter.push(wave), limiter.flush()], axis=1)


@pytest.mark.parametrize("rate_hz", [1000, 8000, 11_025, 32_000, 48_000, 192_000])
@pytest.mark.parametrize("ceiling", [0.1, 0.5, 1.0])
def test_nothing_passes_the_ceiling(rate_hz: int, ceiling: float) -> None:
    wave = bursts()
    out = limited(wave, ceiling=ceiling, rate_hz=rate_hz)
    assert out.shape == wave.shape and out.dtype == np.float32
    assert np.abs(out).max() <= ceiling * (1 + 1e-6)
    assert np.abs(out).max() > 0.6 * ceiling  # and it is not simply silent


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 100, 1000])
def test_short_and_constant_sounds_are_held_too(length: int) -> None:
    out = limited(np.full((1, length), 3.0, np.float32))
    assert out.shape == (1, length) and 0.99 < np.abs(out).max() <= 1 + 1e-6


def test_a_sound_under_the_ceiling_is_not_touched() -> None:
    wave = bursts()
    wave /= np.abs(wave).max()
    np.testing.assert_array_equal(limited(wave), wave)


def test_far_from_the_peaks_nothing_changes() -> None:
    wave = np.full((1, RATE_HZ), 0.5, np.float32)
    wave[0, RATE_HZ // 2] = 2.0
    out = limited(wave)
    before, after = RATE_HZ // 2 - RATE_HZ * 6 // 1000, RATE_HZ // 2 + RATE_HZ * 110 // 1000
    np.testing.assert_array_equal(out[:, :before], wave[:, :before])
    np.testing.assert_array_equal(out[:, after:], wave[:, after:])
    assert out[0, RATE_HZ // 2] == pytest.approx(1, abs=1e-4)


def test_the_gain_is_smooth_and_one_for_all_channels() -> None:
    wave = np.full((2, RATE_HZ), 0.25, np.float32)
    wave[0, 9000:9100] = 4.0
    out = limited(wave)
    gain = out[1] / wave[1]
    np.testing.assert_allclose(out[0], wave[0] * gain, rtol=1e-5)
    assert gain.min() == pytest.approx(0.25, rel=1e-3)
    # 12 dB within 5 ms: no step from one sample to the next is a click
    assert np.abs(np.diff(gain)).max() < 0.02


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(lengths=st.lists(st.integers(0, 3000), max_size=30), rate_hz=st.sampled_from([1000, 8000, 44_100]))
def test_every_chunking_gives_the_same_bits(lengths: list[int], rate_hz: int) -> None:
    wave = bursts()
    limiter, parts, start = Limiter(2, rate_hz), [], 0
    for length in lengths:
        parts.append(limiter.push(wave[:, start : start + length]))
        start += length
    parts += [limiter.push(wave[:, start:]), limiter.flush()]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), limited(wave, rate_hz=rate_hz))


def test_what_is_held_back_is_a_few_milliseconds() -> None:
    limiter = Limiter(1, RATE_HZ)
    given = sum(limiter.push(np.zeros((1, 100), np.float32)).shape[1] for _ in range(100))
    assert 10_000 - 0.006 * RATE_HZ < given < 10_000


def test_it_tells_by_how_much_it_turned_down() -> None:
    limiter = Limiter(1, RATE_HZ)
    limiter.push(np.full((1, 5000), 2.0, np.float32))
    limiter.flush()
    assert limiter.lowest_db == pytest.approx(-6.0206, abs=1e-3)


def test_wrong_blocks_and_ceilings_are_refused() -> None:
    limiter = Limiter(2, RATE_HZ)
    for block in (np.zeros((1, 5), np.float32), np.zeros(5, np.float32)):
        with pytest.raises(AudioError, match="2 channels"):
            limiter.push(block)
    with pytest.raises(AudioError, match="nan"):
        limiter.push(np.full((2, 5), np.nan, np.float32))
    for ceiling in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ParamError, match="ceiling="):
            Limiter(2, RATE_HZ, ceiling=ceiling)
