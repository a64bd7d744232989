from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from antiphon.audio.resampling import resampled_length
from antiphon.audio.sinc import _filters, inputs_for, sinc_resample
from antiphon.errors import AudioError, ParamError, ParamTypeError

RATES_HZ = [8000, 11025, 22050, 24000, 44100, 44101, 48000, 96000]
TO_HZ = 32000


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def by_the_formula(samples: np.ndarray, from_hz: int, to_hz: int, place: int) -> float:
    """One output: the sum over all inputs of the sound times the windowed sinc around the output's moment."""
    cutoff = 0.945 * min(1, to_hz / from_hz)
    crossings = (np.arange(len(samples)) - place * from_hz / to_hz) * cutoff
    window = np.where(np.abs(crossings) < 24, np.cos(crossings * math.pi / 48) ** 2, 0)
    return float((samples * np.sinc(crossings) * window * cutoff).sum())


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_every_output_is_what_the_formula_gives(from_hz: int) -> None:
    sound = noise(from_hz // 40)
    out = sinc_resample(sound, from_hz, TO_HZ)
    expected = [by_the_formula(sound.double().numpy(), from_hz, TO_HZ, place) for place in range(len(out))]
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("from_hz", RATES_HZ)
@pytest.mark.parametrize("length", [1, 2, 17, 4801])
def test_the_length_is_exact(from_hz: int, length: int) -> None:
    out = sinc_resample(torch.ones(2, 3, length, dtype=torch.float64), from_hz, TO_HZ)
    assert out.shape == (2, 3, resampled_length(length, from_hz, TO_HZ))
    assert out.dtype == torch.float32


@pytest.mark.parametrize("from_hz", [44100, 48000, 96000])
def test_what_lies_above_the_new_nyquist_frequency_is_gone(from_hz: int) -> None:
    time_s = torch.arange(from_hz, dtype=torch.float64) / from_hz
    for hertz in (17000.0, 19000.0, from_hz * 0.48):
        inner = sinc_resample(torch.sin(2 * math.pi * hertz * time_s), from_hz, TO_HZ)[3200:-3200]
        assert 20 * math.log10(float(inner.abs().max())) < -50


@pytest.mark.parametrize("from_hz", RATES_HZ)
def test_a_part_is_that_part_of_the_whole(from_hz: int) -> None:
    sound = noise(2, from_hz)
    whole = sinc_resample(sound, from_hz, TO_HZ)
    for start, stop in [(0, 1), (5, 5), (777, 9001), (31999, 32000), (30000, 99999), (0, None)]:
        part = sinc_resample(sound, from_hz, TO_HZ, start=start, stop=stop)
        torch.testing.assert_close(part, whole[:, start:stop], rtol=0, atol=1e-6)


@pytest.mark.parametrize("from_hz", [*RATES_HZ, TO_HZ])
def test_the_first_outputs_need_no_more_inputs_than_it_says(from_hz: int) -> None:
    sound = noise(from_hz)
    needed = inputs_for(1000, from_hz, TO_HZ)
    assert needed <= math.ceil(1000 * from_hz / TO_HZ) + 27 * max(1, from_hz / TO_HZ)
    few = sinc_resample(sound[:needed], from_hz, TO_HZ, stop=1000)
    torch.testing.assert_close(few, sinc_resample(sound, from_hz, TO_HZ, stop=1000), rtol=0, atol=1e-6)


def test_equal_rates_give_the_sound_itself() -> None:
    sound = noise(100)
    assert torch.equal(sinc_resample(sound, 32000, 32000, start=3), sound[3:])


@pytest.mark.parametrize("rates", [(383_999, 1000), (1000, 383_999)])
def test_rates_without_a_common_divisor_take_little_memory(rates: tuple[int, int]) -> None:
    _, outputs, groups = _filters(*rates)
    assert outputs == rates[1]
    assert sum(group.kernel.numel() for group in groups) < 100 * max(rates)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), "44100", 2**31, None])
def test_F034_an_unusable_rate_is_refused_by_name(rate: object) -> None:
    with pytest.raises(ParamError, match="from_hz="):
        sinc_resample(noise(10), rate, TO_HZ)  # type: ignore[arg-type]
    with pytest.raises(ParamError, match="to_hz="):
        sinc_resample(noise(10), TO_HZ, rate)  # type: ignore[arg-type]


def test_nothing_integers_and_parts_that_do_not_exist_are_refused() -> None:
    with pytest.raises(AudioError, match="at least one sample"):
        sinc_resample(torch.zeros(2, 0), 8000, TO_HZ)
    with pytest.raises(ParamTypeError, match="int16"):
        sinc_resample(torch.zeros(5, dtype=torch.int16), 8000, TO_HZ)
    for part in ({"start": -1}, {"start": 3, "stop": 2}, {"start": 21}):
        with pytest.raises(ParamError, match="20 resampled samples"):
            sinc_resample(torch.zeros(5), 8000, TO_HZ, **part)
