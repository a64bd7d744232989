"""Linear layers: the kernel that suits the machine, and several layers over one input as one product.

Decoding reads every weight once a step, so a step costs what its weights cost to read. Two things decide whether that
happens at the speed of the memory: the kernel, and the number of separate products.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@functools.cache
def _prefers_onednn() -> bool:
    """Whether oneDNN's plain inner product beats the BLAS behind ``F.linear`` for float32 on this processor.

    On AMD processors the BLAS of the stock wheels (MKL) reads a weight at 7-10 GB/s for two rows where memory gives 28
    and oneDNN 25-28; for 16 to 512 rows oneDNN is 2.3 times as fast. On Intel processors MKL is at the ceiling already.
    The rule goes by the maker's name and not by a measurement, so that the same machine always rounds the same way. The
    operator's name is private to torch, hence the trial call.
    """
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            if "AuthenticAMD" not in file.read(4096):
                return False
        x, weight = torch.ones(2, 8), torch.ones(4, 8)
        out = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        return bool(torch.equal(out, torch.full((2, 4), 8.0)))
    except (OSError, RuntimeError, AttributeError):
        return False


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` by the fastest exact kernel at hand.

    Args:
        x: (..., I), any float dtype.
        weight: (O, I). bias: (O,) or ``None``.

    Returns:
        (..., O). Equal to ``F.linear`` up to the order of summation.
    """
    if (
        x.dtype is torch.float32
        and weight.dtype is torch.float32
        and x.device.type == "cpu"
        and x.numel() > 0
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not torch.is_autocast_enabled("cpu")
        and _prefers_onednn()
    ):
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return out
    return F.linear(x, weight, bias)


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


def _side_by_side(layers: Sequence[Linear]) -> bool:
    """Whether the weights lie one after the other in one storage."""
    end = None
    for layer in layers:
        weight = layer.weight
        if not weight.is_contiguous() or (end is not None and weight.data_ptr() != end):
            return False
        end = weight.data_ptr() + weight.numel() * weight.element_size()
    return bool(layers)


def stacked_linear(x: Tensor, layers: Sequence[nn.Module]) -> tuple[Tensor, ...]:
    """The outputs of several layers over one input, by one product where their weights lie side by side.

    Args:
        x: (..., I). layers: layers of one input width; plain ones laid out by ``lay_side_by_side`` are fused.

    Returns:
        One (..., O_i) tensor a layer. With gradients enabled every layer computes alone.
    """
    plain = [] if torch.is_grad_enabled() else plain_layers(layers)
    if not _side_by_side(plain):
        return tuple(layer(x) for layer in layers)
    first = plain[0].weight
    widths = [layer.out_features for layer in plain]
    width = first.shape[1]
    weight = torch.as_strided(first, (sum(widths), width), (width, 1), first.storage_offset())
    return tuple(linear(x, weight).split(widths, dim=-1))


def lay_side_by_side(layers: Sequence[nn.Module], storage: Tensor | None = None, *, copy: bool = True) -> None:
    """Moves the weights of plain layers into one storage, in order; the Parameters stay the same objects.

    Args:
        layers: bias-free ``Linear`` layers of one input width, dtype and device; others are left alone.
        storage: (sum of widths, I) to use; by default a new one.
        copy: keep the values. ``False`` when a loader is about to fill them.
    """
    plain = plain_layers(layers)
    weights = [layer.weight for layer in plain]
    if len({(w.dtype, w.device, w.shape[1]) for w in weights}) != 1 or (storage is None and _side_by_side(plain)):
        return
    if storage is None:
        storage = torch.empty(
            (sum(w.shape[0] for w in weights), weights[0].shape[1]), dtype=weights[0].dtype, device=weights[0].device
        )
    row = 0
    with torch.no_grad():
        for weight in weights:
            place = storage[row : row + weight.shape[0]]
            if copy:
                place.copy_(weight)
            weight.data = place
            row += weight.shape[0]


def stacks_of(model: nn.Module) -> list[list[nn.Module]]:
    """The groups of layers over one input that the parts of ``model`` name by a method ``stacks``."""
    groups: list[list[nn.Module]] = []
    for module in model.modules():
        named = getattr(module, "stacks", None)
        if callable(named):
            groups.extend(named())
    return groups
