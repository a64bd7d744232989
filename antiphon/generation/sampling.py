"""Samplers as values: each takes (R, L) int64 ids and (R, V) float32 scores and gives the new scores.

Chained in the documented order they shape the distribution; ``select`` then takes one token a row, the largest score,
or the largest score plus Gumbel noise, which is a draw from the softmax of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from antiphon.errors import NumericError, ParamError

if TYPE_CHECKING:
    from antiphon.generation.config import GenerationConfig

_BANNED = -math.inf
# beyond these a float32 division gives 0 / 0 or inf / inf; the draw is the same on either side of them
_COLDEST, _HOTTEST = 1e-30, 1e30
_COLD = 0.01


class Processor(Protocol):
    """Gives new (R, V) scores for (R, L) int64 ids and (R, V) float32 scores; mutates neither."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, /) -> torch.Tensor: ...


@dataclass(frozen=True)
class Temperature:
    """Scores divided by ``temperature``, which is above 0.

    Below 0.01 the largest score of each row is subtracted first, which the softmax cannot see: what is left of the
    differences would drown in the rounding of the huge quotients otherwise.
    """

    temperature: float

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self.temperature < _COLD:
            scores = scores - scores.amax(dim=-1, keepdim=True)
        return scores / min(max(self.temperature, _COLDEST), _HOTTEST)


@dataclass(frozen=True)
class TopK:
    """The ``top_k`` largest scores of each row kept, and every score equal to the least of them (V at most).

    Here and below ``keep`` is how many tokens of each row are kept whatever the rule says.
    """

    top_k: int
    keep: int = 1

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        least = scores.topk(min(max(self.top_k, self.keep), scores.shape[-1]), dim=-1).values[:, -1:]
        return scores.masked_fill(scores < least, _BANNED)


@dataclass(frozen=True)
class TopP:
    """The fewest most probable tokens kept whose probabilities add up to ``top_p`` or more; one at least.

    Source: Holtzman et al., "The curious case of neural text degeneration" (2020), section 3.1.
    """

    top_p: float
    keep: int = 1

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        rising, order = scores.sort(dim=-1)
        removed = rising.softmax(dim=-1).cumsum(dim=-1) <= 1 - self.top_p
        removed[:, -self.keep :] = False
        return scores.masked_fill(torch.zeros_like(removed).scatter(1, order, removed), _BANNED)


@dataclass(frozen=True)
class MinP:
    """Tokens kept whose probability is at least ``min_p`` times that of the most probable one."""

    min_p: float
    keep: int = 1

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        probabilities = scores.softmax(dim=-1)
        best = probabilities.topk(min(self.keep, scores.shape[-1]), dim=-1).values
        least = torch.minimum(best[:, :1] * self.min_p, best[:, -1:])
        return scores.masked_fill(probabilities < least, _BANNED)


@dataclass(frozen=True)
class TypicalP:
    """Tokens kept whose surprise lies closest to the row's entropy, with probabilities of ``typical_p`` together.

    Source: Meister et al., "Locally typical sampling" (2023), section 4.
    """

    typical_p: float
    keep: int = 1

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logs = scores.log_softmax(dim=-1)
        # a banned token has probability 0 times log -inf: nansum counts it as the 0 it is
        entropy = -(logs * logs.exp()).nansum(dim=-1, keepdim=True)
        distance, order = (-logs - entropy).abs().sort(dim=-1)
        mass = scores.gather(-1, order).softmax(dim=-1).cumsum(dim=-1)
        last = (mass < self.typical_p).sum(dim=-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
        removed = distance > distance.gather(-1, last)
        removed[:, : self.keep] = False
        return scores.masked_fill(torch.zeros_like(removed).scatter(1, order, removed), _BANNED)


@dataclass(frozen=True)
class RepetitionPenalty:
    """Scores of tokens that already stand in the row divided by ``penalty``, negative ones multiplied by it.

    Ids outside the vocabulary (a start token, an undecided one) count for nothing. ``skipped`` (R,) int64 leaves out
    that many leading columns of each row, which is where left padding stands.

    Source: Keskar et al., "CTRL" (2019), section 4.1.
    """

    penalty: float
    skipped: torch.Tensor | None = None

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        vocabulary = scores.shape[-1]
        outside = (ids < 0) | (ids >= vocabulary)
        if self.skipped is not None:
            columns = torch.arange(ids.shape[-1], device=ids.device)
            outside = outside | (columns < self.skipped.to(ids.device).unsqueeze(-1))
        seen = _mark(ids.masked_fill(outside, vocabulary), vocabulary)
        return torch.where(seen, torch.where(scores < 0, scores * self.penalty, scores / self.penalty), scores)


def _mark(ids: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """(R, V) bool, true for the ids of each row; the id V stands for none."""
    spare = torch.zeros(ids.shape[0], vocabulary + 1, dtype=torch.bool, device=ids.device)
    return spare.scatter_(1, ids, True)[:, :vocabulary]


@dataclass(frozen=True)
class NoRepeatNGram:
    """Tokens banned that would complete an n-gram of ``size`` ids which stands in the row already."""

    size: int

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        length, vocabulary = ids.shape[-1], scores.shape[-1]
        if length < self.size:
            return scores
        grams = ids.unfold(1, self.size, 1)  # (R, L) -> (R, L - size + 1, size)
        begun = ids[:, length - self.size + 1 :].unsqueeze(1)
        met = (grams[..., :-1] == begun).all(dim=-1)
        last = grams[..., -1]
        banned = torch.where(met & (last >= 0) & (last < vocabulary), last, vocabulary)
        return scores.masked_fill(_mark(banned, vocabulary), _BANNED)


@dataclass(frozen=True)
class BadWords:
    """Tokens banned that would complete one of ``words``; a word that is one end-of-sequence token is left alone."""

    words: tuple[tuple[int, ...], ...]
    eos: tuple[int, ...] = ()

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        length = ids.shape[-1]
        banned = torch.zeros_like(scores, dtype=torch.bool)
        for *begun, last in self.words:
            if not begun:
                if last not in self.eos:
                    banned[:, last] = True
            elif len(begun) <= length:
                tail = ids[:, length - len(begun) :]
                banned[:, last] |= (tail == torch.tensor(begun, device=ids.device)).all(dim=-1)
        return scores.masked_fill(banned, _BANNED)


@dataclass(frozen=True)
class SuppressTokens:
    """The given tokens banned; ids outside the vocabulary count for nothing."""

    tokens: tuple[int, ...]

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        inside = [token for token in self.tokens if 0 <= token < scores.shape[-1]]
        return scores.index_fill(-1, torch.tensor(inside, dtype=torch.long, device=scores.device), _BANNED)


@dataclass(frozen=True)
class MinNewTokens:
    """End-of-sequence tokens banned while a row has fewer than ``columns`` columns, its prompt included."""

    eos: tuple[int, ...]
    columns: int

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores if ids.shape[-1] >= self.columns else SuppressTokens(self.eos)(ids, scores)


@dataclass(frozen=True)
class PrefixAllowed:
    """Only the tokens kept that ``allowed(row, ids of the row)`` names for each row.

    Where earlier processors banned all of these, they get the score 0 so that the constraint still holds.

    Raises (when called): ParamError, a row is allowed no token.
    """

    allowed: Callable[[int, torch.Tensor], Sequence[int]]

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        mask = torch.full_like(scores, _BANNED)
        for row in range(ids.shape[0]):
            tokens = list(self.allowed(row, ids[row]))
            if not tokens:
                raise ParamError(
                    f"prefix_allowed_tokens_fn allowed no token for row {row}",
                    expected="one token or more at each step",
                )
            mask[row, tokens] = 0
        kept = scores + mask
        return torch.where(kept.amax(dim=-1, keepdim=True).isneginf(), mask, kept)


def is_sampling(config: GenerationConfig) -> bool:
    """Whether tokens are drawn: ``do_sample`` is set and the temperature is not 0, which means greedy."""
    return config.do_sample is True and config.temperature != 0


def build_processors(
    config: GenerationConfig,
    *,
    prompt_columns: int,
    vocabulary: int,
    extra: Iterable[Any] = (),
    prefix_allowed_tokens_fn: Callable[[int, torch.Tensor], Sequence[int]] | None = None,
    skipped_columns: torch.Tensor | None = None,
) -> list[Any]:
    """The processors that ``config`` asks for, in the documented order.

    Args:
        config: resolved; fields that are ``None`` ask for nothing.
        prompt_columns: columns before the first new one.
        vocabulary: V of the scores.
        extra: the caller's own processors; they come after ours that hold for greedy decoding too, before those
            that shape a draw.
        prefix_allowed_tokens_fn: see ``PrefixAllowed``.
        skipped_columns: (R,) leading columns of each row which the repetition penalty leaves out.

    Raises:
        ParamError: a bad word has an id outside the vocabulary.
    """
    chain: list[Any] = []
    eos = _as_ids(config.eos_token_id)
    if config.repetition_penalty not in (None, 1.0):
        chain.append(RepetitionPenalty(config.repetition_penalty, skipped_columns))
    if config.no_repeat_ngram_size:
        chain.append(NoRepeatNGram(config.no_repeat_ngram_size))
    if config.bad_words_ids is not None:
        chain.append(_bad_words(config.bad_words_ids, eos, vocabulary))
    fewest = config.min_length or 0
    if config.min_new_tokens is not None:
        fewest = prompt_columns + config.min_new_tokens
    if eos and fewest > 0:
        chain.append(MinNewTokens(eos, fewest))
    if prefix_allowed_tokens_fn is not None:
        chain.append(PrefixAllowed(prefix_allowed_tokens_fn))
    if config.suppress_tokens is not None:
        chain.append(SuppressTokens(tuple(config.suppress_tokens)))
    chain.extend(extra)
    return chain + (_shaping(config) if is_sampling(config) else [])


def _shaping(config: GenerationConfig) -> list[Any]:
    chain: list[Any] = []
    # where all that is left of a row ends its text, a search with beams has nothing to go on with
    keep = 1 if (config.num_beams or 1) == 1 else 1 + max(1, len(_as_ids(config.eos_token_id)))
    if config.temperature not in (None, 1.0):
        chain.append(Temperature(config.temperature))
    if config.top_k:
        chain.append(TopK(config.top_k, keep))
    if config.top_p is not None and 0 < config.top_p < 1:
        chain.append(TopP(config.top_p, keep))
    if config.min_p is not None:
        chain.append(MinP(config.min_p, keep))
    if config.typical_p is not None and config.typical_p < 1:
        chain.append(TypicalP(config.typical_p, keep))
    return chain


def _as_ids(tokens: int | Sequence[int] | None) -> tuple[int, ...]:
    if tokens is None:
        return ()
    return (tokens,) if isinstance(tokens, int) else tuple(tokens)


def _bad_words(words: Sequence[Sequence[int]], eos: tuple[int, ...], vocabulary: int) -> BadWords:
    outside = sorted({token for word in words for token in word if token >= vocabulary})
    if outside:
        raise ParamError(
            f"bad_words_ids holds the ids {outside[:5]}", expected=f"ids below the vocabulary of {vocabulary}"
        )
    return BadWords(tuple(tuple(word) for word in words), eos)


def pick(scores: torch.Tensor, noise: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The token of each row (R,) int64 and the value (R,) it won with, without waiting for the device.

    A value that is not finite tells of a row that has no token to give: pass it to ``check_best``.
    """
    # NaN wins every maximum, and a row of -inf has the maximum -inf: this one reduction sees both
    best, tokens = (scores if noise is None else scores + noise).max(dim=-1)
    return tokens, best


def check_best(best: torch.Tensor, *, step: int | None = None, streams: int = 1) -> None:
    """Raises where a row's winning value (R,) is not finite; reads the device once.

    Raises:
        NumericError: naming the first such row, its codebook where a row of the batch has ``streams`` of them, and
            the step.
    """
    finite = best.isfinite()
    if bool(finite.all()):
        return
    row = int((~finite).nonzero()[0])
    place = f"row {row}" if streams == 1 else f"row {row} (item {row // streams}, codebook {row % streams})"
    value = float(best[row])
    what = "no token is left to choose, all scores are -inf" if value == -math.inf else f"the best score is {value}"
    raise NumericError(
        f"{place}: {what}{'' if step is None else f', at step {step}'}",
        expected="at least one finite score and no NaN in each row",
        fix="Loosen the samplers and banned tokens, or look for NaN in the weights (half precision can overflow)",
    )


def select(
    scores: torch.Tensor, noise: torch.Tensor | None = None, *, step: int | None = None, streams: int = 1
) -> torch.Tensor:
    """The token of each row, (R,) int64: the largest score, or with Gumbel ``noise`` (R, V) a draw from the softmax.

    Raises:
        NumericError: a row has a NaN or +inf, or no finite score.

    Source: Gumbel-max, Maddison, Tarlow, Minka, "A* sampling" (NeurIPS 2014), section 2.
    """
    tokens, best = pick(scores, noise)
    check_best(best, step=step, streams=streams)
    return tokens
