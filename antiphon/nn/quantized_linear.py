"""A linear layer whose weight is kept in 4 or 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.nn.native.products import Codes, coded_product
from antiphon.nn.rounding import check_grid, rounded


class QuantizedLinear(nn.Module):
    """``x @ weight.T + bias`` with a weight of small integers, one scale for each group of inputs.

    A weight is ``scale * (code - 8)`` with 4 bits and ``scale * (code - 128)`` with 8. Inputs and outputs stay in their
    floating dtype and are not rounded. There is nothing to train here; gradients pass through to the input.

    Args:
        in_features: I. out_features: O. bits: 4 or 8.
        group_size: inputs that share a scale; the last group may be shorter.
        bias: whether there is a bias. dtype: of the bias, and of ``weight``.

    Attributes:
        codes: uint8 (O, I) for 8 bits, (O, ceil(I / 2)) for 4 with the first of two inputs in the low half.
        scales: bfloat16 (O, ceil(I / group_size)), whatever the module is cast to. bias: (O,) or ``None``.

    Raises:
        ParamError: another number of bits, or a group of less than one input.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bits: int,
        group_size: int = 64,
        bias: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_grid(bits, group_size)
        self.in_features, self.out_features = in_features, out_features
        self.bits, self.group_size = bits, group_size
        self.dtype = dtype or torch.get_default_dtype()
        groups = -(-in_features // group_size)
        bytes_a_row = in_features if bits == 8 else -(-in_features // 2)
        self.codes: Tensor
        self.scales: Tensor
        self.bias: Tensor | None
        self.register_buffer("codes", torch.empty(out_features, bytes_a_row, dtype=torch.uint8, device=device))
        self.register_buffer("scales", torch.empty(out_features, groups, dtype=torch.bfloat16, device=device))
        self.register_buffer("bias", torch.empty(out_features, dtype=self.dtype, device=device) if bias else None)

    @classmethod
    def of(
        cls, layer: nn.Linear | Tensor, bias: Tensor | None = None, *, bits: int, group_size: int = 64
    ) -> QuantizedLinear:
        """The layer nearest to a linear layer, or to a weight (O, I) and its bias."""
        if isinstance(layer, nn.Linear):
            bias = layer.bias
        weight = (layer.weight if isinstance(layer, nn.Linear) else layer).detach()
        made = cls(
            weight.shape[1],
            weight.shape[0],
            bits=bits,
            group_size=group_size,
            bias=bias is not None,
            dtype=weight.dtype,
            device="meta",
        )
        codes, made.scales = rounded(weight, bits, group_size)
        made.codes = packed(codes, bits)
        made.bias = None if bias is None else bias.detach()
        return made

    @property
    def stored(self) -> Codes:
        """The weight as the products take it."""
        return Codes(self.codes, self.scales, self.bits, self.group_size, self.in_features)

    @property
    def weight(self) -> Tensor:
        """(O, I) in ``dtype``: the weight that the codes stand for, written out anew at every access."""
        return self.stored.weight(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) to (..., O), in the dtype of ``x``."""
        bias = self.bias
        return coded_product(x, self.stored, bias if bias is None else bias.to(x.dtype))

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> QuantizedLinear:
        # a cast of the model is about what it computes with, not about the scales: float16 could not hold them
        scales = self.scales
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=scales.device)).dtype
        super()._apply(fn, *args, **kwargs)
        if self.scales.dtype is not scales.dtype:
            self.scales = scales.to(self.scales.device)
        return self

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}, "
            f"group_size={self.group_size}, bias={self.bias is not None}"
        )


def packed(codes: Tensor, bits: int) -> Tensor:
    """Codes (O, I) uint8 as a layer stores them: with 4 bits two a byte, the first of two inputs in the low half."""
    if bits == 8:
        return codes
    if codes.shape[1] % 2:
        codes = torch.nn.functional.pad(codes, (0, 1))
    return codes[:, 0::2] | (codes[:, 1::2] << 4)
