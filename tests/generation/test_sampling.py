"""Every sampler against the reference's numbers, the order of the chain, and the draw itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as reference

from antiphon.errors import NumericError, ParamError
from antiphon.generation import sampling
from antiphon.generation.config import GenerationConfig, resolve
from antiphon.generation.philox import ItemNoise

NO_IDS = torch.zeros(4, 1, dtype=torch.long)


def some_scores(rows: int = 4, vocabulary: int = 60, seed: int = 0, ties: bool = False) -> torch.Tensor:
    scores = torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3
    return scores.round() if ties else scores


PAIRS: list[tuple[Any, Any]] = [
    (sampling.Temperature(0.7), reference.TemperatureLogitsWarper(0.7)),
    (sampling.Temperature(12.5), reference.TemperatureLogitsWarper(12.5)),
    (sampling.TopK(1), reference.TopKLogitsWarper(1)),
    (sampling.TopK(7), reference.TopKLogitsWarper(7)),
    (sampling.TopK(999), reference.TopKLogitsWarper(999)),
    (sampling.TopP(0.9), reference.TopPLogitsWarper(0.9)),
    (sampling.TopP(0.3), reference.TopPLogitsWarper(0.3)),
    (sampling.TopP(1e-9), reference.TopPLogitsWarper(1e-9)),
    (sampling.MinP(0.1), reference.MinPLogitsWarper(0.1)),
    (sampling.MinP(1.0), reference.MinPLogitsWarper(1.0)),
    (sampling.MinP(0.0), reference.MinPLogitsWarper(0.0)),
    (sampling.TypicalP(0.9), reference.TypicalLogitsWarper(0.9)),
    (sampling.TypicalP(0.2), reference.TypicalLogitsWarper(0.2)),
    (sampling.RepetitionPenalty(1.3), reference.RepetitionPenaltyLogitsProcessor(1.3)),
    (sampling.RepetitionPenalty(0.8), reference.RepetitionPenaltyLogitsProcessor(0.8)),
    (sampling.NoRepeatNGram(1), reference.NoRepeatNGramLogitsProcessor(1)),
    (sampling.NoRepeatNGram(2), reference.NoRepeatNGramLogitsProcessor(2)),
    (sampling.NoRepeatNGram(3), reference.NoRepeatNGramLogitsProcessor(3)),
    (sampling.SuppressTokens((3, 5, 900)), reference.SuppressTokensLogitsProcessor([3, 5, 900])),
    (sampling.MinNewTokens((2, 4), 30), reference.MinNewTokensLengthLogitsProcessor(10, 20, [2, 4])),
    (sampling.MinNewTokens((2,), 4), reference.MinLengthLogitsProcessor(4, 2)),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=[repr(pair[0]) for pair in PAIRS])
def test_a_sampler_gives_the_references_numbers(ours: Any, theirs: Any) -> None:
    for seed in range(6):
        ids = torch.randint(0, 9 if seed % 2 else 62, (4, 12), generator=torch.Generator().manual_seed(seed))
        scores = some_scores(seed=seed, ties=seed >= 3)
        before, kept_ids = scores.clone(), ids.clone()
        assert torch.equal(ours(ids, scores), theirs(ids, scores.clone()))
        assert torch.equal(scores, before) and torch.equal(ids, kept_ids)


@settings(max_examples=40, deadline=None)
@given(k=st.integers(1, 12), seed=st.integers(0, 99), top_p=st.floats(0.01, 0.99), masked=st.integers(0, 10))
def test_chained_samplers_on_banned_scores_give_the_references_numbers(
    k: int, seed: int, top_p: float, masked: int
) -> None:
    scores = some_scores(vocabulary=12, seed=seed, ties=bool(seed % 2))
    scores[:, :masked] = -torch.inf
    ours, theirs = scores, scores
    for one in (sampling.TopK(k), sampling.TopP(top_p), sampling.MinP(0.05), sampling.TypicalP(top_p)):
        ours = one(NO_IDS, ours)
    for other in (
        reference.TopKLogitsWarper(k),
        reference.TopPLogitsWarper(top_p),
        reference.MinPLogitsWarper(0.05),
        reference.TypicalLogitsWarper(top_p),
    ):
        theirs = other(NO_IDS, theirs)
    assert torch.equal(ours, theirs)


def test_ties_at_the_border_of_top_k_are_all_kept() -> None:
    kept = sampling.TopK(2)(NO_IDS[:1], torch.tensor([[3.0, 1.0, 1.0, 0.0, 1.0]]))
    assert kept.isfinite().tolist() == [[True, True, True, False, True]]


def test_the_repetition_penalty_ignores_ids_outside_the_vocabulary_and_padding() -> None:
    ids = torch.tensor([[2048, 5, -1, 7], [2048, 2048, 5, 5]])
    scores = torch.ones(2, 2048)
    penalised = sampling.RepetitionPenalty(2.0)(ids, scores)
    assert (penalised != 1).nonzero().tolist() == [[0, 5], [0, 7], [1, 5]]
    mask = torch.tensor([0, 3])
    theirs = reference.RepetitionPenaltyLogitsProcessor(2.0, prompt_ignore_length=mask)(ids.clamp(min=2047), scores)
    assert torch.equal(sampling.RepetitionPenalty(2.0, mask)(ids.clamp(min=2047), scores), theirs)


def test_bad_words_of_one_and_of_several_tokens_are_banned_as_by_the_reference() -> None:
    words = [[4], [1, 2], [3, 1, 2], [9, 9, 9, 9, 9], [7]]
    theirs = reference.NoBadWordsLogitsProcessor(words, eos_token_id=7)
    ours = sampling.BadWords(tuple(map(tuple, words)), eos=(7,))
    for row in ([0, 3, 1], [5, 5, 1], [9, 9, 9], [9, 9, 9, 9], [1]):
        ids = torch.tensor([row, row[::-1]])
        scores = some_scores(rows=2, vocabulary=12)
        assert torch.equal(ours(ids, scores), theirs(ids, scores))


def test_a_bad_word_outside_the_vocabulary_is_refused_when_the_chain_is_built() -> None:
    with pytest.raises(ParamError, match="bad_words_ids"):
        sampling.build_processors(GenerationConfig(bad_words_ids=[[1, 50]]), prompt_columns=1, vocabulary=50)


def test_a_prefix_function_keeps_its_tokens_as_by_the_reference() -> None:
    def allowed(row: int, ids: torch.Tensor) -> list[int]:
        return [row, int(ids[-1])]

    ids, scores = torch.tensor([[1, 8], [1, 9]]), some_scores(rows=2, vocabulary=12)
    scores[1, [1, 9]] = -torch.inf
    theirs = reference.PrefixConstrainedLogitsProcessor(allowed, 1)(ids, scores)
    assert torch.equal(sampling.PrefixAllowed(allowed)(ids, scores), theirs)
    with pytest.raises(ParamError, match="row 0"):
        sampling.PrefixAllowed(lambda row, ids: [])(ids, scores)


def names(config: GenerationConfig, **keywords: Any) -> list[str]:
    chain = sampling.build_processors(config, prompt_columns=3, vocabulary=50, **keywords)
    return [type(one).__name__ for one in chain]


def full_config(**overrides: Any) -> GenerationConfig:
    return GenerationConfig(
        **{
            "do_sample": True,
            "temperature": 0.8,
            "top_k": 9,
            "top_p": 0.9,
            "min_p": 0.1,
            "typical_p": 0.9,
            "repetition_penalty": 1.2,
            "no_repeat_ngram_size": 2,
            "bad_words_ids": [[1]],
            "suppress_tokens": [4],
            "min_new_tokens": 2,
            "eos_token_id": [6, 7],
            **overrides,
        }
    )


def test_the_chain_stands_in_the_documented_order() -> None:
    class Mine:
        def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            return scores

    first = [
        "RepetitionPenalty",
        "NoRepeatNGram",
        "BadWords",
        "MinNewTokens",
        "PrefixAllowed",
        "SuppressTokens",
        "Mine",
    ]
    shaping = ["Temperature", "TopK", "TopP", "MinP", "TypicalP"]
    both = {"extra": [Mine()], "prefix_allowed_tokens_fn": lambda row, ids: [1]}
    assert names(full_config(), **both) == first + shaping
    assert names(full_config(do_sample=False), **both) == first
    assert names(full_config(temperature=0.0), **both) == first


def test_settings_that_do_nothing_build_nothing() -> None:
    neutral = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": None, "typical_p": 1.0}
    assert names(GenerationConfig(do_sample=True, **neutral, repetition_penalty=1.0, no_repeat_ngram_size=0)) == []
    assert names(GenerationConfig(do_sample=True, top_p=0)) == []
    assert names(resolve(None, GenerationConfig(), {})[0]) == []
    assert names(resolve(None, GenerationConfig(), {"do_sample": True})[0]) == ["TopK"]
    assert names(GenerationConfig(min_new_tokens=4)) == []


def test_the_least_new_tokens_count_from_the_prompt_and_win_over_the_least_length() -> None:
    chain = sampling.build_processors(
        GenerationConfig(min_new_tokens=2, min_length=99, eos_token_id=6), prompt_columns=3, vocabulary=50
    )
    assert chain == [sampling.MinNewTokens((6,), 5)]
    chain = sampling.build_processors(GenerationConfig(min_length=9, eos_token_id=6), prompt_columns=3, vocabulary=50)
    assert chain == [sampling.MinNewTokens((6,), 9)]


def test_the_whole_chain_gives_the_references_numbers() -> None:
    from transformers import GenerationConfig as TheirConfig
    from transformers import MusicgenConfig, MusicgenForCausalLM

    ours = full_config(min_new_tokens=20)
    model_config = MusicgenConfig().decoder
    for name, value in {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 8}.items():
        setattr(model_config, name, value)
    model = MusicgenForCausalLM(model_config)
    their_config = TheirConfig(**ours.to_diff_dict())
    model._prepare_special_tokens(their_config, device="cpu")
    ids = torch.randint(0, 60, (4, 6), generator=torch.Generator().manual_seed(2))
    theirs = model._get_logits_processor(their_config, 3, ids, None, None, "cpu")
    scores, mine = some_scores(), some_scores()
    for one in sampling.build_processors(ours, prompt_columns=3, vocabulary=60):
        mine = one(ids, mine)
    assert torch.equal(mine, theirs(ids, scores))


def test_without_noise_the_largest_score_is_taken() -> None:
    assert sampling.select(torch.tensor([[0.0, 2.0, 1.0], [-torch.inf, -5.0, -9.0]])).tolist() == [1, 1]


def test_draws_follow_the_softmax_by_a_chi_square_test() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0, 0.5, -torch.inf, 1.5, 0.25])
    draws, noise = torch.zeros(8), ItemNoise([123])
    for step in range(100):
        # streams stand in for repetitions: each has noise of its own
        drawn = sampling.select(logits.expand(200, 8), noise.gumbel(step, 200, 8)[0])
        draws += torch.bincount(drawn, minlength=8)
    expected = logits.softmax(-1) * draws.sum()
    assert draws.sum() == 20_000 and draws[5] == 0
    live = expected > 0
    statistic = ((draws - expected)[live].square() / expected[live]).sum().item()
    assert statistic < 24.3  # the 0.999 quantile of chi-square with 6 degrees of freedom is 22.46; fixed seed


def test_draws_follow_the_softmax_after_top_k_and_temperature_too() -> None:
    logits = torch.randn(1, 30, generator=torch.Generator().manual_seed(5))
    shaped = sampling.TopK(5)(NO_IDS[:1], sampling.Temperature(0.6)(NO_IDS[:1], logits))
    noise = ItemNoise([9]).gumbel(0, 20_000, 30)[0]
    draws = torch.bincount(sampling.select(shaped.expand(20_000, 30), noise), minlength=30).float()
    expected = shaped.softmax(-1)[0] * 20_000
    assert (draws > 0).sum() == 5
    live = expected > 0
    assert ((draws - expected)[live].square() / expected[live]).sum().item() < 18.5  # 0.999 quantile, 4 degrees


@pytest.mark.parametrize("temperature", [1e-6, 1e-30, 1e-300, 5e-324])
def test_a_tiny_temperature_takes_the_largest_score(temperature: float) -> None:
    scores = some_scores() * 100
    cold = sampling.Temperature(temperature)(NO_IDS, scores)
    assert not bool(cold.isnan().any())
    assert torch.equal(sampling.select(cold, ItemNoise([0]).gumbel(0, 4, 60)[0]), scores.argmax(-1))


@pytest.mark.parametrize("temperature", [1e6, 1e300])
def test_a_huge_temperature_draws_evenly_and_keeps_banned_tokens_banned(temperature: float) -> None:
    scores = torch.tensor([[9.0, -torch.inf, 0.0, 4.0]])
    hot = sampling.Temperature(temperature)(NO_IDS[:1], scores)
    assert hot.isneginf().tolist() == [[False, True, False, False]]
    draws = torch.bincount(sampling.select(hot.expand(6000, 4), ItemNoise([4]).gumbel(0, 6000, 4)[0]), minlength=4)
    assert draws[1] == 0 and bool((draws[[0, 2, 3]] > 1800).all())


def test_a_row_without_a_finite_score_is_named() -> None:
    scores = torch.zeros(8, 5)
    scores[6] = -torch.inf
    with pytest.raises(NumericError, match=r"row 6 \(item 1, codebook 2\).*-inf.*step 40"):
        sampling.select(scores, step=40, streams=4)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    "chain", [[], [sampling.TopK(3)], [sampling.TopP(0.5)], [sampling.MinP(0.1)], [sampling.TypicalP(0.5)]]
)
def test_a_row_with_nan_or_infinity_is_named_whatever_the_samplers(poison: float, chain: list[Any]) -> None:
    scores = some_scores()
    scores[2, 7] = poison
    for one in chain:
        scores = one(NO_IDS, scores)
    with pytest.raises(NumericError, match="row 2"):
        sampling.select(scores, ItemNoise([0]).gumbel(0, 4, 60)[0])


def test_picking_leaves_the_check_to_a_time_that_suits() -> None:
    tokens, best = sampling.pick(torch.tensor([[1.0, 2.0], [torch.nan, 0.0]]))
    assert tokens[0] == 1 and tokens.dtype == torch.int64
    sampling.check_best(best[:1])
    with pytest.raises(NumericError, match="row 1"):
        sampling.check_best(best)
