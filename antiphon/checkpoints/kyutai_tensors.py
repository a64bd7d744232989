"""How kyutai's package stores attention and the weights of its depth transformer, and how the documents do.

There queries, keys and values are one matrix, and rotary positions turn neighbouring channels; in the documents they
are three, and the halves of a head are turned together. There each codebook has a matrix of its own; here one tensor
holds those of all codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.checkpoints.rebuilt_file import Bond


@dataclass(frozen=True)
class Heads:
    """Query heads, key and value heads, and the channels of each; ``rotary`` where positions turn them."""

    query: int
    key: int
    channels: int
    rotary: bool

    def apart(self, fused: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of one matrix ((query + 2 key) * channels, D), ready to be turned by halves."""
        rows = [self.query * self.channels, self.key * self.channels, self.key * self.channels]
        query, key, value = fused.split(rows)
        return self._to_halves(query), self._to_halves(key), value

    def together(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """One matrix of three: the way back of ``apart``."""
        return torch.cat([self._to_pairs(query), self._to_pairs(key), value])

    def _to_halves(self, rows: Tensor) -> Tensor:
        if not self.rotary:
            return rows
        pairs = rows.reshape(-1, self.channels // 2, 2, rows.shape[-1])  # (H, D / 2, 2, C)
        return pairs.transpose(1, 2).reshape(rows.shape)

    def _to_pairs(self, rows: Tensor) -> Tensor:
        if not self.rotary:
            return rows
        halves = rows.reshape(-1, 2, self.channels // 2, rows.shape[-1])  # (H, 2, D / 2, C)
        return halves.transpose(1, 2).reshape(rows.shape)


def attention(theirs: str, ours: Sequence[str], heads: Heads) -> Bond:
    """The bond between one fused projection and three."""
    return Bond((theirs,), tuple(ours), lambda whole: heads.apart(whole[0]), lambda parts: [heads.together(*parts)])


def attention_of_steps(theirs: Sequence[str], ours: Sequence[str], heads: Heads) -> Bond:
    """The bond between a fused projection for each codebook and three for all, each (K, rows, D)."""

    def apart(steps: Sequence[Tensor]) -> list[Tensor]:
        return [torch.stack(parts) for parts in zip(*(heads.apart(step) for step in steps), strict=True)]

    def together(stacks: Sequence[Tensor]) -> list[Tensor]:
        return [heads.together(*parts) for parts in zip(*(stack.unbind() for stack in stacks), strict=True)]

    return Bond(tuple(theirs), tuple(ours), apart, together)


def steps(theirs: Sequence[str], ours: str) -> Bond:
    """The bond between a matrix for each codebook and one tensor (K, rows, D) for all."""
    return Bond(tuple(theirs), (ours,), lambda each: [torch.stack(list(each))], lambda all_: list(all_[0].unbind()))


def norm(theirs: str, ours: str) -> Bond:
    """The bond between the factors of a norm as (1, 1, D) and as (D)."""
    return Bond((theirs,), (ours,), _reshaped(lambda t: (t.shape[-1],)), _reshaped(lambda t: (1, 1, t.shape[0])))


def weight_norm(magnitude: str, direction: str, ours: str) -> Bond:
    """The bond between a weight in two parts and the weight that they mean; the way back leaves it whole."""
    return Bond((magnitude, direction), (ours,), lambda pair: [_normed(*pair)], list)


def _reshaped(shape: Callable[[Tensor], tuple[int, ...]]) -> Callable[[Sequence[Tensor]], list[Tensor]]:
    return lambda tensors: [tensors[0].reshape(shape(tensors[0]))]


def _normed(magnitude: Tensor, direction: Tensor) -> Tensor:
    wide: Tensor = direction.float()
    lengths = wide.flatten(1).square().sum(dim=1).sqrt().view(magnitude.shape)
    return (wide * (magnitude.float() / lengths)).to(direction.dtype)
