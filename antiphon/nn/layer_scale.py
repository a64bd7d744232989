"""A learned factor for each channel of what a layer adds."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LayerScale(nn.Module):
    """Each channel times its own factor.

    Args:
        width: D. initial: what all factors begin with; small ones keep new layers close to the identity.

    Source: Touvron et al., "Going Deeper with Image Transformers", 2021, section 2.
    """

    def __init__(self, width: int, initial: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), float(initial)))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D)."""
        return self.scale * x
