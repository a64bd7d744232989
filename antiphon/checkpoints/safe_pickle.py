"""Pickles of weights (``.bin``, ``.pt``, ``.th``): read as data, never run as a program."""

from __future__ import annotations

import mmap
import os
import re
import warnings
import weakref
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from antiphon.checkpoints.destinations import TensorInfo, check_fit, empty
from antiphon.checkpoints.file_kinds import SNIFF_BYTES, kind_of
from antiphon.checkpoints.safetensors_file import open_regular
from antiphon.errors import CheckpointError

_CONVERT = "Convert it to safetensors on a machine where you trust it, or use the checkpoint's safetensors files"
_FOREIGN = re.compile(r"GLOBAL ([\w.]+)")

Pick = Callable[[Any], Mapping[str, Any]]


class PickleFile:
    """The tensors of one pickle; zip archives are mapped while it is open, so that only what is asked for is read.

    What is handed out is always a copy, so the file may change after ``close``. While it is open it must not be cut
    short in place (the size is checked before each read); replacing it is harmless.

    Args:
        path: the file.
        pick: takes the content and gives the mapping of names to tensors; without it the content is that mapping.
        allow: classes that may be rebuilt besides tensors and plain containers, such as ``argparse.Namespace``.

    Raises:
        CheckpointError: the file is missing, damaged, not safe to read, or declares more than it can hold.
    """

    def __init__(self, path: Path, *, pick: Pick | None = None, allow: Sequence[Any] = ()) -> None:
        self.path = path
        self._fd = open_regular(path)
        self._closer = weakref.finalize(self, os.close, self._fd)
        try:
            self._size_bytes = os.fstat(self._fd).st_size
            self._mapped = _check_archive(self._fd, path, self._size_bytes)
            self.content: Any = _load(path, mapped=self._mapped, allow=allow)
            self._tensors = _tensors(self.content if pick is None else pick(self.content), path, self._size_bytes)
        except BaseException:
            self._closer()
            raise
        self.metadata: dict[str, str] = {}
        self.infos = {name: TensorInfo(tuple(t.shape), t.dtype) for name, t in self._tensors.items()}

    def read(self, name: str) -> torch.Tensor:
        """A tensor in memory of its own."""
        info = self.infos[name]
        tensor = empty(info.shape, info.dtype)
        self.read_into({name: tensor})
        return tensor

    def read_into(self, targets: Mapping[str, torch.Tensor]) -> None:
        """Fills the targets, casting among the floating point types."""
        if not self._closer.alive:
            raise CheckpointError(f"{self.path} was closed", fix="Open it again")
        for name, target in targets.items():
            check_fit(name, self.infos[name], target, self.path)
            if self._mapped and os.fstat(self._fd).st_size < self._size_bytes:
                raise CheckpointError(f"{self.path} was cut short while it was being read", fix="Fetch the file again")
            with torch.no_grad():
                target.copy_(self._tensors[name])

    def mapped(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """None of them: a program that wrote a pickle may have stored views of views, which only a copy makes plain."""
        return {}

    def views(self) -> dict[str, torch.Tensor]:
        """The tensors as they lie in the file, not copied; to be used while the file is open and nobody cuts it."""
        return dict(self._tensors)

    def close(self) -> None:
        """Lets go of the mapping and closes the file; safe to call twice."""
        self._tensors, self.content = {}, None
        self._closer()


def _load(path: Path, *, mapped: bool, allow: Sequence[Any]) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allow)):
            warnings.simplefilter("ignore")  # about the pickle protocol; whatever matters is raised
            return torch.load(os.fspath(path), weights_only=True, map_location="cpu", mmap=mapped)
    except Exception as error:  # four types and more, none of which names the file
        text = str(error)
        foreign = _FOREIGN.findall(text)
        if foreign or "Weights only load failed" in text or "TorchScript" in text:
            named = f" ({', '.join(sorted(set(foreign))[:5])})" if foreign else ""
            raise CheckpointError(
                f"{path} is not safe to load: it holds more than tensors{named}", expected="tensors only", fix=_CONVERT
            ) from error
        reason = text.splitlines()[0][:200] if text else type(error).__name__
        raise CheckpointError(
            f"{path} is damaged, or no PyTorch checkpoint: {reason}", fix="Fetch the file again"
        ) from error


def _check_archive(fd: int, path: Path, size_bytes: int) -> bool:
    """Whether the file is a zip archive (else the old format); refuses what would grow when it is read."""
    with open(fd, "rb", closefd=False) as file:
        head = file.read(SNIFF_BYTES)
        if not head:
            raise CheckpointError(f"{path} is empty", expected="a PyTorch checkpoint", fix="Fetch the file again")
        if not head.startswith(b"PK\x03\x04"):
            kind = kind_of(head)
            if kind and not head.startswith(b"\x80"):
                raise CheckpointError(f"{path} is {kind[0]}", expected="a PyTorch checkpoint", fix=kind[1])
            with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as content:
                _refuse_buffers(content.find(b"bytearray") >= 0, path)
            return False
        try:
            _check_members(file, path, size_bytes)
        except CheckpointError:
            raise
        except Exception as error:  # damaged archives make zipfile raise nearly anything
            raise CheckpointError(
                f"{path} is a damaged zip archive, perhaps cut short: {error}", fix="Fetch the file again"
            ) from error
    return True


def _check_members(file: BinaryIO, path: Path, size_bytes: int) -> None:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        declared = sum(member.file_size for member in members)
        # torch stores its members uncompressed: together they cannot be larger than the file.
        if declared > size_bytes:
            raise CheckpointError(
                f"{path} declares {declared} bytes of content in a file of {size_bytes}",
                expected="an archive that torch.save wrote, which is not compressed",
            )
        for member in members:
            if member.filename.endswith(".pkl"):
                _refuse_buffers(b"bytearray" in archive.read(member), path)


def _refuse_buffers(found: bool, path: Path) -> None:
    """A pickle of 30 bytes may call ``bytearray`` with any size, and torch lets it; weights never need one."""
    if found:
        raise CheckpointError(
            f"{path} is not safe to load: it asks for raw buffers (bytearray)", expected="tensors only", fix=_CONVERT
        )


def _tensors(content: Any, path: Path, size_bytes: int) -> dict[str, torch.Tensor]:
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path} holds a {type(content).__name__}", expected="a dict of names and tensors")
    strange = [
        str(name) for name, value in content.items() if not (isinstance(name, str) and isinstance(value, torch.Tensor))
    ]
    if strange:
        raise CheckpointError(
            f"{path} holds {len(strange)} entries that are not tensors: {', '.join(strange[:5])}",
            expected="a dict of names and tensors",
        )
    for name, tensor in content.items():
        if tensor.is_meta or tensor.layout != torch.strided:
            raise CheckpointError(f"{path}: the tensor {name!r} is {tensor.layout}", expected="a dense tensor")
        if tensor.numel() * tensor.element_size() > size_bytes:
            raise CheckpointError(
                f"{path}: the tensor {name!r} claims {tensor.numel() * tensor.element_size()} bytes "
                f"in a file of {size_bytes}",
                expected="a tensor that is stored in full",
            )
    return {name: tensor.detach() for name, tensor in content.items()}
