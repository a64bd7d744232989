"""How sure a figure is: 95 % intervals of shares and of means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from antiphon.errors import ParamError

_SIGMAS = 1.959963984540054  # of a normal distribution: 95 % lie within
_DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, where one is known, and how many clips it stands on."""

    value: float
    low: float | None
    high: float | None
    clips: int


def share(right: Sequence[bool]) -> Estimate:
    """The share of the clips that are right, with Wilson's interval, which holds for few clips and near 0 and 1 too.

    Raises:
        ParamError: no clips.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference" (1927).
    """
    n = _counted(right)
    p = sum(map(bool, right)) / n
    square = _SIGMAS**2 / n
    middle = (p + square / 2) / (1 + square)
    half = math.sqrt(square * (p * (1 - p) + square / 4)) / (1 + square)
    return Estimate(p, max(0.0, middle - half), min(1.0, middle + half), n)


def mean(values: Sequence[float]) -> Estimate:
    """The mean, and the middle 95 % of the means of clips drawn anew with replacement; the same for the same values.

    Raises:
        ParamError: no clips, or values that are not finite.
    """
    n = _counted(values)
    given = np.asarray(values, np.float64)
    if not np.isfinite(given).all():
        raise ParamError(f"values of which {int((~np.isfinite(given)).sum())} are not finite", expected="numbers")
    drawn = np.random.default_rng(0).integers(n, size=(_DRAWS, n))
    low, high = np.quantile(given[drawn].mean(axis=1), (0.025, 0.975))
    return Estimate(float(given.mean()), float(low), float(high), n)


def _counted(values: Sequence[object]) -> int:
    if not len(values):
        raise ParamError("no clips", expected="at least one")
    return len(values)
