"""Attention of one query column a row over a cache, and eight-bit columns: kernels' calls, and torch alone."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.nn.native.library import native

# Width of a head: a multiple of the first, up to the second.
_LANES, _MOST_WIDTH = 16, 256

# The kernel's numbers for kinds of tensors and masks; see lanes.h and attention.cpp.
_KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}
_NO_MASK, _ALLOWED, _ADDED = 0, 1, 2

# Bytes of keys and values below which waking a second thread costs more than it saves.
_BYTES_A_THREAD = 1 << 16

_LARGEST = 127


@dataclass(frozen=True, slots=True)
class Stored:
    """Keys and values (B, H, S, D) as a cache holds them.

    Attributes:
        keys, values: floats, or int8. key_scales, value_scales: float32 (B, H, S) for int8, else ``None``.
    """

    keys: Tensor
    values: Tensor
    key_scales: Tensor | None = None
    value_scales: Tensor | None = None

    def floats(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Keys and values as numbers of ``dtype``; the stored tensors themselves where they are so already."""
        return restored_columns(self.keys, self.key_scales, dtype), restored_columns(
            self.values, self.value_scales, dtype
        )


def restored_columns(columns: Tensor, scales: Tensor | None, dtype: torch.dtype) -> Tensor:
    """(B, H, S, D) in ``dtype`` from stored columns."""
    return columns.to(dtype) if scales is None else (columns.float() * scales[..., None]).to(dtype)


def store_columns(columns: Tensor, codes: Tensor, scales: Tensor) -> None:
    """Writes columns as int8 with a scale each, in place.

    A column's largest magnitude is 127 times its scale. A column with a number that is not finite comes back as NaN.

    Args:
        columns: (B, H, T, D), any float dtype. codes: int8 (B, H, T, D). scales: float32 (B, H, T).
    """
    columns = columns.detach()
    library = native() if columns.device.type == "cpu" and columns.dtype in _KINDS else None
    if library is None or columns.stride(3) != 1 or codes.stride(3) != 1 or torch.compiler.is_compiling():
        _store_columns_by_torch(columns, codes, scales)
        return
    strides = ctypes.c_int64 * 3
    library.antiphon_store(
        columns.data_ptr(),
        _KINDS[columns.dtype],
        strides(*columns.stride()[:3]),
        codes.data_ptr(),
        strides(*codes.stride()[:3]),
        scales.data_ptr(),
        strides(*scales.stride()),
        (ctypes.c_int64 * 4)(*columns.shape),
    )


def _store_columns_by_torch(columns: Tensor, codes: Tensor, scales: Tensor) -> None:
    numbers = columns.float()
    scale = numbers.abs().amax(dim=-1) / _LARGEST
    fit = (scale > 0) & scale.isfinite()
    codes.copy_(torch.where(fit[..., None], numbers / scale[..., None], 0.0).round_())
    scales.copy_(scale)


class _Columns(ctypes.Structure):
    _fields_ = (
        ("numbers", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("strides", ctypes.c_int64 * 3),
        ("scale_strides", ctypes.c_int64 * 2),
    )

    @staticmethod
    def of(columns: Tensor, scales: Tensor | None) -> _Columns:
        batch, head, slot, _ = columns.stride()
        apart = (0, 0) if scales is None else scales.stride()[:2]
        return _Columns(columns.data_ptr(), None if scales is None else scales.data_ptr(), (batch, head, slot), apart)


class _Attention(ctypes.Structure):
    _fields_ = (
        ("query", ctypes.c_void_p),
        ("keys", _Columns),
        ("values", _Columns),
        ("mask", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("query_strides", ctypes.c_int64 * 2),
        ("mask_strides", ctypes.c_int64 * 3),
        ("batch", ctypes.c_int64),
        ("heads", ctypes.c_int64),
        ("groups", ctypes.c_int64),
        ("slots", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("out_stride", ctypes.c_int64),
        ("scale", ctypes.c_float),
        ("kind", ctypes.c_int32),
        ("mask_kind", ctypes.c_int32),
    )


def attended(query: Tensor, stored: Stored, mask: Tensor | None, scale: float) -> Tensor:
    """``softmax(query @ keys.T * scale) @ values`` for one column a row, the softmax in float32.

    Args:
        query: (B, H, 1, D). stored: of the same rows, over S slots and a divisor of H heads.
        mask: bool (``True``: look) or float (added), broadcastable to (B, H, 1, S).

    Returns:
        (B, H, 1, D) in the dtype of ``query``. Where the kernel does not suit, torch computes it from the floats.
    """
    library = native() if _suits(query, stored) else None
    if library is None:
        keys, values = stored.floats(query.dtype)
        return F.scaled_dot_product_attention(
            query, keys, values, mask, scale=scale, enable_gqa=keys.shape[1] != query.shape[1]
        )
    batch, heads, _, width = query.shape
    slots = stored.keys.shape[2]
    out = torch.empty((batch, 1, heads, width), dtype=query.dtype)
    mask_kind, mask_strides = _NO_MASK, (0, 0, 0)
    if mask is not None:
        mask_kind = _ALLOWED if mask.dtype is torch.bool else _ADDED
        mask = (mask if mask_kind == _ALLOWED else mask.float()).expand(batch, heads, 1, slots)
        by_row, by_head, _, by_slot = mask.stride()
        mask_strides = (by_row, by_head, by_slot)
    task = _Attention(
        query.data_ptr(),
        _Columns.of(stored.keys, stored.key_scales),
        _Columns.of(stored.values, stored.value_scales),
        None if mask is None else mask.data_ptr(),
        out.data_ptr(),
        query.stride()[:2],
        mask_strides,
        batch,
        heads,
        heads // stored.keys.shape[1],
        slots,
        width,
        heads * width,
        scale,
        _KINDS[query.dtype],
        mask_kind,
    )
    read = 2 * stored.keys.numel() * stored.keys.element_size()
    threads = max(1, min(torch.get_num_threads(), batch * heads, read // _BYTES_A_THREAD))
    library.antiphon_attend(ctypes.byref(task), _KINDS[stored.keys.dtype], threads)
    return out.transpose(1, 2)


def _suits(query: Tensor, stored: Stored) -> bool:
    """Whether the kernel can take this query."""
    keys, values = stored.keys, stored.values
    return (
        query.device.type == "cpu"
        and query.dtype in (torch.float32, torch.bfloat16)
        and keys.device.type == values.device.type == "cpu"
        and keys.dtype in _KINDS
        and query.dim() == 4
        and query.shape[2] == 1
        and query.shape[3] % _LANES == 0
        and 0 < query.shape[3] <= _MOST_WIDTH
        and keys.shape[0] == query.shape[0]
        and keys.shape[2] > 0
        and keys.shape == values.shape
        and query.stride(3) == keys.stride(3) == values.stride(3) == 1
        and not (torch.is_grad_enabled() and (query.requires_grad or keys.requires_grad or values.requires_grad))
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
