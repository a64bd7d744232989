"""Products of a few rows with stored weights: the kernel's call, and the same numbers by torch alone.

The kernel widens every weight to float32, exactly, and sums in float32. Inputs are not rounded: a product with codes is
the product with the weight that they stand for, up to the order of summation.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.nn.dense import dense_product
from antiphon.nn.native.library import native
from antiphon.nn.rounding import restored

# Rows up to which the kernel is the fastest: it reads the weights once for all of them, but then it only multiplies as
# fast as it can widen. Measured against torch for bfloat16, and for codes against writing the weight out before.
_MOST_ROWS = {32: 4, 16: 6, 8: 128, 4: 128}

# Inputs that the kernel widens at once.
_CHUNK = 32

# Weights written out at once where torch multiplies: so few that they are still in the caches then.
_WEIGHTS_AT_ONCE = 1 << 22

# The kernel's numbers for kinds of tensors; see lanes.h.
_KINDS = {torch.float32: 0, torch.bfloat16: 1}
_WEIGHT_KINDS = {32: 0, 16: 1, 8: 2, 4: 3}

# Numbers of a float32 weight below which torch's products are as fast.
_WORTH_A_CALL = 1 << 16

# Bytes of weights below which waking a second thread costs more than it saves.
_BYTES_A_THREAD = 1 << 16


@dataclass(frozen=True, slots=True)
class Codes:
    """A weight (O, I) in groups of small integers: ``scale * (code - offset)``.

    Attributes:
        codes: uint8 (O, I) for 8 bits; (O, I / 2) for 4, the first of two inputs in the low half.
        scales: bfloat16 (O, ceil(I / group)). bits: 4 or 8, the offset being 8 or 128. inputs: I.
    """

    codes: Tensor
    scales: Tensor
    bits: int
    group: int
    inputs: int

    def unpacked(self) -> Tensor:
        """uint8 (O, I), one code each."""
        if self.bits == 8:
            return self.codes
        pairs = torch.stack([self.codes & 15, self.codes >> 4], dim=-1)
        return pairs.flatten(-2)[:, : self.inputs]

    def weight(self, dtype: torch.dtype) -> Tensor:
        """(O, I): the numbers that the codes stand for; exact in float32."""
        return restored(self.unpacked(), self.scales, self.bits, self.group).to(dtype)

    def rows(self, begin: int, end: int) -> Codes:
        """The part of the outputs from ``begin`` to ``end``."""
        return Codes(self.codes[begin:end], self.scales[begin:end], self.bits, self.group, self.inputs)


def _suits(x: Tensor, weight: Tensor, bias: Tensor | None, bits: int, inputs: int) -> bool:
    """Whether the kernel can take this product, and is worth it."""
    return (
        x.device.type == "cpu"
        and weight.device.type == "cpu"
        and x.dtype in _KINDS
        and 0 < x.numel() <= _MOST_ROWS[bits] * inputs
        and x.shape[-1] == inputs  # else F.linear tells what is wrong
        and inputs % _CHUNK == 0
        and weight.shape[0] > 0
        and weight.stride(1) == 1
        and (bias is None or (bias.dtype is x.dtype and bias.device.type == "cpu" and bias.stride(0) == 1))
        and not (torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad))
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def bfloat16_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """``x @ weight.T + bias`` summed in float32, for bfloat16; ``None`` where the kernel does not suit.

    Args:
        x: (..., I). weight: (O, I). bias: (O,) or ``None``; all bfloat16.
    """
    inputs = weight.shape[1]
    if weight.dtype is not torch.bfloat16 or x.dtype is not torch.bfloat16 or not _suits(x, weight, bias, 16, inputs):
        return None
    library = native()
    return None if library is None else _run(library, 16, x, weight, None, inputs, bias)


def float32_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor | None:
    """``x @ weight.T + bias`` in float32, for a large weight; ``None`` where the kernel does not suit.

    Args:
        x: (..., I). weight: (O, I). bias: (O,) or ``None``; all float32.
    """
    inputs = weight.shape[1]
    if weight.dtype is not torch.float32 or x.dtype is not torch.float32 or weight.numel() < _WORTH_A_CALL:
        return None
    if not _suits(x, weight, bias, 32, inputs):
        return None
    library = native()
    return None if library is None else _run(library, 32, x, weight, None, inputs, bias)


def coded_product(x: Tensor, weight: Codes, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` with the weight that the codes stand for.

    Args:
        x: (..., I), any float dtype. bias: (O,) of that dtype, or ``None``.

    Returns:
        (..., O) in the dtype of ``x``. Without the kernel the weight is written out in parts and multiplied by torch.
    """
    whole = weight.group % _CHUNK == 0 and weight.scales.stride(-1) == 1
    if whole and _suits(x, weight.codes, bias, weight.bits, weight.inputs):
        library = native()
        if library is not None:
            return _run(library, weight.bits, x, weight.codes, weight.scales, weight.group, bias)
    return written_out_product(x, weight, bias)


def written_out_product(x: Tensor, weight: Codes, bias: Tensor | None = None) -> Tensor:
    """What ``coded_product`` gives, by torch alone and with gradients for ``x``: its twin."""
    outputs = weight.codes.shape[0]
    step = max(1, _WEIGHTS_AT_ONCE // max(1, weight.inputs))
    parts = []
    for begin in range(0, outputs, step):
        end = min(begin + step, outputs)
        part = weight.rows(begin, end).weight(x.dtype)
        parts.append(dense_product(x, part, None if bias is None else bias[begin:end]))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def _run(
    library: ctypes.CDLL, bits: int, x: Tensor, weight: Tensor, scales: Tensor | None, group: int, bias: Tensor | None
) -> Tensor:
    inputs, outputs = x.shape[-1], weight.shape[0]
    flat = x.reshape(-1, inputs)
    if flat.stride(1) != 1:
        flat = flat.contiguous()
    out = torch.empty((*x.shape[:-1], outputs), dtype=x.dtype)
    stride = weight.stride(0) * weight.element_size()
    library.antiphon_product(
        _WEIGHT_KINDS[bits],
        flat.data_ptr(),
        flat.stride(0),
        _KINDS[x.dtype],
        flat.shape[0],
        weight.data_ptr(),
        stride,
        None if scales is None else scales.data_ptr(),
        0 if scales is None else scales.stride(0),
        group,
        inputs,
        outputs,
        None if bias is None else bias.data_ptr(),
        out.data_ptr(),
        max(1, min(torch.get_num_threads(), stride * outputs // _BYTES_A_THREAD)),
    )
    return out
