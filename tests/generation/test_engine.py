"""The loop over time, driven by a step model that is a script: what it is fed, what is heard, when it ends."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.errors import NumericError
from antiphon.generation.delays import DelayPattern
from antiphon.generation.engine import Generation, Plan, StepOutput
from antiphon.generation.guidance import ClassifierFreeGuidance
from antiphon.generation.philox import ItemNoise
from antiphon.generation.stopping import StoppingCriteriaList

PAD = 9
VOCABULARY = 10


class Script:
    """A step model: the token after column ``c`` of stream ``k`` of item ``b`` is ``choose(b, k, c)``."""

    def __init__(self, choose: Callable[[int, int, int], int], passes: int = 1) -> None:
        self.choose = choose
        self.passes = passes
        self.calls: list[tuple[list[list[list[int]]], int]] = []

    def __call__(self, columns: Tensor, first: int) -> StepOutput:
        self.calls.append((columns.tolist(), first))
        items, streams, count = columns.shape
        column = first + count
        logits = torch.zeros(items, streams, VOCABULARY)
        for b in range(items):
            for k in range(streams):
                logits[b, k, self.choose(b, k, column)] = 5.0
        return StepOutput(logits.flatten(0, 1).repeat(self.passes, 1), hidden_states=("h", column))


def cycle(item: int, stream: int, column: int) -> int:
    return (item + 2 * stream + column) % 8


def plan_of(
    delays: tuple[int, ...] = (0, 1), *, length: int = 7, items: int = 1, prompt: Tensor | None = None, **options: Any
) -> Plan:
    pattern = DelayPattern(delays)
    start = torch.full((items, len(delays), 1), PAD) if prompt is None else prompt
    return Plan(pattern=pattern, columns=pattern.build(start, length, PAD), start=start.shape[-1], **options)


class Listener:
    def __init__(self, fail_at: int | None = None) -> None:
        self.heard: list[list[Any]] = []
        self.ended = 0
        self.fail_at = fail_at

    def put(self, value: Tensor) -> None:
        if self.fail_at == len(self.heard):
            raise RuntimeError("the listener fell")
        self.heard.append(value.tolist())

    def end(self) -> None:
        self.ended += 1


def test_new_columns_are_fed_one_by_one_with_a_cache() -> None:
    model = Script(cycle)
    generation = Generation(model, plan_of()).run()
    assert [first for _, first in model.calls] == [0, 1, 2, 3, 4, 5]
    assert all(len(columns[0][0]) == 1 for columns, _ in model.calls)
    fed = torch.tensor([columns[0] for columns, _ in model.calls])[..., 0].t()
    assert torch.equal(fed, generation.columns[0, :, :6])


def test_without_a_cache_every_step_sees_the_whole_beginning() -> None:
    cached, plain = Script(cycle), Script(cycle)
    one = Generation(cached, plan_of()).run()
    other = Generation(plain, plan_of(use_cache=False)).run()
    assert [first for _, first in plain.calls] == [0] * 6
    assert [len(columns[0][0]) for columns, _ in plain.calls] == [1, 2, 3, 4, 5, 6]
    assert plain.calls[-1][0][0] == other.columns[0, :, :6].tolist()
    assert torch.equal(one.columns, other.columns)


def test_a_prompt_is_fed_at_once() -> None:
    prompt = torch.tensor([[[PAD, 1, 2], [PAD, 3, 4]]])
    model = Script(cycle)
    generation = Generation(model, plan_of(prompt=prompt)).run()
    assert model.calls[0] == ([[[PAD, 1, 2], [PAD, PAD, 3]]], 0)
    assert [first for _, first in model.calls] == [0, 3, 4, 5]
    assert generation.codes()[0, :, :2].tolist() == [[1, 2], [3, 4]]


def test_what_the_pattern_forces_is_fed_and_what_the_model_chose_is_told() -> None:
    model, listener = Script(lambda b, k, c: 7), Listener()
    generation = Generation(model, plan_of(streamer=listener)).run()
    assert generation.columns[0].tolist() == [[9, 7, 7, 7, 7, 7, 9], [9, 9, 7, 7, 7, 7, 7]]
    assert generation.sampled[0].tolist() == [[9, 7, 7, 7, 7, 7, 7], [9, 7, 7, 7, 7, 7, 7]]
    assert generation.codes()[0].tolist() == [[7] * 5, [7] * 5]
    assert listener.heard == [[[9], [9]], *[[7, 7]] * 6]


def test_the_yielded_columns_are_the_columns() -> None:
    generation = Generation(Script(cycle), plan_of(items=2))
    columns = [column.clone() for column in generation.steps()]
    assert torch.equal(torch.stack(columns, dim=-1), generation.columns[..., 1:])


def test_items_are_told_apart() -> None:
    together = Generation(Script(cycle), plan_of(items=3)).run().codes()
    alone = Generation(Script(lambda b, k, c: cycle(2, k, c)), plan_of()).run().codes()
    assert torch.equal(together[2:], alone)


def test_processors_run_in_order_after_guidance_on_what_was_sampled() -> None:
    calls: list[str] = []

    def first(ids: Tensor, scores: Tensor) -> Tensor:
        calls.append("first")
        assert ids.shape == (2, 1 + len(calls) // 2)
        assert scores.shape == (2, VOCABULARY)
        return scores + 1

    def second(ids: Tensor, scores: Tensor) -> Tensor:
        calls.append("second")
        assert float(scores.min()) == 1.0
        return scores.masked_fill(torch.arange(VOCABULARY) != 4, -math.inf)

    plan = plan_of(length=4, processors=[first, second], guidance=ClassifierFreeGuidance(3.0))
    generation = Generation(Script(cycle, passes=2), plan).run()
    assert calls == ["first", "second"] * 3
    assert set(generation.sampled[0, :, 1:].flatten().tolist()) == {4}


def test_guidance_weighs_the_two_passes() -> None:
    class Two(Script):
        def __call__(self, columns: Tensor, first: int) -> StepOutput:
            logits = torch.zeros(4, VOCABULARY)
            logits[:2, 3], logits[2:, 3] = 2.0, 2.5  # the condition speaks against token 3
            logits[:, 5] = 1.9
            return StepOutput(logits)

    guided = Generation(Two(cycle), plan_of(guidance=ClassifierFreeGuidance(3.0), keep_scores=True)).run()
    assert guided.sampled[0, 0, 1] == 5
    torch.testing.assert_close(guided.scores[0][0, 3], torch.tensor(2.5 + 3.0 * (2.0 - 2.5)))


def test_kept_things_have_one_entry_a_step() -> None:
    plan = plan_of(keep_scores=True, keep_logits=True, keep_states=True, guidance=ClassifierFreeGuidance(2.0))
    generation = Generation(Script(cycle, passes=2), plan).run()
    assert [s.shape for s in generation.scores] == [(2, VOCABULARY)] * 6
    assert [s.shape for s in generation.logits] == [(4, VOCABULARY)] * 6
    assert [s.hidden_states for s in generation.states] == [("h", c) for c in range(1, 7)]
    assert not any(s.logits.numel() for s in generation.states)
    nothing = Generation(Script(cycle), plan_of()).run()
    assert (nothing.scores, nothing.logits, nothing.states) == ([], [], [])


def test_noise_belongs_to_the_item_and_the_step() -> None:
    def run(seeds: list[int], **options: Any) -> Tensor:
        return (
            Generation(
                Script(lambda b, k, c: 0), plan_of(items=len(seeds), length=40, noise=ItemNoise(seeds), **options)
            )
            .run()
            .codes()
        )

    both = run([5, 11])
    assert torch.equal(both[:1], run([5]))
    assert torch.equal(both[1:], run([11]))
    assert not torch.equal(both[0], both[1])
    assert len(both.unique()) > 3


def test_an_item_that_begins_late_draws_what_it_draws_alone() -> None:
    alone = Generation(Script(lambda b, k, c: 0), plan_of(length=20, noise=ItemNoise([5]))).run()
    prompt = torch.full((1, 2, 4), PAD)
    late_plan = plan_of(length=23, prompt=prompt, noise=ItemNoise([5]), offsets=[3])
    late = Generation(Script(lambda b, k, c: 0), late_plan).run()
    assert torch.equal(late.sampled[..., 4:], alone.sampled[..., 1:])


# ending


def test_a_criterion_sees_the_sampled_ids_and_ends_the_run() -> None:
    seen = []

    def criterion(ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        seen.append((tuple(ids.shape), tuple(scores.shape)))
        return torch.tensor([ids.shape[-1] >= 4, ids.shape[-1] >= 3])

    generation = Generation(Script(cycle), plan_of(length=9, criteria=StoppingCriteriaList([criterion]))).run()
    assert seen == [((2, 2), (2, 10)), ((2, 3), (2, 10)), ((2, 4), (2, 10))]
    assert generation.length == 4
    assert generation.codes().shape == (1, 2, 2)


def test_the_run_goes_on_until_every_row_is_done() -> None:
    def criterion(ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        # one row each step; a row that was done once stays done
        return torch.arange(4) == ids.shape[-1] - 2

    plan = plan_of(length=9, items=2, criteria=StoppingCriteriaList([criterion]))
    assert Generation(Script(cycle), plan).run().length == 5


def test_an_end_token_in_any_stream_ends_the_frame_and_all_after_it() -> None:
    model = Script(lambda b, k, c: 8 if (b, k, c) == (0, 1, 4) else 1)
    generation = Generation(model, plan_of(length=12, items=2, eos=(8,))).run()
    # stream 1 lags one column behind: column 4 holds its frame 3
    assert generation.frame_counts() == [2, 10]
    assert generation.length == 12


def test_the_run_ends_with_the_last_items_end() -> None:
    model = Script(lambda b, k, c: 8 if c >= 3 + 2 * b else 1)
    generation = Generation(model, plan_of((0,), length=20, items=2, eos=(7, 8))).run()
    assert generation.length == 6
    assert generation.frame_counts() == [2, 4]


def test_without_end_tokens_every_frame_counts() -> None:
    assert Generation(Script(cycle), plan_of(length=8)).run().frame_counts() == [6]


def test_an_end_before_the_first_frame_is_whole_gives_none() -> None:
    stop = StoppingCriteriaList([lambda ids, scores, **kwargs: True])
    generation = Generation(Script(cycle), plan_of((0, 3), length=12, criteria=stop, eos=(8,))).run()
    assert generation.codes().shape == (1, 2, 0)
    assert generation.frame_counts() == [0]


def test_a_full_plan_asks_the_model_nothing() -> None:
    model, listener = Script(cycle), Listener()
    prompt = torch.full((1, 2, 4), PAD)
    Generation(model, plan_of(length=4, prompt=prompt, streamer=listener)).run()
    assert model.calls == []
    assert listener.ended == 1


# faults


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_name_step_item_and_codebook(bad: float) -> None:
    class Poisoned(Script):
        def __call__(self, columns: Tensor, first: int) -> StepOutput:
            output = super().__call__(columns, first)
            if first == 2:
                output.logits[3, 4] = bad
            return output

    listener = Listener()
    with pytest.raises(NumericError, match=r"item 1, codebook 1.*at step 3"):
        Generation(Poisoned(cycle), plan_of(items=2, streamer=listener)).run()
    assert listener.ended == 1
    assert len(listener.heard) == 3  # the prompt and two good steps: nothing of the bad one


def test_a_row_without_any_token_left_is_told() -> None:
    plan = plan_of(processors=[lambda ids, scores: torch.full_like(scores, -math.inf)])
    with pytest.raises(NumericError, match="no token is left to choose"):
        Generation(Script(cycle), plan).run()


@pytest.mark.parametrize("fail_at", [0, 1, 3])
def test_a_listener_that_raises_ends_the_run_once(fail_at: int) -> None:
    listener, model = Listener(fail_at), Script(cycle)
    with pytest.raises(RuntimeError, match="the listener fell"):
        Generation(model, plan_of(streamer=listener)).run()
    assert listener.ended == 1
    assert len(model.calls) == fail_at


@pytest.mark.parametrize("place", ["model", "processor", "criterion"])
def test_an_error_anywhere_reaches_the_caller_and_the_listener_hears_the_end(place: str) -> None:
    def fall(*args: Any, **kwargs: Any) -> Any:
        raise KeyError(place)

    listener = Listener()
    plan = plan_of(
        streamer=listener,
        processors=[fall] if place == "processor" else [],
        criteria=StoppingCriteriaList([fall] if place == "criterion" else []),
    )
    with pytest.raises(KeyError, match=place):
        Generation(fall if place == "model" else Script(cycle), plan).run()
    assert listener.ended == 1


def test_closing_early_ends_the_listener_and_leaves_what_there_is() -> None:
    listener, model = Listener(), Script(cycle)
    generation = Generation(model, plan_of(length=30, streamer=listener))
    steps = generation.steps()
    for _ in range(4):
        next(steps)
    steps.close()
    assert listener.ended == 1
    assert len(model.calls) == 4
    assert generation.length == 5
    assert generation.codes().shape[-1] == 3
    assert list(steps) == []


def test_a_plan_is_not_changed_by_its_run_and_can_run_again(caplog: pytest.LogCaptureFixture) -> None:
    plan = plan_of(length=9)
    before = plan.columns.clone()
    with caplog.at_level(logging.WARNING):
        one, other = Generation(Script(cycle), plan).run(), Generation(Script(cycle), plan).run()
    assert torch.equal(plan.columns, before)
    assert torch.equal(one.columns, other.columns)
    assert not caplog.records


# streams without logits, and texts


class Teller:
    """A column sampler that remembers what it was told, and gives the column's number to all its streams."""

    def __init__(self, streams: int) -> None:
        self.streams = streams
        self.told: list[tuple[list[list[int]], float, int]] = []

    def __call__(self, tokens: Tensor, moment: Tensor, column: int) -> Tensor:
        self.told.append((tokens.tolist(), float(moment.sum()), column))
        return torch.full((len(tokens), self.streams), column)


class Telling(Script):
    """The script for the first stream alone, with a moment for the sampler."""

    def __call__(self, columns: Tensor, first: int) -> StepOutput:
        output = super().__call__(columns[:, :1], first)
        output.moment = torch.full((len(columns), 1, 1), float(first))
        return output


def test_streams_without_logits_are_decided_by_the_sampler_once_the_others_are() -> None:
    sampler = Teller(2)
    prompt = torch.tensor([[[7], [8], [8]]])
    columns = torch.nn.functional.pad(prompt, (0, 3), value=-1)
    columns[0, 2, 2] = 5  # forced
    plan = Plan(pattern=DelayPattern((0, 0, 0)), columns=columns, start=1, sampler=sampler, heads=1)
    generation = Generation(Telling(cycle), plan).run()
    assert generation.columns.tolist() == [[[7, 1, 2, 3], [8, 1, 2, 3], [8, 1, 5, 3]]]
    assert sampler.told == [([[1]], 0.0, 1), ([[2]], 1.0, 2), ([[3]], 2.0, 3)]


def test_callables_see_the_streams_that_have_logits() -> None:
    seen: list[tuple[int, ...]] = []
    columns = torch.nn.functional.pad(torch.tensor([[[7], [8]], [[7], [8]]]), (0, 2), value=-1)
    listener = Listener()
    plan = Plan(
        pattern=DelayPattern((0, 0)),
        columns=columns,
        start=1,
        sampler=Teller(1),
        heads=1,
        processors=[lambda ids, scores: (seen.append(tuple(ids.shape)), scores)[1]],
        criteria=StoppingCriteriaList([lambda ids, scores: torch.tensor([ids.shape[1] >= 2] * len(ids))]),
        streamer=listener,
        noise=ItemNoise([1, 2]),
    )
    generation = Generation(Telling(cycle), plan).run()
    assert seen == [(2, 1)]
    assert generation.length == 2
    assert generation.stopped
    assert [torch.tensor(heard).shape for heard in listener.heard] == [torch.Size([2, 1]), torch.Size([2])]


def test_a_text_that_ended_goes_on_with_a_token_of_its_own_until_all_have_ended() -> None:
    columns = torch.nn.functional.pad(torch.zeros(2, 1, 1, dtype=torch.long), (0, 7), value=-1)
    # item 0 says 1 2 3 .., item 1 says 2 3 4 ..
    plan = Plan(pattern=DelayPattern((0,)), columns=columns, start=1, eos=(3,), after_end=9)
    generation = Generation(Script(cycle), plan).run()
    assert generation.columns[:, 0, : generation.length].tolist() == [[0, 1, 2, 3], [0, 2, 3, 9]]
    assert generation.stopped
