"""Products with a weight that lies in memory as it is: which of torch's kernels suits the machine."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


@functools.cache
def prefers_onednn() -> bool:
    """Whether oneDNN's plain inner product beats what is behind ``F.linear`` on this processor.

    On AMD processors the BLAS of the stock wheels (MKL) reads a float32 weight at 7-10 GB/s for two rows where memory
    gives 28 and oneDNN 25-28; for 16 to 512 rows oneDNN is 2.3 times as fast. bfloat16 goes by oneDNN either way, but
    ``F.linear`` adds a bias by a copy of it. On Intel processors MKL is at the ceiling already. The rule goes by the
    maker's name and not by a measurement, so that the same machine always rounds the same way. The operator's name is
    private to torch, hence the trial call.
    """
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
            if "AuthenticAMD" not in file.read(4096):
                return False
        x, weight = torch.ones(2, 8), torch.ones(4, 8)
        out = onednn_product(x, weight)
        return bool(torch.equal(out, torch.full((2, 4), 8.0)))
    except (OSError, RuntimeError, AttributeError):
        return False


def onednn_product(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, then: str = "none") -> Tensor:
    """``x @ weight.T + bias`` by oneDNN, where ``prefers_onednn``; ``then``: "gelu" of it, or "none"."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, then, [], "none")
    return out


def _suits_onednn(x: Tensor, weight: Tensor) -> bool:
    return (
        x.dtype is weight.dtype
        # training in bfloat16 goes by autocast, which has torch's own products
        and (x.dtype is torch.float32 or (x.dtype is torch.bfloat16 and not torch.is_grad_enabled()))
        and x.device.type == "cpu"
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and prefers_onednn()
    )


def dense_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, by oneDNN where that is the faster one; in float32 gradients are computed so too.

    Args:
        x: (..., I), any float dtype. weight: (O, I). bias: (O,) or ``None``.

    Returns:
        (..., O). Equal to ``F.linear`` up to the order of summation.
    """
    if not _suits_onednn(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias)):
        traced: Tensor = _Product.apply(x, weight, bias)
        return traced
    return onednn_product(x, weight, bias)


def gelu_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    """The exact GELU of ``dense_product``, where one kernel gives it without gradients, else ``None``.

    Rounded once instead of twice, and without a pass over what is the widest tensor of a stack.
    """
    if torch.is_grad_enabled() or not _suits_onednn(x, weight):
        return None
    return onednn_product(x, weight, bias, then="gelu")


def weight_gradient(outputs: Tensor, inputs: Tensor) -> Tensor:
    """``outputs.T @ inputs``: what a product's weight (O, I) gets from its outputs' gradients.

    Args:
        outputs: (N, O). inputs: (N, I), of the same dtype.

    Returns:
        (O, I).
    """
    if not _suits_onednn(inputs, outputs):
        return outputs.t() @ inputs
    # the second operand is packed for the kernel, the first one copied: packing pays for the wider one
    if outputs.shape[1] > inputs.shape[1]:
        return onednn_product(inputs.t(), outputs.t(), None).t()
    return onednn_product(outputs.t(), inputs.t(), None)


class _Product(torch.autograd.Function):
    """``dense_product`` with gradients, for what oneDNN suits. Gradients of gradients go by torch's own products."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return onednn_product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, by: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, to_bias = ctx.needs_input_grad
        outputs, inputs = by.reshape(-1, by.shape[-1]), x.reshape(-1, x.shape[-1])  # (N, O), (N, I)
        of_x = of_weight = None
        with torch.autocast("cpu", enabled=False):
            if to_x:  # a transposed weight is read as fast as a straight one
                of_x = dense_product(by, weight.t())
            if to_weight:
                # here gradients are on when those of the gradients are wanted
                of_weight = outputs.t() @ inputs if torch.is_grad_enabled() else weight_gradient(outputs, inputs)
        return of_x, of_weight, outputs.sum(0) if to_bias else None
