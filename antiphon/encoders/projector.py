"""From an encoder's frames to the embeddings of a language model."""

from __future__ import annotations

from torch import Tensor, nn

from antiphon.nn.linear import Linear
from antiphon.nn.mlp import Activation, activation


class Projector(nn.Module):
    """``linear_2(act(linear_1(x)))``, of the width of the language model from the first layer on.

    Args:
        width_in: of the frames. width: D of the language model. act: an activation or its name. bias: in both layers.
    """

    def __init__(self, width_in: int, width: int, *, act: str | Activation, bias: bool = True) -> None:
        super().__init__()
        self.linear_1 = Linear(width_in, width, bias=bias)
        self.act = activation(act)
        self.linear_2 = Linear(width, width, bias=bias)

    def forward(self, frames: Tensor) -> Tensor:
        """(..., width_in) to (..., D)."""
        projected: Tensor = self.linear_2(self.act(self.linear_1(frames)))
        return projected
