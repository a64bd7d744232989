"""Destinations: the tensors that stored weights are read into, and which stored tensors fit them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from antiphon.errors import CheckpointError, ParamError

_FLOATS = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16})
_ALIGN_BYTES = 64


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Shape and dtype of a stored tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize


def empty(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """An uninitialised CPU tensor whose memory fills fast: NumPy asks the kernel for huge pages, torch does not.

    The memory starts on a multiple of 64 bytes and belongs to the tensor alone; its storage cannot be resized.
    """
    count = 1
    for size in shape:
        count *= size
    nbytes = count * dtype.itemsize
    if nbytes == 0:
        return torch.empty(tuple(shape), dtype=dtype)
    # NumPy aligns to 16 bytes only; a cache line is 64, and rows that straddle lines slow the matrix products.
    block = np.empty(nbytes + _ALIGN_BYTES, dtype=np.uint8)
    start = -block.ctypes.data % _ALIGN_BYTES
    return torch.from_numpy(block[start : start + nbytes]).view(dtype).view(tuple(shape))


def check_fit(name: str, info: TensorInfo, target: torch.Tensor, path: Path) -> None:
    """Refuses a target that the stored tensor cannot be read into.

    Raises:
        CheckpointError: the shapes differ, or the dtypes differ and are not both among float64, float32, float16 and
            bfloat16.
        ParamError: the target holds no memory (device ``meta``).
    """
    if target.is_meta:
        raise ParamError(f"the target of {name!r} is on the device 'meta'", expected="a tensor that has memory")
    if tuple(target.shape) != info.shape:
        raise CheckpointError(
            f"{path}: the tensor {name!r} has the shape {list(info.shape)}", expected=f"{list(target.shape)}"
        )
    if info.dtype != target.dtype and not (info.dtype in _FLOATS and target.dtype in _FLOATS):
        raise CheckpointError(
            f"{path}: the tensor {name!r} is stored as {_short(info.dtype)}",
            expected=f"{_short(target.dtype)}, or another floating point type if that is one"
            if target.dtype in _FLOATS
            else _short(target.dtype),
            fix="Convert the checkpoint first; only float64, float32, float16 and bfloat16 are cast among each other",
        )


def is_plain(target: torch.Tensor) -> bool:
    """Whether the elements lie one after the other in main memory, so that bytes can be written straight into them."""
    return (
        target.device.type == "cpu"
        and target.layout == torch.strided
        and target.is_contiguous()
        and not (target.is_conj() or target.is_neg())
    )


def memory_of(target: torch.Tensor) -> memoryview:
    """The bytes of a plain tensor, writable; valid as long as the tensor lives."""
    nbytes = target.numel() * target.element_size()
    if nbytes == 0:
        return memoryview(b"")
    return memoryview((ctypes.c_ubyte * nbytes).from_address(target.data_ptr())).cast("B")


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
