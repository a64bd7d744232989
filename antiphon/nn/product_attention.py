"""Attention of many queries without gradients, for processors on which torch's fused one is slow.

torch's fused attention multiplies tiles by the BLAS that is slow on AMD processors (see ``dense.py``); there whole
blocks of queries by oneDNN take two thirds of the time. Scores and weights are float32 whatever the dtype.
"""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.nn.dense import onednn_product, prefers_onednn

_FEW_QUERIES = 128
_SCORES = 1 << 19  # of a block: what a core's cache holds in float32
_LEAST = 32  # queries of a block


def suits_products(query: Tensor) -> bool:
    """Whether queries (B, H, T, D) are many, without gradients, on a processor that prefers products."""
    return (
        query.device.type == "cpu"
        and query.dtype in (torch.bfloat16, torch.float32)
        and query.shape[2] >= _FEW_QUERIES
        and query.numel() > 0
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and prefers_onednn()
    )


def product_attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float, *, allowed: Tensor | None = None, causal: bool = False
) -> Tensor:
    """What queries see of values.

    Args:
        query: (B, H, T, D). key: (B, G, S, D). value: (B, G, S, E), G a divisor of H; all of one dtype.
        allowed: bool, broadcastable to (B, H, T, S), ``True`` where a query may look; every query somewhere.
        causal: queries see no later key; T is S then, and ``allowed`` nothing.

    Returns:
        (B, H, T, E). Each row and head is computed alone, so that none depends on the others.
    """
    batch, heads, queries, _ = query.shape
    group, keys = heads // key.shape[1], key.shape[2]
    out = query.new_empty(batch, queries, heads, value.shape[-1])
    if allowed is not None:
        allowed = allowed.expand(batch, heads, allowed.shape[2], keys)
    size = max(_LEAST, _SCORES // keys)
    for row in range(batch):
        for head in range(heads):
            if head % group == 0:
                seen = key[row, head // group].float().contiguous()
                worth = value[row, head // group].float().contiguous()
            asked = query[row, head].float() * scale
            for first in range(0, queries, size):
                last = min(queries, first + size)
                end = last if causal else keys
                scores = onednn_product(asked[first:last], seen[:end])
                if causal:
                    # only the block's own keys can be later than a query
                    own = scores[:, first:]
                    own.masked_fill_(torch.ones(own.shape, dtype=torch.bool).triu(1), -torch.inf)
                elif allowed is not None:
                    may = allowed[row, head]
                    scores.masked_fill_(~(may if len(may) == 1 else may[first:last]), -torch.inf)
                weights = torch.softmax(scores, dim=-1)
                # the first keys' values lie together; columns cut out of wider rows would go the reference's slow way
                out[row, first:last, head] = onednn_product(weights, worth[:end].t())
    return out.transpose(1, 2)
