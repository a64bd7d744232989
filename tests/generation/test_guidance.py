"""Classifier-free guidance against the reference and its own limits."""

from __future__ import annotations

import pytest
import torch
from transformers.generation.logits_process import ClassifierFreeGuidanceLogitsProcessor

from antiphon.errors import ParamError
from antiphon.generation.guidance import ClassifierFreeGuidance


def test_guided_logits_equal_the_references_bit_for_bit() -> None:
    logits = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    theirs = ClassifierFreeGuidanceLogitsProcessor(3.0)(torch.zeros(4, 1, dtype=torch.long), logits)
    assert torch.equal(ClassifierFreeGuidance(3.0)(logits), theirs)


def test_the_conditional_rows_come_first() -> None:
    logits = torch.tensor([[1.0], [10.0]])
    assert ClassifierFreeGuidance(3.0)(logits).item() == 10 + 3 * (1 - 10)


@pytest.mark.parametrize(("scale", "expected"), [(1, 1.0), (0, 10.0), (-1, 19.0)])
def test_one_keeps_the_condition_zero_drops_it_and_less_turns_away(scale: float, expected: float) -> None:
    assert ClassifierFreeGuidance(scale)(torch.tensor([[1.0], [10.0]])).item() == expected


def test_only_scales_above_one_ask_for_a_second_pass() -> None:
    assert ClassifierFreeGuidance.for_scale(3) == ClassifierFreeGuidance(3)
    for scale in (None, 1, 1.0, 0.5, 0, -2.0):
        assert ClassifierFreeGuidance.for_scale(scale) is None


def test_further_axes_pass_through() -> None:
    assert ClassifierFreeGuidance(2.0)(torch.randn(6, 4, 1, 9)).shape == (3, 4, 1, 9)


def test_an_odd_number_of_rows_is_refused() -> None:
    with pytest.raises(ParamError, match="3 rows"):
        ClassifierFreeGuidance(2.0)(torch.zeros(3, 5))
