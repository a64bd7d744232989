"""Low-rank adapters on linear layers: what is added to a layer's product, and what is merged into its weight.

An adapted layer stays the object that it was. While adapters are active its class is ``LoraLinear`` or
``LoraQuantizedLinear``, which add them; otherwise it has its own class again. Every faster way of computing asks for
the plain classes, so none of them can pass over an adapter, and all of them are open again without one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import AdapterError
from antiphon.nn.linear import Linear
from antiphon.nn.put_aside import exchange
from antiphon.nn.quantized_linear import QuantizedLinear


@dataclass
class Branches:
    """What an adapted layer knows of its adapters, by their names.

    Attributes:
        scaling: the factor of each, from its alpha and rank. dropout: on its input, in training only.
        active: those that are added, each with a further factor.
    """

    scaling: dict[str, float] = field(default_factory=dict)
    dropout: dict[str, float] = field(default_factory=dict)
    active: dict[str, float] = field(default_factory=dict)


class LoraLinear(Linear):
    """A linear layer with active adapters: ``x @ weight.T + bias + factor * (x @ A.T) @ B.T`` for each of them.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, section 4.1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) to (..., O), in the dtype that the layer alone would give."""
        return _with_branches(self, x, super().forward(x))


class LoraQuantizedLinear(QuantizedLinear):
    """The same around a weight in 4 or 8 bits, which stays as it is."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) to (..., O), in the dtype of ``x``."""
        return _with_branches(self, x, super().forward(x))


_ADAPTED: dict[type[nn.Module], type[nn.Module]] = {Linear: LoraLinear, QuantizedLinear: LoraQuantizedLinear}
_PLAIN = {adapted: plain for plain, adapted in _ADAPTED.items()}


def can_adapt(layer: nn.Module) -> bool:
    """Whether adapters can be put on a layer."""
    return type(layer) in _ADAPTED or type(layer) in _PLAIN


def branches_of(layer: nn.Module) -> Branches:
    """What a layer knows of its adapters; empty for one that never had any."""
    return getattr(layer, "lora", None) or Branches()


def branch(layer: nn.Module, name: str) -> tuple[nn.Parameter, nn.Parameter]:
    """A (rank, I) and B (O, rank) of one adapter."""
    adapted: Any = layer
    return adapted.lora_A[name].weight, adapted.lora_B[name].weight


def add_branch(layer: nn.Module, name: str, *, rank: int, scaling: float, dropout: float = 0.0) -> None:
    """Puts an adapter on a layer, uninitialised and not active.

    Its matrices are float32 beside a weight in less, so that small steps of training are not lost in rounding.

    Args:
        layer: a ``Linear`` or ``QuantizedLinear``, changed in place: ``lora_A`` and ``lora_B`` hold the matrices.
        scaling: factor on ``B A``. dropout: on the input, in training only.

    Raises:
        AdapterError: the layer is of another kind, or has an adapter of that name.
    """
    adapted: Any = layer
    if not can_adapt(layer):
        raise AdapterError(f"an adapter for a layer of type {type(layer).__name__}", expected="a linear layer")
    if not hasattr(layer, "lora"):
        adapted.lora, adapted.lora_A, adapted.lora_B = Branches(), nn.ModuleDict(), nn.ModuleDict()
    if name in adapted.lora.scaling or hasattr(layer, "modules_to_save"):
        raise AdapterError(
            f"the layer has an adapter or a copy {name!r} already", fix="Delete that adapter, or choose another name"
        )
    tensors = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
    kinds = {"device": tensors[0].device, "dtype": torch.float64 if _is_double(layer) else torch.float32}
    adapted.lora_A[name] = Linear(adapted.in_features, rank, bias=False, **kinds)
    adapted.lora_B[name] = Linear(rank, adapted.out_features, bias=False, **kinds)
    adapted.lora.scaling[name], adapted.lora.dropout[name] = scaling, dropout


def remove_branch(layer: nn.Module, name: str) -> None:
    """Takes an adapter off a layer; without any the layer is as it was."""
    adapted: Any = layer
    active = {other: factor for other, factor in adapted.lora.active.items() if other != name}
    use_branches(layer, active)
    del adapted.lora_A[name], adapted.lora_B[name], adapted.lora.scaling[name], adapted.lora.dropout[name]
    if not adapted.lora.scaling:
        del adapted.lora, adapted.lora_A, adapted.lora_B


def use_branches(layer: nn.Module, factors: Mapping[str, float]) -> None:
    """Makes these adapters of a layer the active ones, each with a factor; of none, the layer is a plain one."""
    adapted: Any = layer
    adapted.lora.active = dict(factors)
    plain = _PLAIN.get(type(layer), type(layer))
    adapted.__class__ = _ADAPTED[plain] if factors else plain


def merge_branches(layer: nn.Module, *, keep: bool = True) -> None:
    """Adds the active adapters to the weight, in place; the layer is plain then.

    Args:
        keep: put the old weight aside, for ``put_back``.

    Raises:
        AdapterError: the weight is in 4 or 8 bits, or merged already.
    """
    if isinstance(layer, QuantizedLinear):
        raise AdapterError(
            f"adapters cannot be merged into a weight of {layer.bits} bits",
            fix="Leave them unmerged, or load the model without quantize",
        )
    adapted: Any = layer
    with torch.no_grad():
        total = adapted.weight.to(torch.promote_types(adapted.weight.dtype, torch.float32))
        for name, factor in adapted.lora.active.items():
            down, up = branch(layer, name)
            total = total + (adapted.lora.scaling[name] * factor) * (up.to(total) @ down.to(total))
    exchange(layer, {"weight": total}, keep=keep)
    use_branches(layer, {})


def _with_branches(layer: Any, x: Tensor, out: Tensor) -> Tensor:
    total = out
    for name, factor in layer.lora.active.items():
        down, up = layer.lora_A[name], layer.lora_B[name]
        dropped = F.dropout(x.to(down.weight.dtype), layer.lora.dropout[name], layer.training)
        total = total + up(down(dropped)) * (layer.lora.scaling[name] * factor)
    return total.to(out.dtype)


def _is_double(layer: Any) -> bool:
    return any(tensor.dtype is torch.float64 for tensor in layer.parameters(recurse=False))
