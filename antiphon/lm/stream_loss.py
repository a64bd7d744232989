"""The cross-entropy of all streams' heads in one go, without ever holding all logits.

Logits are the largest tensor of a training step: with 4 streams of 1024 codes they are sixteen times as wide as a state
of 256. So heads, cross-entropy and their gradients are computed a block of columns at a time, while the block lies in
the cache; a step keeps the gradients of the states and of the heads, which it needs anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from antiphon.nn.dense import dense_product, weight_gradient
from antiphon.nn.linear import plain_layers

IGNORED = -100  # a label that does not count

_LOGITS_IN_CACHE = 1 << 21  # of a block on a CPU: 8 MB
_LOGITS_ON_DEVICE = 1 << 27


def stream_losses(
    hidden: Tensor, heads: Sequence[nn.Module], labels: Tensor, *, weights: Sequence[float] | None = None
) -> tuple[Tensor, Tensor]:
    """The summed cross-entropies of K streams.

    Args:
        hidden: (B, T, D). heads: K layers from D to V, without bias. labels: (B, K, T) int64, -100 where none counts.
        weights: K factors on the streams' losses in the sum, by default 1 each.

    Returns:
        Their weighted sum, a float32 scalar that gradients follow, and the sum of each stream (K,), float32, detached.
        Under autocast products are in its dtype, all else in float32.
    """
    rows, wanted = hidden.flatten(0, 1), labels.transpose(1, 2).flatten(0, 1)  # (B * T, D), (B * T, K)
    factors = hidden.new_tensor([1.0] * len(heads) if weights is None else list(weights), dtype=torch.float32)
    layers = plain_layers(list(heads))
    if len(layers) == len(heads):
        total, each = _HeadsAndLoss.apply(rows, wanted, factors, *(layer.weight for layer in layers))
        return total, each
    losses = [
        F.cross_entropy(head(rows).float(), wanted[:, k], reduction="sum", ignore_index=IGNORED)
        for k, head in enumerate(heads)
    ]
    total = torch.stack(losses)
    return (total * factors).sum(), total.detach()


def _product_dtype(hidden: Tensor) -> torch.dtype:
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


class _HeadsAndLoss(torch.autograd.Function):
    """``stream_losses`` for plain heads; the gradients are ready when the loss is."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, labels: Tensor, factors: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        dtype, device = _product_dtype(rows), rows.device.type
        to_rows, to_heads = ctx.needs_input_grad[0], any(ctx.needs_input_grad[3:])
        with torch.autocast(device, enabled=False):
            heads = torch.cat(weights).to(dtype)  # (K * V, D)
            each = torch.zeros(len(weights), device=rows.device)
            of_rows = torch.empty_like(rows) if to_rows else None
            of_heads = torch.zeros_like(heads, dtype=torch.float32) if to_heads else None
            size = max(1, (_LOGITS_IN_CACHE if device == "cpu" else _LOGITS_ON_DEVICE) // len(heads))
            for start in range(0, len(rows), size):
                block = rows[start : start + size].to(dtype)
                logits = dense_product(block, heads).float().view(len(block), len(weights), -1)  # (N, K, V)
                losses, of_logits = _losses_of(logits, labels[start : start + size])
                each += losses
                gradient = of_logits.mul_(factors[:, None]).flatten(1).to(dtype)
                if of_rows is not None:
                    of_rows[start : start + size] = dense_product(gradient, heads.t())
                if of_heads is not None:
                    of_heads += weight_gradient(gradient, block)
        ctx.save_for_backward(of_rows, of_heads)
        ctx.dtypes = [weight.dtype for weight in weights]
        ctx.mark_non_differentiable(each)
        return (each * factors).sum(), each

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        of_rows, of_heads = ctx.saved_tensors
        parts: Sequence[Tensor | None] = [None] * len(ctx.dtypes)
        if of_heads is not None:
            parts = [part.to(kind) for part, kind in zip((of_heads * by).chunk(len(parts)), ctx.dtypes, strict=True)]
        return None if of_rows is None else of_rows * by.to(of_rows.dtype), None, None, *parts


def _losses_of(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The summed losses (K,) of logits (N, K, V) for labels (N, K), and their gradients (N, K, V)."""
    counts = labels != IGNORED
    places = labels.clamp(min=0)[..., None]  # (N, K, 1)
    chances = torch.log_softmax(logits, dim=-1)
    losses = -chances.gather(-1, places)[..., 0].masked_fill(~counts, 0.0).sum(0)
    chances.exp_()
    chances.scatter_add_(-1, places, torch.full_like(places, -1.0, dtype=chances.dtype))
    return losses, chances.mul_(counts[..., None])
