"""Products with a weight that lies in memory as it is: which of torch's kernels suits the machine."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
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


def dense_product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias``, in float32 by oneDNN where that is the faster one.

    Args:
        x: (..., I), any float dtype. weight: (O, I). bias: (O,) or ``None``.

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
