"""Multi-head attention: one class for every stack."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from antiphon.errors import ConfigError, ParamError
from antiphon.nn.blocked_attention import blocked_attention, learns_in_bfloat16
from antiphon.nn.kv_cache import LayerCache
from antiphon.nn.linear import Linear, stacked_linear
from antiphon.nn.masks import Mask
from antiphon.nn.native.attention import Stored, attended
from antiphon.nn.product_attention import product_attention, suits_products
from antiphon.nn.rotary import Rotation, rotate

IMPLEMENTATIONS = ("eager", "sdpa", "flash_attention_2")
PROJECTIONS = ("query", "key", "value", "out")

# Learning from so few keys, a text's say, plain products are four times as fast as torch's fused ones on a CPU.
_FEW_KEYS = 64


class Attention(nn.Module):
    """Attention of queries over their own columns, or over a memory.

    Args:
        width: D of the input and output.
        heads: H query heads. kv_heads: heads of keys and values, by default H; a divisor of it.
        head_width: width of a head, by default ``width // heads``.
        bias: biases in all of ``PROJECTIONS``, in none, or in those that are named.
        scale: factor on the scores, by default ``head_width ** -0.5``.
        dropout: on the attention weights, in training only.

    Raises:
        ConfigError: the heads do not divide the width, or the query heads the key heads.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        kv_heads: int | None = None,
        head_width: int | None = None,
        bias: bool | Collection[str] = False,
        scale: float | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if head_width is None and width % heads:
            raise ConfigError(f"{heads} attention heads do not divide the hidden size {width}")
        self.heads = heads
        self.kv_heads = kv_heads or heads
        if heads % self.kv_heads:
            raise ConfigError(f"{self.kv_heads} key heads do not divide {heads} query heads")
        self.head_width = head_width or width // heads
        self.scale = self.head_width**-0.5 if scale is None else scale
        self.dropout = dropout
        self.implementation = "sdpa"
        biased = PROJECTIONS if bias is True else bias or ()
        self.query = Linear(width, heads * self.head_width, bias="query" in biased)
        self.key = Linear(width, self.kv_heads * self.head_width, bias="key" in biased)
        self.value = Linear(width, self.kv_heads * self.head_width, bias="value" in biased)
        self.out = Linear(heads * self.head_width, width, bias="out" in biased)

    def stacks(self) -> list[list[nn.Module]]:
        """The groups of layers over one input, which a loader lays side by side."""
        return [[self.query, self.key, self.value]]

    def _split(self, x: Tensor, heads: int) -> Tensor:
        return x.view(*x.shape[:-1], heads, self.head_width).transpose(1, 2)  # (B, T, H * D) -> (B, H, T, D)

    def _projected(
        self, x: Tensor, memory: Tensor | None, cache: LayerCache | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """The query, and fresh keys and values unless a memory's lie in the cache already; all (B, heads, T, D)."""
        if memory is None:
            query, key, value = stacked_linear(x, [self.query, self.key, self.value])
        else:
            query = self.query(x)
            if cache is not None and cache.length:
                return self._split(query, self.heads), None
            key, value = stacked_linear(memory, [self.key, self.value])
        return self._split(query, self.heads), (self._split(key, self.kv_heads), self._split(value, self.kv_heads))

    def forward(
        self,
        x: Tensor,
        *,
        memory: Tensor | None = None,
        mask: Mask | None = None,
        cache: LayerCache | None = None,
        rotation: Rotation | None = None,
        head_mask: Tensor | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """One call over T columns.

        Args:
            x: (B, T, D). memory: (B, S, D) to attend to; the columns themselves by default.
            cache: past keys and values, written in place. A memory's are computed at its first call only.
            rotation: rotary tables of these columns, (B or 1, 1, T, D) each; the cache gets the rotated keys.
            head_mask: (H,) or broadcastable to (B, H, T, S), multiplied onto the weights; eager attention only.
            need_weights: also return the weights; they are then computed the eager way.

        Returns:
            (B, T, D), and the weights (B, H, T, S) or ``None``.
        """
        query, fresh = self._projected(x, memory, cache)
        if rotation is not None:
            query = rotate(query, rotation)
            fresh = None if fresh is None else (rotate(fresh[0], rotation), fresh[1])
        mask = mask or Mask()
        weights = None
        if cache is not None and self._decodes(x, need_weights):
            heads = self._one_column(query, fresh, mask, cache)
        else:
            key, value = _all_columns(fresh, cache)
            if self.implementation == "eager" or need_weights:
                head_mask = head_mask if self.implementation == "eager" else None
                heads, weights = self._eager(query, key, value, mask, head_mask)
            else:
                heads = self._fused(query, key, value, mask)
        merged = heads.transpose(1, 2).flatten(2)  # (B, H, T, D) -> (B, T, H * D)
        return self.out(merged), weights if need_weights else None

    def _decodes(self, x: Tensor, need_weights: bool) -> bool:
        plain = self.implementation == "sdpa" and not need_weights and not (self.training and self.dropout)
        return plain and x.shape[1] == 1 and not torch.is_grad_enabled()

    def _one_column(self, query: Tensor, fresh: tuple[Tensor, Tensor] | None, mask: Mask, cache: LayerCache) -> Tensor:
        if fresh is not None:
            cache.write(*fresh)
        # a memory without places leaves nothing in a cache
        stored = Stored(*fresh) if fresh is not None and not cache.length else cache.stored
        heads = attended(query, stored, mask.for_kernel(like=query), self.scale)
        return mask.silenced(heads)

    def _fused(self, query: Tensor, key: Tensor, value: Tensor, mask: Mask) -> Tensor:
        drop = self.dropout if self.training else 0.0
        grouped = self.kv_heads != self.heads
        if self.implementation == "sdpa" and learns_in_bfloat16(query, key):
            if mask.causal and not drop and query.shape == key.shape:
                return blocked_attention(query, key, value, self.scale)
            if key.shape[2] <= _FEW_KEYS and not mask.causal:
                heads, _ = self._eager(query, key, value, mask, None)
                return mask.silenced(heads)
        causal = mask.causal and query.shape[2] > 1
        if self.implementation == "sdpa" and mask.bias is None and not drop and suits_products(query):
            heads = product_attention(query, key, value, self.scale, allowed=mask.safe, causal=causal)
            return mask.silenced(heads)
        bias = mask.for_kernel(like=query)
        if self.implementation == "flash_attention_2":
            if query.device.type != "cuda" or query.dtype not in (torch.float16, torch.bfloat16):
                raise ParamError(
                    f"flash attention on {query.device.type} in {query.dtype}",
                    expected="a CUDA device and float16 or bfloat16",
                    fix="Use attn_implementation='sdpa'",
                )
            with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
                heads = F.scaled_dot_product_attention(
                    query, key, value, bias, drop, causal, scale=self.scale, enable_gqa=grouped
                )
        else:
            heads = F.scaled_dot_product_attention(
                query, key, value, bias, drop, causal, scale=self.scale, enable_gqa=grouped
            )
        return mask.silenced(heads)

    def _eager(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Mask, head_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if self.kv_heads != self.heads:
            key = key.repeat_interleave(self.heads // self.kv_heads, dim=1)
            value = value.repeat_interleave(self.heads // self.kv_heads, dim=1)
        scores = torch.matmul(query, key.transpose(2, 3)) * self.scale
        hidden = mask.additive(query.shape[2], key.shape[2], like=scores)
        if hidden is not None:
            # float16 rounds the sum to -inf for scores below -16: a row hidden throughout would come to NaN
            scores = (scores + hidden).clamp(min=torch.finfo(scores.dtype).min)
        weights = F.dropout(torch.softmax(scores, dim=-1), self.dropout, self.training)
        if head_mask is not None:
            weights = weights * (head_mask.view(1, -1, 1, 1) if head_mask.dim() == 1 else head_mask)
        return torch.matmul(weights, value), weights


def _all_columns(fresh: tuple[Tensor, Tensor] | None, cache: LayerCache | None) -> tuple[Tensor, Tensor]:
    """The keys and values to attend to: the cache's, and the fresh ones after them."""
    if fresh is None:  # only a filled cache leaves nothing to project
        return cast(LayerCache, cache).floats()
    return fresh if cache is None else cache.append(*fresh)
