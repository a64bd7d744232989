"""Memory of weights that rest: pages seen through a file are given back, and come from the file again when needed.

A mapped weight costs memory once it was used, for as long as the process lives. A part that has had its turn, such as
the text encoder while music is being made, need not keep it: the system has the file in its own cache.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import weakref
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

_DONTNEED = 4
_PRESENT, _OF_FILE = np.uint64(63), np.uint64(61)  # bits of an entry of /proc/self/pagemap


# where the mappings begin and end that weights are seen through now
_mappings: dict[int, int] = {}


def map_file(fd: int) -> Tensor:
    """The bytes of an open file as a uint8 tensor: a private mapping that lives as long as any view of it."""
    whole = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    data = torch.frombuffer(whole, dtype=torch.uint8)
    _mappings[data.data_ptr()] = data.data_ptr() + data.numel()
    weakref.finalize(whole, _mappings.pop, data.data_ptr(), None)
    return data


def give_back(tensors: Iterable[Tensor]) -> int:
    """Gives back the memory of those of the tensors that are unchanged views of a file; returns its bytes.

    Their values stay: the next look at them reads the file again. A page that was written to is no longer the file's
    and is left alone. Does nothing where the system does not tell which pages those are, that is outside Linux.
    """
    mapped = list(_mappings.items())
    if not mapped:
        return 0
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            released = 0
            for start, stop in _whole_pages(tensors):
                if any(low <= start and stop <= high for low, high in mapped):
                    released += _release(pagemap.fileno(), start, stop)
            return released
    except (OSError, AttributeError, ValueError):
        return 0


def _whole_pages(tensors: Iterable[Tensor]) -> Iterator[tuple[int, int]]:
    """The address ranges of the tensors, joined where they touch, cut to whole pages."""
    size = mmap.PAGESIZE
    spans = sorted(
        (t.data_ptr(), t.data_ptr() + t.numel() * t.element_size())
        for t in tensors
        if t.device.type == "cpu" and t.is_contiguous()
    )
    joined: list[list[int]] = []
    for start, stop in spans:
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], stop)
        else:
            joined.append([start, stop])
    for start, stop in joined:
        first, last = -(-start // size) * size, stop // size * size
        if first < last:
            yield first, last


def _release(pagemap: int, start: int, stop: int) -> int:
    size = mmap.PAGESIZE
    count = (stop - start) // size
    entries = np.frombuffer(os.pread(pagemap, count * 8, start // size * 8), dtype=np.uint64)
    clean = ((entries >> _PRESENT) & (entries >> _OF_FILE) & np.uint64(1)).astype(np.int8)
    # runs of clean pages: where the flag rises and where it falls
    edges = np.flatnonzero(np.diff(np.concatenate([[0], clean, [0]])))
    libc = ctypes.CDLL(None, use_errno=True)
    released = 0
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        length = (last - first) * size
        if libc.madvise(ctypes.c_void_p(start + first * size), ctypes.c_size_t(length), _DONTNEED) == 0:
            released += length
    return released
