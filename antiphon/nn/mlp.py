"""Feed-forward layers: plain and gated."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import ConfigError
from antiphon.nn.linear import Linear, gelu_linear
from antiphon.nn.quantized_linear import QuantizedLinear

Activation = Callable[[Tensor], Tensor]


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


_ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
    "elu": F.elu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "mish": F.mish,
    "leaky_relu": F.leaky_relu,
    "linear": lambda x: x,
}


def activation(name: str | Activation) -> Activation:
    """The function of that name; a function is returned as it is.

    Raises:
        ConfigError: the name is unknown.
    """
    if callable(name):
        return name
    if not isinstance(name, str) or name not in _ACTIVATIONS:
        raise ConfigError(f"activation function {name!r}", expected=f"one of {sorted(_ACTIVATIONS)} or a function")
    return _ACTIVATIONS[name]


class MLP(nn.Module):
    """``down(dropout(act(up(x))))``."""

    def __init__(
        self, width: int, hidden: int, *, act: str | Activation, bias: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.up = Linear(width, hidden, bias=bias)
        self.down = Linear(hidden, width, bias=bias)
        self.act = activation(act)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        hidden = gelu_linear(x, self.up) if self.act is F.gelu else self.act(self.up(x))
        return _projected(F.dropout(hidden, self.dropout, self.training), self.down)


class GatedMLP(nn.Module):
    """``down(dropout(act(gate(x)) * up(x)))``.

    Args:
        fused: gate and up are one layer ``gate_up`` of 2 * hidden outputs, the gate's first, as some checkpoints have
            them; otherwise two layers ``gate`` and ``up``.

    Source: Shazeer, "GLU Variants Improve Transformer", 2020.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        act: str | Activation,
        bias: bool = False,
        dropout: float = 0.0,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.fused = fused
        if fused:
            self.gate_up = Linear(width, 2 * hidden, bias=bias)
        else:
            self.gate = Linear(width, hidden, bias=bias)
            self.up = Linear(width, hidden, bias=bias)
        self.down = Linear(hidden, width, bias=bias)
        self.act = activation(act)
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        gate, up = self.gate_up(x).chunk(2, dim=-1) if self.fused else (self.gate(x), self.up(x))
        return _projected(F.dropout(self.act(gate) * up, self.dropout, self.training), self.down)


def _projected(hidden: Tensor, down: nn.Module) -> Tensor:
    # T5's output projection stays in float32 in a float16 model, where its sums overflow
    weight = None if isinstance(down, QuantizedLinear) else getattr(down, "weight", None)
    if isinstance(weight, Tensor) and weight.is_floating_point() and weight.dtype != hidden.dtype:
        hidden = hidden.to(weight.dtype)
    out: Tensor = down(hidden)
    return out
