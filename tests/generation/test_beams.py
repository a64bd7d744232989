"""Beam search driven by a step model that is a table: what is found, what ends it, what it draws."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.errors import NumericError, ParamError
from antiphon.generation.beams import Beams, BeamSearch
from antiphon.generation.delays import UNDECIDED, DelayPattern
from antiphon.generation.engine import Generation, Plan, StepOutput
from antiphon.generation.philox import ItemNoise
from antiphon.generation.stopping import StoppingCriteriaList

V, START = 4, 3
END = 0


class Table:
    """A step model: the logits behind a token of a column are a row of a table; it remembers what its rows were."""

    def __init__(self, seed: int = 0) -> None:
        self.logits = torch.randn(9, V, V, generator=torch.Generator().manual_seed(seed)) * 2
        self.seen: Tensor | None = None

    def __call__(self, columns: Tensor, first: int) -> StepOutput:
        self.seen = columns[:, 0] if self.seen is None or first == 0 else torch.cat([self.seen, columns[:, 0]], dim=1)
        return StepOutput(self.logits[self.seen.shape[1], self.seen[:, -1]])

    def reorder(self, rows: Tensor) -> None:
        assert self.seen is not None
        self.seen = self.seen[rows]

    def score(self, text: tuple[int, ...]) -> float:
        tokens = (START, *text)
        steps = (
            self.logits[column, before].log_softmax(dim=-1)[token]
            for column, (before, token) in enumerate(itertools.pairwise(tokens), start=1)
        )
        return float(sum(steps))


def plan_of(beams: Beams, *, items: int = 1, new: int = 3, **options: Any) -> Plan:
    columns = torch.full((items * beams.count, 1, 1 + new), UNDECIDED)
    columns[..., 0] = START
    return Plan(pattern=DelayPattern((0,)), columns=columns, start=1, heads=1, beams=beams, **options)


def texts(new: int, *, end: bool) -> list[tuple[int, ...]]:
    """All texts of up to ``new`` tokens; with ``end`` those that hold it stop there."""
    every = itertools.chain.from_iterable(itertools.product(range(V), repeat=n) for n in range(1, new + 1))
    whole = [text for text in every if len(text) == new or (end and text[-1] == END)]
    return [text for text in whole if not (end and END in text[:-1])]


@pytest.mark.parametrize("penalty", [0.0, 1.0, -1.5])
@pytest.mark.parametrize("use_cache", [True, False])
def test_beams_for_all_beginnings_find_the_best_texts_of_all(penalty: float, use_cache: bool) -> None:
    model = Table(1)
    beams = Beams(64, 3, (END,), length_penalty=penalty, early_stopping="never")
    generation = Generation(model, plan_of(beams, eos=(END,), use_cache=use_cache)).run()
    ranked = sorted(texts(3, end=True), key=lambda text: model.score(text) / len(text) ** penalty, reverse=True)
    assert generation.search is not None
    columns, scores, parents = generation.search.best()
    assert torch.equal(columns, generation.columns)
    for row, text in enumerate(ranked[:3]):
        assert columns[row, 0, 1 : 1 + len(text)].tolist() == list(text)
        assert float(scores[row]) == pytest.approx(model.score(text) / len(text) ** penalty, abs=1e-5)
        assert int((parents[row] >= 0).sum()) == len(text)


def test_two_beams_find_what_a_greedy_walk_passes_by() -> None:
    model = Table()
    model.logits[:] = 0
    model.logits[1, START] = torch.tensor([0.6, 0.4, 1e-9, 1e-9]).log()
    model.logits[2, 1] = torch.tensor([1e-9, 1e-9, 1.0, 1e-9]).log()
    found = [
        Generation(model, plan_of(Beams(count, 1, (0,)), new=2)).run().columns[0, 0].tolist()
        for count in (1, 2)
        if [setattr(model, "seen", None)]
    ]
    assert found[0][:2] == [START, 0]
    assert found[1] == [START, 1, 2]


def test_items_of_a_batch_do_not_mix() -> None:
    model = Table(2)
    one = Generation(model, plan_of(Beams(3, 2, (END,)), eos=(END,), new=5)).run()
    model.seen = None
    three = Generation(model, plan_of(Beams(3, 2, (END,)), eos=(END,), new=5, items=3)).run()
    assert torch.equal(three.columns, one.columns.repeat(3, 1, 1))


def test_a_text_that_ends_early_is_filled_up() -> None:
    model = Table()
    model.logits[:] = 0
    model.logits[1, START] = torch.tensor([4.8, 5.0, -9.0, -9.0])
    model.logits[2:, 1:, END] = -20
    beams = Beams(2, 2, (2,), early_stopping="never")
    generation = Generation(model, plan_of(beams, eos=(END,), new=4)).run()
    row = generation.columns[:, 0].tolist()
    ended = next(text for text in row if text[1] == END)
    assert ended == [START, END, 2, 2, 2]


def test_a_full_item_is_done_when_that_is_asked_for() -> None:
    model = Table()
    model.logits[:] = 0
    model.logits[:, :, END] = 4
    hurried = Generation(model, plan_of(Beams(2, 2, (2,), early_stopping=True), eos=(END,), new=7)).run()
    assert hurried.stopped
    assert hurried.length < 5
    model.seen = None
    patient = plan_of(Beams(2, 2, (2,), length_penalty=9.0, early_stopping="never"), eos=(END,), new=7)
    assert Generation(model, patient).run().length == 8


def test_a_callers_criterion_ends_texts() -> None:
    stop = StoppingCriteriaList([lambda ids, scores: ids[:, -1] == 1])
    generation = Generation(Table(3), plan_of(Beams(2, 2, (2,)), new=6, criteria=stop)).run()
    for text in generation.columns[:, 0].tolist():
        assert len(text) == 7 or text.index(1) == len(text) - 1 or set(text[text.index(1) + 1 :]) == {2}


def test_draws_are_without_replacement_and_belong_to_the_item() -> None:
    model, items = Table(4), 4000
    plan = plan_of(Beams(2, 2, (0,)), items=items, new=1, noise=ItemNoise(range(items)))
    pairs = Generation(model, plan).run().columns[:, 0, 1].view(items, 2).sort(dim=1).values
    chances = model.logits[1, START].softmax(dim=-1).double()
    surprise = 0.0
    for i, j in itertools.combinations(range(V), 2):
        p, q = float(chances[i]), float(chances[j])
        expected = items * p * q * (1 / (1 - p) + 1 / (1 - q))
        counted = int(((pairs[:, 0] == i) & (pairs[:, 1] == j)).sum())
        surprise += (counted - expected) ** 2 / expected
    assert bool((pairs[:, 0] < pairs[:, 1]).all())
    assert surprise < 20.5  # chi-square of 5 degrees of freedom, 1 in 1000
    model.seen = None
    alone = Generation(model, replace(plan, columns=plan.columns[:2], noise=ItemNoise([7]))).run()
    assert alone.columns[:, 0, 1].sort().values.tolist() == pairs[7].tolist()


def test_streams_without_logits_go_with_their_text() -> None:
    class Moments(Table):
        def __call__(self, columns: Tensor, first: int) -> StepOutput:
            output = super().__call__(columns, first)
            assert self.seen is not None
            # what the sampler is told: a sum over the text before
            return replace(output, moment=self.seen.float().sum(dim=1).view(-1, 1, 1))

    def sampler(tokens: Tensor, moment: Tensor, column: int) -> Tensor:
        return (10 * moment[:, 0].long() + tokens + 100 * column) % 1000

    beams = Beams(3, 3, (0, 999), early_stopping="never")
    plan = plan_of(beams, eos=(END,), new=4)
    plan = replace(plan, columns=plan.columns.repeat(1, 2, 1), pattern=DelayPattern((0, 0)), sampler=sampler)
    for text, told in Generation(Moments(5), plan).run().columns.tolist():
        length = text.index(END) + 1 if END in text else len(text)
        for column in range(1, len(text)):
            expected = (10 * sum(text[:column]) + text[column] + 100 * column) % 1000 if column < length else 999
            assert told[column] == expected


def test_scores_that_are_no_numbers_are_named() -> None:
    model = Table()
    model.logits[2] = math.nan
    with pytest.raises(NumericError, match="row 0"):
        Generation(model, plan_of(Beams(2, 1, (0,)))).run()
    with pytest.raises(ParamError, match="3 rows for 2 beams"):
        BeamSearch(Beams(2, 1, (0,)), torch.full((3, 1, 4), -1), start=1)
