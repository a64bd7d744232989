"""Causal attention in bfloat16 with gradients, for processors: block by block through torch's batched products.

torch's fused attention multiplies small tiles one by one, which processors are slow at in bfloat16: it takes twice the
time of this. A block of queries meets the keys up to its end only, so half of the scores are never computed, and the
backward pass computes a block's weights again instead of keeping them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_BLOCK = 128  # queries
_SCORES = 1 << 20  # of a block, over several heads: what a core's cache holds in bfloat16


def learns_in_bfloat16(query: Tensor, key: Tensor) -> bool:
    """Whether this is a call with gradients, in bfloat16, on a CPU."""
    return (
        query.device.type == "cpu"
        and query.dtype is torch.bfloat16
        and query.numel() > 0
        and torch.is_grad_enabled()
        and (query.requires_grad or key.requires_grad)
    )


def blocked_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """What queries (B, H, T, D) see of the values of earlier keys and their own, all of one dtype.

    Returns:
        (B, H, T, D). Scores and weights are rounded to the dtype, sums of gradients over blocks are in float32.
        Gradients of gradients are refused.
    """
    out: Tensor = _Causal.apply(query, key, value, scale)
    return out


def _blocks(heads: int, columns: int) -> Iterator[tuple[slice, list[tuple[int, int]]]]:
    """Groups of heads, and the blocks of queries (first, end) for each."""
    group = max(1, _SCORES // (min(_BLOCK, columns) * columns))
    queries = [(first, min(columns, first + _BLOCK)) for first in range(0, columns, _BLOCK)]
    for first in range(0, heads, group):
        yield slice(first, first + group), queries


def _weights(query: Tensor, key: Tensor, later: Tensor) -> Tensor:
    """Attention weights (N, Q, S) of the last Q of S columns."""
    scores = torch.bmm(query, key.transpose(1, 2))
    queries = scores.shape[1]
    scores[..., -queries:] += later[:queries, :queries]
    return torch.softmax(scores, dim=-1)


def _later(like: Tensor) -> Tensor:
    return torch.full((_BLOCK, _BLOCK), -math.inf, dtype=like.dtype).triu(1)


class _Causal(torch.autograd.Function):
    """Autocast has done its work when this is called: what it gets is of one dtype, and so is what it computes."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        shape = query.shape
        # the scale is a power of two for usual heads, and then rounds nothing
        query, key, value = (t.reshape(-1, *shape[2:]) for t in (query * scale, key, value))  # (B * H, T, D)
        out = torch.empty_like(query)
        later = _later(query)
        for heads, blocks in _blocks(len(query), shape[2]):
            q, k, v = query[heads], key[heads], value[heads]
            for first, end in blocks:
                out[heads, first:end] = torch.bmm(_weights(q[:, first:end], k[:, :end], later), v[:, :end])
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        return out.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        shape = by.shape
        by = by.reshape(query.shape)
        of_query, of_key, of_value = (torch.empty_like(t) for t in (query, key, value))
        later = _later(query)
        for heads, blocks in _blocks(len(query), shape[2]):
            q, k, v, g = query[heads], key[heads], value[heads], by[heads]
            keys, values = (torch.zeros(k.shape, dtype=torch.float32) for _ in range(2))
            for first, end in blocks:
                weights = _weights(q[:, first:end], k[:, :end], later)
                values[:, :end] += torch.bmm(weights.transpose(1, 2), g[:, first:end])
                of_weights = torch.bmm(g[:, first:end], v[:, :end].transpose(1, 2))
                scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
                of_query[heads, first:end] = torch.bmm(scores, k[:, :end])
                keys[:, :end] += torch.bmm(scores.transpose(1, 2), q[:, first:end])
            of_key[heads], of_value[heads] = keys, values
        return (of_query * ctx.scale).view(shape), of_key.view(shape), of_value.view(shape), None
