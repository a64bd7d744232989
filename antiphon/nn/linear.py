"""Linear layers: the kernel that suits the machine, and several layers over one input as one product.

Decoding reads every weight once a step, so a step costs what its weights cost to read. Two things decide whether that
happens at the speed of the memory: the kernel, and the number of separate products.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.nn.dense import dense_product, gelu_product
from antiphon.nn.native.products import Codes, bfloat16_product, coded_product, float32_product
from antiphon.nn.quantized_linear import QuantizedLinear

_MANY_ROWS = 256  # of an input, for which laying weights together is a hundredth of the product


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` by the fastest exact kernel at hand.

    Args:
        x: (..., I), any float dtype.
        weight: (O, I). bias: (O,) or ``None``.

    Returns:
        (..., O). Equal to ``F.linear`` up to the order of summation.
    """
    few = None
    if x.dtype is torch.bfloat16:
        few = bfloat16_product(x, weight, bias)
    elif x.dtype is torch.float32:
        few = float32_product(x, weight, bias)
    return dense_product(x, weight, bias) if few is None else few


class Linear(nn.Linear):
    """``nn.Linear`` with the kernel above and no initialisation of its own.

    The model that owns it initialises or loads it; filling it twice would double the time of a large construction.
    """

    def reset_parameters(self) -> None:
        return None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Embedding(nn.Embedding):
    """``nn.Embedding`` without initialisation of its own, for the same reason."""

    def reset_parameters(self) -> None:
        return None


def plain_layers(layers: Sequence[nn.Module]) -> list[Linear]:
    """The layers if all of them are plain and without bias, else nothing.

    A subclass (an adapter, a quantised layer) computes something else than its weight says.
    """
    plain: list[Linear] = []
    for layer in layers:
        if not isinstance(layer, Linear) or type(layer) is not Linear or layer.bias is not None:
            return []
        plain.append(layer)
    return plain


def _is_hooked(layer: nn.Module) -> bool:
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return any(hooks)


def gelu_linear(x: Tensor, layer: nn.Module) -> Tensor:
    """The exact GELU of a layer's output, of many rows by one kernel where the layer is what it seems to be."""
    if type(layer) is Linear and x.numel() >= _MANY_ROWS * x.shape[-1] and not _is_hooked(layer):
        found = gelu_product(x, layer.weight, layer.bias)
        if found is not None:
            return found
    return F.gelu(layer(x))


def _coded_layers(layers: Sequence[nn.Module]) -> list[QuantizedLinear]:
    """The layers if all of them are quantised in one way and without bias, else nothing."""
    coded: list[QuantizedLinear] = []
    for layer in layers:
        if type(layer) is not QuantizedLinear or layer.bias is not None:
            return []
        coded.append(layer)
    return coded if len({(c.bits, c.group_size, c.in_features, c.codes.device) for c in coded}) == 1 else []


def _side_by_side(tensors: Sequence[Tensor]) -> bool:
    """Whether the tensors lie one after the other in one storage."""
    end = None
    for tensor in tensors:
        if not tensor.is_contiguous() or (end is not None and tensor.data_ptr() != end):
            return False
        end = tensor.data_ptr() + tensor.numel() * tensor.element_size()
    return bool(tensors)


def _as_one(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors (O_i, I) that lie side by side as one (sum of O_i, I), without a copy."""
    first = tensors[0]
    rows, width = sum(tensor.shape[0] for tensor in tensors), first.shape[1]
    return torch.as_strided(first, (rows, width), (width, 1), first.storage_offset())


def stacked_linear(x: Tensor, layers: Sequence[nn.Module]) -> tuple[Tensor, ...]:
    """The outputs of several layers over one input, by one product where their weights lie side by side.

    Args:
        x: (..., I). layers: layers of one input width; those laid out by ``lay_side_by_side`` are fused.

    Returns:
        One (..., O_i) tensor a layer. With gradients enabled layers that are plain and without hooks are put together
        for the call where the input has so many rows that this costs nothing; the others compute alone.
    """
    if torch.is_grad_enabled():
        plain = plain_layers(layers)
        if len(plain) > 1 and x.numel() >= _MANY_ROWS * x.shape[-1] and not any(_is_hooked(layer) for layer in plain):
            together = linear(x, torch.cat([layer.weight for layer in plain]))
            return torch.split(together, [layer.weight.shape[0] for layer in plain], dim=-1)
    else:
        plain = plain_layers(layers)
        weights = [layer.weight for layer in plain]
        if _side_by_side(weights):
            return torch.split(linear(x, _as_one(weights)), [w.shape[0] for w in weights], dim=-1)
        coded = _coded_layers(layers)
        codes, scales = [layer.codes for layer in coded], [layer.scales for layer in coded]
        if _side_by_side(codes) and _side_by_side(scales):
            first = coded[0]
            stored = Codes(_as_one(codes), _as_one(scales), first.bits, first.group_size, first.in_features)
            return torch.split(coded_product(x, stored), [c.shape[0] for c in codes], dim=-1)
    return tuple(layer(x) for layer in layers)


def lay_side_by_side(layers: Sequence[nn.Module], storage: Tensor | None = None, *, copy: bool = True) -> None:
    """Moves the weights of plain layers into one storage, in order; the Parameters stay the same objects.

    Args:
        layers: bias-free ``Linear`` or ``QuantizedLinear`` layers of one input width, dtype and device; others are left
            alone.
        storage: (sum of widths, I) to use for plain ones; by default a new one.
        copy: keep the values. ``False`` when a loader is about to fill them.
    """
    coded = _coded_layers(layers)
    if coded:
        _move_together([layer.codes for layer in coded], None, copy)
        _move_together([layer.scales for layer in coded], None, copy)
    else:
        _move_together([layer.weight for layer in plain_layers(layers)], storage, copy)


def _move_together(tensors: Sequence[Tensor], storage: Tensor | None, copy: bool) -> None:
    kinds = {(t.dtype, t.device, t.shape[1]) for t in tensors}
    if len(kinds) != 1 or (storage is None and _side_by_side(tensors)):
        return
    if storage is None:
        dtype, device, width = next(iter(kinds))
        storage = torch.empty((sum(t.shape[0] for t in tensors), width), dtype=dtype, device=device)
    row = 0
    with torch.no_grad():
        for tensor in tensors:
            place = storage[row : row + tensor.shape[0]]
            if copy:
                place.copy_(tensor)
            tensor.data = place
            row += tensor.shape[0]


def stacks_of(model: nn.Module) -> list[list[nn.Module]]:
    """The groups of layers over one input that the parts of ``model`` name by a method ``stacks``."""
    groups: list[list[nn.Module]] = []
    for module in model.modules():
        named = getattr(module, "stacks", None)
        if callable(named):
            groups.extend(named())
    return groups
