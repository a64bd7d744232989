"""Stopping criteria: time, strings, and criteria of the caller's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from antiphon.errors import ParamError, ParamTypeError
from antiphon.generation.stopping import (
    LogitsProcessor,
    LogitsProcessorList,
    MaxTime,
    StoppingCriteria,
    StoppingCriteriaList,
    StoppingCriterion,
    StopStrings,
)

IDS = torch.tensor([[1, 2, 3], [4, 5, 6]])


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_time_runs_from_the_making_of_the_criterion() -> None:
    clock = Clock()
    limit = MaxTime(2.0, clock=clock)
    assert limit(IDS, None) is False
    clock.now_s = 102.0
    assert limit(IDS, None) is False
    clock.now_s = 102.5
    assert limit(IDS, None) is True


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf"), "3", True, None])
def test_a_time_that_is_no_finite_length_is_refused(seconds: Any) -> None:
    with pytest.raises(ParamError, match="max_time"):
        MaxTime(seconds)


def spell(ids: list[int]) -> str:
    return "".join(chr(96 + one) for one in ids)


def test_a_stop_string_ends_the_row_that_holds_it() -> None:
    assert StopStrings("bc", spell)(IDS, None).tolist() == [True, False]
    assert StopStrings(["zz", "f"], spell)(IDS, None).tolist() == [False, True]
    assert StopStrings("cd", spell)(IDS, None).tolist() == [False, False]


def test_a_stop_string_in_the_prompt_ends_nothing() -> None:
    assert StopStrings("ab", spell, prompt_columns=2)(IDS, None).tolist() == [False, False]
    assert StopStrings("ab", spell, prompt_columns=3)(IDS, None).tolist() == [False, False]


def test_a_stop_string_may_end_inside_a_longer_token() -> None:
    pieces = {1: "the ", 2: "sto", 3: "pping"}
    stop = StopStrings("stop", lambda ids: "".join(pieces[one] for one in ids))
    assert stop(torch.tensor([[1, 2]]), None).tolist() == [False]
    assert stop(torch.tensor([[1, 2, 3]]), None).tolist() == [True]


def test_only_the_end_of_a_long_text_is_decoded() -> None:
    seen: list[int] = []

    def decode(ids: list[int]) -> str:
        seen.append(len(ids))
        return spell(ids)

    StopStrings("stop", decode)(torch.ones(1, 5000, dtype=torch.long), None)
    assert max(seen) < 50


class AfterThree(StoppingCriteria):
    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> bool:
        return input_ids.shape[-1] >= 3


class SecondRow(StoppingCriteria):
    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return input_ids[:, 0] == 4


def test_a_list_joins_criteria_that_answer_with_bools_or_tensors() -> None:
    assert StoppingCriteriaList([])(IDS).tolist() == [False, False]
    assert StoppingCriteriaList([SecondRow()])(IDS).tolist() == [False, True]
    assert StoppingCriteriaList([SecondRow(), AfterThree()])(IDS, None).tolist() == [True, True]
    assert StoppingCriteriaList([lambda ids, scores: torch.tensor([[True], [False]])])(IDS).tolist() == [True, False]
    assert StoppingCriteriaList([lambda ids, scores: torch.tensor(True)])(IDS).tolist() == [True, True]


@pytest.mark.parametrize("given", [None, 1, "no", torch.tensor([1.0, 0.0]), torch.tensor([True, False, True])])
def test_a_criterion_that_answers_with_something_else_is_named(given: Any) -> None:
    class Odd(StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> Any:
            return given

    with pytest.raises(ParamTypeError, match="Odd"):
        StoppingCriteriaList([Odd()])(IDS)


def test_criteria_of_the_reference_work_in_our_list() -> None:
    from transformers import MaxLengthCriteria

    assert StoppingCriteriaList([MaxLengthCriteria(3)])(IDS).tolist() == [True, True]
    assert isinstance(MaxLengthCriteria(3), StoppingCriterion)


class Add(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores + 1


class AddGiven(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, by: float) -> torch.Tensor:  # type: ignore[override]
        return scores * by


def test_a_list_of_processors_applies_them_in_turn_and_hands_on_what_they_name() -> None:
    scores = torch.zeros(2, 3)
    assert torch.equal(LogitsProcessorList([Add(), Add()])(IDS, scores), scores + 2)
    assert torch.equal(LogitsProcessorList([Add(), AddGiven()])(IDS, scores, by=3.0, other=1), scores + 3)
    with pytest.raises(ParamTypeError, match="AddGiven"):
        LogitsProcessorList([AddGiven()])(IDS, scores)


def test_the_base_classes_say_what_is_missing() -> None:
    for base in (LogitsProcessor(), StoppingCriteria()):
        with pytest.raises(NotImplementedError, match="__call__"):
            base(IDS, torch.zeros(2, 3))
