"""The learning rate over a run."""

from __future__ import annotations

import math

import pytest

from antiphon.errors import ConfigError
from antiphon.training.schedule import learning_rate_factor


def factors(**given: float) -> list[float]:
    numbers = {"steps": 10, "warmup_steps": 4, "final_share": 0.1, **given}
    return [learning_rate_factor(step, **numbers) for step in range(11)]


def test_it_rises_straight_and_falls_by_half_a_cosine() -> None:
    found = factors()
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert found[7] == pytest.approx(0.55)
    assert found[10] == pytest.approx(0.1)
    assert found[4:] == sorted(found[4:], reverse=True)


def test_without_warm_up_it_begins_at_the_peak() -> None:
    assert factors(warmup_steps=0)[0] == 1.0


@pytest.mark.parametrize(
    "given", [{"warmup_steps": 11}, {"warmup_steps": -1}, {"final_share": 1.1}, {"final_share": math.nan}]
)
def test_what_makes_no_schedule_is_refused(given: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        factors(**given)
