"""Normalisation layers that torch does not have in the form the checkpoints need."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root mean square normalisation without mean and bias.

    The mean square is taken in float32 whatever the input's dtype. Half precision checkpoints were trained with one of
    two orders of rounding.

    Args:
        width: D. eps: added to the mean square.
        scaled_in_float32: the weight is multiplied in float32, and the product gets the input's dtype. Otherwise the
            normalised input is rounded to the weight's dtype before it is scaled.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019; orders of rounding as in T5 and in Moshi.
    """

    def __init__(self, width: int, eps: float = 1e-6, *, scaled_in_float32: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps
        self.scaled_in_float32 = scaled_in_float32

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        if self.scaled_in_float32:
            return (x.float() * scale * self.weight.float()).to(x.dtype)
        normed = x * scale
        if self.weight.dtype in (torch.float16, torch.bfloat16):
            normed = normed.to(self.weight.dtype)
        return self.weight * normed
