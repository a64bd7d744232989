"""One safetensors file: its header checked by the library, its tensors read, or seen through a mapping of the file."""

from __future__ import annotations

import json
import os
import stat
import struct
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from antiphon.checkpoints.destinations import TensorInfo, check_fit, empty, is_plain, memory_of
from antiphon.checkpoints.direct_read import Span, read_exactly, read_spans
from antiphon.checkpoints.file_kinds import SNIFF_BYTES, kind_of
from antiphon.checkpoints.residency import map_file
from antiphon.checkpoints.weight_files import how_to_fetch
from antiphon.errors import CheckpointError

_HEADER_LIMIT_BYTES = 100_000_000  # the format's own limit
_FETCH = "Fetch the file again"
_DTYPE_NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}


class SafetensorsFile:
    """The tensors of one file; the file stays open, and the same file, until ``close``.

    Raises:
        CheckpointError: the file is missing, damaged, names a tensor twice, or is something else (then it says what).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = open_regular(path)
        self._closer = weakref.finalize(self, os.close, self._fd)
        try:
            self._body, header = _read_header(self._fd, path)
            metadata = header.pop("__metadata__", None) or {}
            self.metadata: dict[str, str] = dict(metadata)
            self.infos: dict[str, TensorInfo] = {name: _info(name, entry, path) for name, entry in header.items()}
            self._offsets = {name: self._body + int(entry["data_offsets"][0]) for name, entry in header.items()}
        except BaseException:
            self._closer()
            raise

    def read(self, name: str) -> torch.Tensor:
        """A tensor in memory of its own."""
        info = self.infos[name]
        tensor = empty(info.shape, info.dtype)
        self.read_into({name: tensor})
        return tensor

    def read_into(self, targets: Mapping[str, torch.Tensor]) -> None:
        """Fills the targets; those that are not plain CPU memory are copied to one by one."""
        if not self._closer.alive:
            raise CheckpointError(f"{self.path} was closed", fix="Open it again")
        for name, target in targets.items():
            check_fit(name, self.infos[name], target, self.path)
        plain = {name: target for name, target in targets.items() if is_plain(target)}
        spans = [
            Span(self._offsets[name], memory_of(target), self.infos[name].dtype, target.dtype)
            for name, target in plain.items()
        ]
        read_spans(self._fd, spans, self.path)
        for name, target in targets.items():
            if name not in plain:
                with torch.no_grad():
                    target.copy_(self.read(name))

    def mapped(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """The named tensors as views of one private mapping of the file, nothing read yet.

        What is written to them stays in this process. Cutting the file short while a view lives ends the process.
        Tensors that do not lie on a multiple of their item size are left out.
        """
        data = map_file(self._fd)
        views = {}
        for name in names:
            info, start = self.infos[name], self._offsets[name]
            if info.numel and start % info.dtype.itemsize == 0:
                views[name] = data[start : start + info.nbytes].view(info.dtype).view(info.shape)
        return views

    def close(self) -> None:
        """Closes the file; safe to call twice."""
        self._closer()


def open_regular(path: Path) -> int:
    """A file descriptor of a regular file, for reading; never waits on a pipe."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError(f"{path} is not a regular file", expected="a file of weights")
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing", fix=how_to_fetch(path.parent)) from None
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be opened: {error}") from error


def _read_header(fd: int, path: Path) -> tuple[int, dict[str, Any]]:
    """Where the data begins, and the header as a dict, after every check."""
    length = _checked_length(fd, path)
    _validate(fd, path)
    raw = bytearray(length)
    read_exactly(fd, memoryview(raw), 8, path)
    doubled: list[str] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        obj = dict(pairs)
        if len(obj) != len(pairs):
            seen: set[str] = set()
            doubled.extend(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        return obj

    try:
        header: dict[str, Any] = json.loads(raw, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # fields that the library skips may hold what Python cannot read
        raise CheckpointError(f"{path} is damaged: its header cannot be read: {error}", fix=_FETCH) from error
    if doubled:
        raise CheckpointError(
            f"{path}: the header names {len(doubled)} key(s) twice: {', '.join(doubled[:5])}", fix=_FETCH
        )
    return 8 + length, header


def _checked_length(fd: int, path: Path) -> int:
    """The length of the header; the first bytes are looked at so that the error can say what the file really is."""
    size = os.fstat(fd).st_size
    head = bytearray(min(SNIFF_BYTES, size))
    read_exactly(fd, memoryview(head), 0, path)
    length = struct.unpack_from("<Q", head)[0] if size >= 8 else 0
    # A sound file may begin with any two bytes, gzip's and pickle's too: look for others only if it cannot be one.
    if size > 8 and 2 <= length <= min(size - 8, _HEADER_LIMIT_BYTES) and head[8] == ord("{"):
        return int(length)
    kind = kind_of(bytes(head))
    if kind:
        raise CheckpointError(f"{path} is {kind[0]}", expected="a safetensors file", fix=kind[1])
    if size < 8:
        raise CheckpointError(f"{path} has {size} bytes", expected="a safetensors file", fix=_FETCH)
    if length > _HEADER_LIMIT_BYTES:
        raise CheckpointError(
            f"{path} announces a header of {length} bytes",
            expected=f"a safetensors file, whose header has at most {_HEADER_LIMIT_BYTES}",
            fix=_FETCH,
        )
    if length > size - 8:
        raise CheckpointError(
            f"{path} has {size} bytes and announces a header of {length}: it was cut short, or is no safetensors file",
            fix=_FETCH,
        )
    raise CheckpointError(f"{path} is no safetensors file: no header of JSON at byte 8", fix=_FETCH)


def _validate(fd: int, path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="np"):  # maps the file, reads the header only
            pass
        now = os.stat(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error}", expected="a complete safetensors file", fix=_FETCH
        ) from error
    ours = os.fstat(fd)
    if (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino):
        raise CheckpointError(f"{path} was replaced while it was being opened", fix="Open it again")


def _info(name: str, entry: dict[str, Any], path: Path) -> TensorInfo:
    dtype = getattr(torch, _DTYPE_NAMES.get(entry["dtype"], ""), None)
    if not isinstance(dtype, torch.dtype):
        raise CheckpointError(
            f"{path}: the tensor {name!r} is stored as {entry['dtype']}", expected=f"one of {', '.join(_DTYPE_NAMES)}"
        )
    return TensorInfo(tuple(entry["shape"]), dtype)
