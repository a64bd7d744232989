"""Intervals of figures."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.errors import ParamError
from antiphon.evaluation.interval import mean, share


def test_the_interval_of_a_share_is_wilsons() -> None:
    # 81 of 263: the worked example of R. G. Newcombe, "Two-sided confidence intervals for the single proportion" (1998)
    found = share([True] * 81 + [False] * 182)
    assert (found.value, found.clips) == (81 / 263, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


def test_all_right_is_not_certainty() -> None:
    assert share([True] * 10).high == pytest.approx(1.0)
    assert 0.6 < share([True] * 10).low < 0.8
    assert share([False] * 10).low == pytest.approx(0.0)


def test_the_interval_of_a_mean_is_about_two_standard_errors() -> None:
    values = np.random.default_rng(3).normal(5, 2, 400).tolist()
    found = mean(values)
    assert found.value == pytest.approx(np.mean(values))
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(values) / 20, rel=0.1)
    assert found == mean(values)


def test_nothing_has_no_interval() -> None:
    with pytest.raises(ParamError, match="no clips"):
        share([])
    with pytest.raises(ParamError, match="1 are not finite"):
        mean([1.0, float("nan")])
