"""Weights in eight bits: what ``load_in_8bit=True`` turns linear layers into."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.nn.linear import Linear


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8 with one scale a row; inputs and outputs stay floating point.

    Args:
        layer: the layer to take the place of.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.register_buffer("weight", torch.round(weight / scale[:, None]).to(torch.int8))
        self.register_buffer("scale", scale.to(layer.weight.dtype))
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach())
        self.weight: Tensor
        self.scale: Tensor
        self.bias: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        flat = x.reshape(-1, self.in_features)
        out = _int8_product(flat, self.weight, self.scale.to(x.dtype)).view(*x.shape[:-1], self.out_features)
        return out if self.bias is None else out + self.bias


def _int8_product(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    # the packed kernel reads one byte a weight; it takes few rows well and exists on some devices only
    if x.device.type == "cpu" and x.shape[0] <= 16 and weight.shape[0] % 4 == 0 and weight.shape[1] % 16 == 0:
        try:
            return torch._weight_int8pack_mm(x, weight, scale)
        except (RuntimeError, AttributeError):
            pass
    return (x @ weight.to(x.dtype).t()) * scale


def quantize_int8(model: nn.Module) -> None:
    """Replaces every linear layer inside attention and feed-forward parts by its int8 form, one at a time."""
    for name, child in list(model.named_children()):
        if type(child) is Linear:
            setattr(model, name, Int8Linear(child))
        else:
            quantize_int8(child)
