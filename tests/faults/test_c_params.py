"""Faults of settings: numbers out of range, NaN, wrong types, unknown and contradicting names."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from antiphon.errors import ParamError, ParamTypeError
from antiphon.generation import philox, sampling
from antiphon.generation.config import GenerationConfig, refuse_unknown, resolve, resolve_length
from antiphon.generation.guidance import ClassifierFreeGuidance
from antiphon.generation.stopping import StopStrings

NAN, INF = float("nan"), float("inf")
HUGE = pytest.param(10**5000, id="5001_digits")


def refused(name: str, value: Any) -> None:
    """Refused in the constructor, by assignment, by an update and in a call, each time naming the field."""
    for attempt in (
        lambda: GenerationConfig(**{name: value}),
        lambda: setattr(GenerationConfig(), name, value),
        lambda: GenerationConfig().update(**{name: value}),
        lambda: resolve(None, GenerationConfig(), {name: value}),
    ):
        with pytest.raises(ParamError, match=name) as caught:
            attempt()
        assert isinstance(caught.value, ValueError) and "Expected" in str(caught.value)


@pytest.mark.parametrize("value", [0, -5, 2**63, 2**31, NAN, INF, 1.5, "8", True, [3], HUGE])
@pytest.mark.parametrize("name", ["max_new_tokens", "max_length"])
def test_F056_lengths_that_are_no_positive_int_are_refused(name: str, value: Any) -> None:
    refused(name, value)


@pytest.mark.parametrize("value", [0, -1.0, NAN, INF, "8", True])
def test_F056_a_time_limit_that_is_no_finite_time_is_refused(value: Any) -> None:
    refused("max_time", value)


@pytest.mark.parametrize("value", [-1, 1.0, NAN, True, 2**40, HUGE])
@pytest.mark.parametrize("name", ["min_length", "min_new_tokens", "no_repeat_ngram_size"])
def test_F056_counts_that_are_no_ints_are_refused(name: str, value: Any) -> None:
    refused(name, value)


def test_F056_a_prompt_as_long_as_the_limit_is_refused_and_one_less_is_not() -> None:
    config = GenerationConfig(max_length=8)
    assert resolve_length(config, 7, max_length_is_default=False) == 8
    for prompt in (8, 9):
        with pytest.raises(ParamError):
            resolve_length(config, prompt, max_length_is_default=False)


@pytest.mark.parametrize("value", [-1, -1e-9, NAN, INF, -INF, "1", True, HUGE, [1.0]])
def test_F057_temperatures_that_are_no_finite_number_are_refused(value: Any) -> None:
    refused("temperature", value)


def test_F057_temperature_zero_is_greedy() -> None:
    config, _ = resolve(None, GenerationConfig(), {"do_sample": True, "temperature": 0})
    assert not sampling.is_sampling(config)
    assert sampling.build_processors(config, prompt_columns=1, vocabulary=9) == []


@pytest.mark.parametrize("temperature", [1e-6, 1e6])
def test_F057_extreme_temperatures_work(temperature: float) -> None:
    config, _ = resolve(None, GenerationConfig(), {"do_sample": True, "temperature": temperature})
    scores = torch.tensor([[300.0, -300.0, 299.0, -torch.inf]])
    for processor in sampling.build_processors(config, prompt_columns=1, vocabulary=4):
        scores = processor(torch.zeros(1, 1, dtype=torch.long), scores)
    assert not bool(scores.isnan().any())
    drawn = sampling.select(scores.expand(500, 4), philox.ItemNoise([1]).gumbel(0, 500, 4)[0])
    assert set(drawn.tolist()) == ({0} if temperature < 1 else {0, 1, 2})


@pytest.mark.parametrize("value", [-1, 2.5, NAN, INF, "5", True, 2**64])
def test_F058_top_k_that_is_no_count_is_refused(value: Any) -> None:
    refused("top_k", value)


@pytest.mark.parametrize("value", [-0.1, 1.1, NAN, INF, "0.5", True])
@pytest.mark.parametrize("name", ["top_p", "min_p", "typical_p"])
def test_F058_shares_outside_zero_to_one_are_refused(name: str, value: Any) -> None:
    refused(name, value)


def test_F058_zero_switches_top_k_and_top_p_off() -> None:
    config, _ = resolve(None, GenerationConfig(), {"do_sample": True, "top_k": 0, "top_p": 0})
    assert sampling.build_processors(config, prompt_columns=1, vocabulary=9) == []
    refused("typical_p", 0)


@pytest.mark.parametrize("top_k", [9, 10, 2**63 - 1])
def test_F058_more_than_the_vocabulary_keeps_all_of_it(top_k: int) -> None:
    scores = torch.randn(2, 9)
    assert torch.equal(sampling.TopK(top_k)(torch.zeros(2, 1, dtype=torch.long), scores), scores)


def test_F058_top_k_and_a_tiny_top_p_together_keep_one_token() -> None:
    config, _ = resolve(None, GenerationConfig(), {"do_sample": True, "top_k": 5, "top_p": 1e-12})
    scores = torch.randn(3, 9)
    best = scores.argmax(-1)
    for processor in sampling.build_processors(config, prompt_columns=1, vocabulary=9):
        scores = processor(torch.zeros(3, 1, dtype=torch.long), scores)
    assert scores.isfinite().sum(-1).tolist() == [1, 1, 1] and torch.equal(scores.argmax(-1), best)


@pytest.mark.parametrize("value", [NAN, INF, -INF, "3", True, HUGE])
def test_F059_guidance_scales_that_are_not_finite_are_refused(value: Any) -> None:
    refused("guidance_scale", value)
    with pytest.raises(ParamError, match="guidance_scale"):
        ClassifierFreeGuidance(value)


@pytest.mark.parametrize("scale", [None, 1, 0, -3.0])
def test_F059_scales_up_to_one_take_a_single_pass(scale: float | None) -> None:
    assert ClassifierFreeGuidance.for_scale(GenerationConfig(guidance_scale=scale).guidance_scale) is None


def test_F059_a_huge_scale_stays_finite() -> None:
    logits = torch.tensor([[3.0, -3.0], [-3.0, 3.0]])
    assert bool(ClassifierFreeGuidance(1e9)(logits).isfinite().all())


@pytest.mark.parametrize("value", [-1, 2**63, 2**64, HUGE, "42", 1.5, NAN, True, [1, -1], [1, 2.0], [True]])
def test_F060_seeds_that_are_no_ints_in_range_are_refused(value: Any) -> None:
    refused("seed", value)
    with pytest.raises(ParamError, match="seed"):
        philox.item_seeds(value, len(value) if isinstance(value, list) else 1)


def test_F060_seeds_in_range_and_none_are_taken() -> None:
    for seed in (0, 2**63 - 1, [5, 6], None):
        assert GenerationConfig(seed=seed).seed == seed
    assert len(philox.item_seeds(None, 4)) == 4


def test_F061_a_misspelt_keyword_gets_the_nearest_name() -> None:
    _, leftover = resolve(None, GenerationConfig(), {"guidence_scale": 3})
    with pytest.raises(ParamTypeError, match="guidance_scale") as caught:
        refuse_unknown(leftover, ["input_ids", "attention_mask"])
    assert isinstance(caught.value, TypeError)


def test_F061_settings_that_are_kept_but_not_followed_are_refused_in_a_call() -> None:
    for name, value in {"penalty_alpha": 0.6, "num_beam_groups": 2, "renormalize_logits": True}.items():
        with pytest.raises(ParamError, match=name):
            resolve(None, GenerationConfig(), {name: value})


def test_F061_contradicting_pairs_are_refused() -> None:
    with pytest.raises(ParamError, match="num_return_sequences=3 with do_sample"):
        resolve(None, GenerationConfig(), {"num_return_sequences": 3})
    with pytest.raises(ParamError, match="min_new_tokens=9"):
        resolve(None, GenerationConfig(), {"min_new_tokens": 9, "max_new_tokens": 8})
    with pytest.raises(ParamError, match="num_beams=2"):
        resolve(None, GenerationConfig(), {"num_return_sequences": 3, "num_beams": 2})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("repetition_penalty", bad) for bad in (0, -1.0, NAN, INF, "1", True)],
        *[("num_return_sequences", bad) for bad in (0, -1, 1.0, True, "2")],
        *[("num_beams", bad) for bad in (0, -1, 1.0, True)],
        *[("bad_words_ids", bad) for bad in ([], [[]], [1], [[1], []], [[-1]], [[1.0]], [[True]], "ab", {1: 2})],
        *[("suppress_tokens", bad) for bad in (3, [1.0], ["a"], [True])],
        *[("eos_token_id", bad) for bad in (1.0, "2", True, [], [1.5], [None])],
        *[("pad_token_id", bad) for bad in (1.0, "2", True, [1])],
        *[("do_sample", bad) for bad in (1, 0, "yes", NAN)],
        *[("use_cache", bad) for bad in (1, "no")],
    ],
)
def test_F061_other_settings_of_the_wrong_kind_are_refused(name: str, value: Any) -> None:
    refused(name, value)


@pytest.mark.parametrize("value", ["", [], [""], ["a", ""], 3, ["x" * 100_000] * 1000, ["x"] * 1025, [b"x"]])
def test_F063_stop_strings_that_are_empty_or_far_too_many_are_refused(value: Any) -> None:
    refused("stop_strings", value)
    with pytest.raises(ParamError, match="stop_strings"):
        StopStrings(value, lambda ids: "")


def test_F063_long_stop_strings_within_the_bounds_work() -> None:
    stop = StopStrings(["y" * 100_000, "end"], lambda ids: "the end")
    assert stop(torch.ones(1, 4, dtype=torch.long), None).tolist() == [True]


def test_F063_an_end_token_may_come_first_or_be_kept_away() -> None:
    ids, scores = torch.zeros(1, 3, dtype=torch.long), torch.tensor([[0.0, 9.0]])
    assert sampling.select(scores).tolist() == [1]
    config = GenerationConfig(min_new_tokens=1, eos_token_id=1)
    for processor in sampling.build_processors(config, prompt_columns=3, vocabulary=2):
        scores = processor(ids, scores)
    assert sampling.select(scores).tolist() == [0]
