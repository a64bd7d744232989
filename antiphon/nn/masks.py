"""Which key a query may see, in the form the attention kernels want it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.errors import ParamError


@dataclass(frozen=True)
class Mask:
    """One mask for all layers of a stack.

    Attributes:
        allowed: bool, broadcastable to (B, H, T, S); ``True`` where a query may look. ``None``: nothing is forbidden
            beyond ``causal``.
        causal: queries see no later key; only together with ``allowed=None`` and T == S.
        bias: float, broadcastable to (B, H, T, S), added to the scores.
        safe: ``allowed`` with the rows that see nothing opened; ``alive``: bool (..., T, 1), ``False`` for those rows.
            Some kernels give NaN for a row that sees nothing; such a row is computed on open keys and then set to zero.
    """

    allowed: Tensor | None = None
    causal: bool = False
    bias: Tensor | None = None
    safe: Tensor | None = None
    alive: Tensor | None = None

    @staticmethod
    def of(allowed: Tensor | None, *, bias: Tensor | None = None) -> Mask:
        """A mask from a bool tensor and a bias, either of them optional."""
        if allowed is None:
            return Mask(bias=bias)
        alive = allowed.any(dim=-1, keepdim=True)
        return Mask(allowed=allowed, bias=bias, safe=allowed | ~alive, alive=alive)

    def additive(self, queries: int, keys: int, *, like: Tensor) -> Tensor | None:
        """The mask as a float tensor to add to scores: the lowest number where a key is hidden."""
        allowed = self.allowed
        if allowed is None and self.causal and queries > 1:
            allowed = causal_allowed(queries, keys, like.device)
        if allowed is None:
            return None if self.bias is None else self.bias.to(like.dtype)
        lowest = torch.finfo(like.dtype).min
        hidden = torch.zeros(allowed.shape, dtype=like.dtype, device=like.device).masked_fill_(~allowed, lowest)
        return hidden if self.bias is None else self.bias.to(like.dtype) + hidden

    def for_kernel(self, *, like: Tensor) -> Tensor | None:
        """The mask as ``scaled_dot_product_attention`` takes it: bool, or float when there is a bias."""
        if self.bias is None:
            return self.safe
        if self.safe is None:
            return self.bias.to(like.dtype)
        return self.bias.to(like.dtype).masked_fill(~self.safe, torch.finfo(like.dtype).min)

    def silenced(self, heads: Tensor) -> Tensor:
        """What a kernel gave (B, H, T, D), with zeros for the rows that see nothing."""
        return heads if self.alive is None else heads * self.alive.to(heads.dtype)


def causal_allowed(queries: int, keys: int, device: torch.device, *, window: int | None = None) -> Tensor:
    """(1, 1, T, S) bool for the last ``queries`` of ``keys`` columns, each seeing ``window`` columns with its own."""
    allowed = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    if window is not None:
        allowed = allowed.triu(keys - queries - window + 1)
    return allowed[None, None]


def causal_mask(
    queries: int, keys: int, padding: Tensor | None, *, device: torch.device, window: int | None = None
) -> Mask:
    """The mask of a decoder.

    Args:
        queries: T, columns of this call. keys: S, columns of this call and before it.
        padding: (B, S) of 0 and 1 (1: a real column), or ``None``; or (B, 1, T, S) bool or additive, which then says
            all, the window included.
        window: columns that a query sees, its own counted; by default all.
    """
    window = window if window is not None and window < keys else None
    if padding is None:
        if queries == keys and window is None:
            return Mask(causal=True)
        if queries == 1 and window is None:
            return Mask()
        return Mask.of(causal_allowed(queries, keys, device, window=window))
    if padding.dim() == 4:
        return Mask.of(_as_bool(padding))
    if padding.dim() != 2:
        raise ParamError(f"attention_mask of shape {tuple(padding.shape)}", expected="(batch, columns)")
    if padding.shape[1] < keys:  # a caller that only tells of the past: what is new counts as real
        padding = torch.nn.functional.pad(padding, (0, keys - padding.shape[1]), value=1)
    real = padding[:, None, None, :keys].to(torch.bool)
    if queries == 1 and window is None:
        return Mask.of(real)
    return Mask.of(causal_allowed(queries, keys, device, window=window) & real)


def memory_mask(padding: Tensor | None) -> Mask:
    """The mask over a memory of which ``padding`` (B, S) says which places are real."""
    if padding is None:
        return Mask()
    if padding.dim() == 4:
        return Mask.of(_as_bool(padding))
    if padding.dim() != 2:
        raise ParamError(f"attention mask of shape {tuple(padding.shape)}", expected="(batch, places)")
    return Mask.of(padding[:, None, None, :].to(torch.bool))


def _as_bool(mask: Tensor) -> Tensor:
    # an additive mask has 0 where looking is allowed
    return mask if mask.dtype is torch.bool else mask == 0 if mask.is_floating_point() else mask.to(torch.bool)
