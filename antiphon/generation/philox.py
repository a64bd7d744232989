"""Noise that belongs to an item: Philox4x32-10 in tensor integers, and the Gumbel noise made from it.

The noise of a token is a pure function of (item seed, step, stream, token id). An item therefore hears the same noise
alone, in a batch, first or last, streamed or not. One counter gives four words, which serve four neighbouring tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from antiphon.errors import ParamError

SEED_LIMIT = (
    2**63
)  # a seed is an int in 0 .. 2**63 - 1: it fits an int64 tensor, and every JSON reader keeps its low half

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_WORDS_PER_BLOCK = 1 << 17  # 1 MiB of float64 a temporary: stays in the caches of a CPU core
_MOST_STEPS_PER_BLOCK = 16


def philox4x32(counter: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """Philox4x32-10 of each counter under each key.

    Args:
        counter: (..., 4) int64 holding uint32 values, word 0 first.
        key: (..., 2) int64 holding uint32 values; broadcasts against ``counter``.

    Returns:
        (..., 4) int64 holding uint32 values, on the device of ``counter``.

    Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC11), section 4.3.
    """
    lanes = counter.unbind(-1)
    return torch.stack(_rounds(lanes[0], lanes[1], lanes[2], lanes[3], key[..., 0], key[..., 1]), dim=-1)


def _rounds(
    c0: torch.Tensor, c1: torch.Tensor, c2: torch.Tensor, c3: torch.Tensor, k0: torch.Tensor, k1: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    for turn in range(_ROUNDS):
        # int64 wraps, so bits 32..63 of the product are right although its sign may not be: mask after the shift
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        high0, high1 = (p0 >> 32).bitwise_and_(_WORD), (p1 >> 32).bitwise_and_(_WORD)
        round_k0, round_k1 = (k0 + turn * _KEY_STEPS[0]) & _WORD, (k1 + turn * _KEY_STEPS[1]) & _WORD
        c0, c2 = (high1 ^ c1) ^ round_k0, (high0 ^ c3) ^ round_k1
        c1, c3 = p1.bitwise_and_(_WORD), p0.bitwise_and_(_WORD)
    return c0, c1, c2, c3


class ItemNoise:
    """Standard Gumbel noise for a batch of items, each with its own seed.

    Args:
        seeds: one int in 0 .. 2**63 - 1 for each row.
        device: where the noise is made and returned.

    Raises:
        ParamError: a seed is not such an int.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu") -> None:
        self.seeds = [check_seed(seed) for seed in seeds]
        self.device = torch.device(device)
        self._blocks: dict[tuple[int, int, int, int], tuple[int, torch.Tensor]] = {}

    def __len__(self) -> int:
        return len(self.seeds)

    def gumbel(
        self, step: int | Sequence[int], streams: int, vocabulary: int, *, first_stream: int = 0
    ) -> torch.Tensor:
        """The noise of one step: (B, K, V) float32, the same bits however and whenever it is asked for.

        It may be a view of what is kept for the next steps: read it, do not write into it.

        Args:
            step: the step, 0 or more; a sequence gives each row a step of its own.
            streams: K, how many streams from ``first_stream`` on.
            vocabulary: V, how many token ids from 0 on.
            first_stream: the first stream wanted, so that streams with vocabularies of their own can ask apart.

        Raises:
            ParamError: a step is out of range, or there is not one for each row.

        Source: Gumbel-max, Maddison, Tarlow, Minka, "A* sampling" (NeurIPS 2014), section 2. Uniforms are
        (word + 0.5) / 2**32: never 0, never 1. The logarithms are taken in float64 and rounded once.
        """
        steps = [step] * len(self.seeds) if isinstance(step, int) else list(step)
        if len(steps) != len(self.seeds) or any(not 0 <= s <= _WORD for s in steps):
            raise ParamError(f"step={step!r}", expected=f"0 or more, one number or one for each of {len(self)} rows")
        rows = [self._row(i, s, streams, vocabulary, first_stream) for i, s in enumerate(steps)]
        return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)

    def _row(self, row: int, step: int, streams: int, vocabulary: int, first_stream: int) -> torch.Tensor:
        span = max(1, min(_MOST_STEPS_PER_BLOCK, _WORDS_PER_BLOCK // max(1, streams * vocabulary)))
        place = (row, streams, vocabulary, first_stream)
        held = self._blocks.get(place)
        if held is None or held[0] != step // span:
            # blocks start at multiples of the span and have one shape: no bit depends on which step was asked for first
            held = (
                step // span,
                self._block(self.seeds[row], step // span * span, span, streams, vocabulary, first_stream),
            )
            self._blocks[place] = held
        return held[1][step % span]

    def _block(
        self, seed: int, first: int, span: int, streams: int, vocabulary: int, first_stream: int
    ) -> torch.Tensor:
        groups = -(-vocabulary // 4)
        ids = torch.arange(groups, device=self.device).expand(span, streams, groups)
        stream = torch.arange(first_stream, first_stream + streams, device=self.device).view(1, streams, 1)
        step = torch.arange(first, first + span, device=self.device).view(span, 1, 1)
        # word 3 of the counter stays 0: it is free for another kind of noise under the same seed
        key = torch.tensor([seed & _WORD, seed >> 32], device=self.device)
        words = _rounds(ids, stream.expand_as(ids), step.expand_as(ids), torch.zeros_like(ids), key[0], key[1])
        # (span, K, V / 4, 4) -> (span, K, V): token 4 i + j takes word j of counter i
        bits = torch.stack(words, dim=-1).view(span, streams, groups * 4)
        uniform = bits.to(torch.float64).add_(0.5).mul_(2.0**-32)
        gumbel = uniform.log_().neg_().log_().neg_()
        return gumbel[..., :vocabulary].to(torch.float32)


def check_seed(seed: Any, name: str = "seed") -> int:
    """``seed`` as an int in 0 .. 2**63 - 1; ``ParamError`` for anything else, bools and floats included."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or isinstance(seed, torch.Tensor):
        raise ParamError(f"{name}={seed!r} ({type(seed).__name__})", expected="an int from 0 to 2**63 - 1, or None")
    value = int(seed.__index__())
    if not 0 <= value < SEED_LIMIT:
        # Python refuses to print an int of more than a few thousand digits
        came = repr(seed) if value.bit_length() < 256 else f"an int of {value.bit_length()} bits"
        raise ParamError(f"{name}={came}", expected="an int from 0 to 2**63 - 1, or None")
    return value


def draw_seed() -> int:
    """A seed drawn from torch's global generator, so that ``torch.manual_seed`` governs calls without a seed."""
    return int(torch.randint(0, SEED_LIMIT - 1, ()).item())


def item_seeds(seed: int | Sequence[int] | None, items: int) -> list[int]:
    """One seed for each item: s gives s, s + 1, ... (after 2**63 - 1 comes 0); a list is taken as it is.

    ``None`` draws the first one with ``draw_seed``.

    Raises:
        ParamError: a seed is out of range, or the list has not ``items`` entries.
    """
    if isinstance(seed, (list, tuple)):
        if len(seed) != items:
            raise ParamError(
                f"seed has {len(seed)} entries for {items} items",
                expected="one seed for each item",
                fix="Pass one int (item i then takes seed + i), or a list with a seed for each returned sequence",
            )
        return [check_seed(one, f"seed[{i}]") for i, one in enumerate(seed)]
    first = draw_seed() if seed is None else check_seed(seed)
    return [(first + i) % SEED_LIMIT for i in range(items)]
