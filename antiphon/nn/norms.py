"""Normalisation layers that torch does not have in the form the checkpoints need."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root mean square normalisation without mean and bias.

    The mean square is taken in float32 whatever the input's dtype, and the result is rounded to the weight's dtype
    before it is scaled: half precision checkpoints were trained so.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019; order of rounding as in T5.
    """

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        normed = x * scale
        if self.weight.dtype in (torch.float16, torch.bfloat16):
            normed = normed.to(self.weight.dtype)
        return self.weight * normed
