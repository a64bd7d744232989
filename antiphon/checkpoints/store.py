"""The store: weights of a folder as a mapping that reads a tensor when asked, or all into given memory at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import torch

from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.checkpoints.destinations import TensorInfo, check_fit, empty
from antiphon.checkpoints.safe_pickle import Pick, PickleFile
from antiphon.checkpoints.safetensors_file import SafetensorsFile
from antiphon.checkpoints.weight_files import check_shards, find_weights
from antiphon.checkpoints.weight_writer import write_weights
from antiphon.errors import CheckpointError

__all__ = [
    "TensorInfo",
    "WeightFile",
    "Weights",
    "atomic_write",
    "empty",
    "open_file",
    "open_weights",
    "write_weights",
]

_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".th", ".ckpt"})


class WeightFile(Protocol):
    """One open file of weights."""

    path: Path
    infos: dict[str, TensorInfo]
    metadata: dict[str, str]

    def read(self, name: str) -> torch.Tensor: ...

    def read_into(self, targets: Mapping[str, torch.Tensor]) -> None: ...

    def mapped(self, names: Sequence[str]) -> dict[str, torch.Tensor]: ...

    def close(self) -> None: ...


class Weights(Mapping[str, torch.Tensor]):
    """Named tensors that are read when asked for, each into memory of its own.

    ``weights[name]`` and ``read`` give one tensor; ``read_into`` is the fast way for many. Use it in a ``with`` block,
    or ``close`` it; the files stay the same ones while it is open, even if others take their names.
    """

    def __init__(self, files: Sequence[WeightFile], where: Mapping[str, str] | None = None) -> None:
        self._files = tuple(files)
        self._holder: dict[str, WeightFile] = {}
        for file in self._files:
            for name in file.infos:
                if where is None or name in where:
                    self._holder[name] = file

    @property
    def files(self) -> list[WeightFile]:
        """The files, open."""
        return list(self._files)

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [file.path for file in self._files]

    @property
    def metadata(self) -> dict[str, str]:
        """The text entries of the safetensors headers."""
        return {key: value for file in self._files for key, value in file.metadata.items()}

    def names(self) -> list[str]:
        """The names of the tensors, in the order of the files."""
        return list(self._holder)

    def info(self, name: str) -> TensorInfo:
        """Shape and dtype of a tensor, without reading it.

        Raises:
            CheckpointError: there is no such tensor.
        """
        return self._file(name).infos[name]

    def read(self, name: str) -> torch.Tensor:
        """A tensor as it is stored, on the CPU, in memory of its own.

        Raises:
            CheckpointError: there is no such tensor, or the file cannot be read.
        """
        return self._file(name).read(name)

    def read_into(self, targets: Mapping[str, torch.Tensor]) -> None:
        """Reads the named tensors straight into the given ones, in the order of the files.

        Casts among float64, float32, float16 and bfloat16 on the way; every other dtype must be equal. CPU memory is
        filled with no copy in between (``store.empty`` makes the memory that fills fastest).

        Raises:
            CheckpointError: a name is missing, a shape or dtype does not fit (nothing is read then), or a file ends
                early (the targets are then partly written).
        """
        per_file: dict[int, dict[str, torch.Tensor]] = {}
        missing = [name for name in targets if name not in self._holder]
        if missing:
            raise self._absent(missing)
        for name, target in targets.items():  # all of them, before anything is read
            check_fit(name, self._holder[name].infos[name], target, self._holder[name].path)
        for name, target in targets.items():
            per_file.setdefault(id(self._holder[name]), {})[name] = target
        for file in self._files:
            if id(file) in per_file:
                file.read_into(per_file[id(file)])

    def mapped(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Those of the named tensors that can be seen through a mapping of their file, without being read.

        For files that nobody changes in place: cutting one short while a view lives ends the process.
        """
        views: dict[str, torch.Tensor] = {}
        for file in self._files:
            views |= file.mapped([name for name in names if self._file(name) is file])
        return views

    def close(self) -> None:
        """Closes the files; safe to call twice."""
        for file in self._files:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._holder:
            raise KeyError(name)
        return self.read(name)

    def __contains__(self, name: object) -> bool:
        return name in self._holder

    def __iter__(self) -> Iterator[str]:
        return iter(self._holder)

    def __len__(self) -> int:
        return len(self._holder)

    def _file(self, name: str) -> WeightFile:
        if name not in self._holder:
            raise self._absent([name])
        return self._holder[name]

    def _absent(self, names: list[str]) -> CheckpointError:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        files = ", ".join(path.name for path in self.paths[:2]) + (" ..." if len(self.paths) > 2 else "")
        return CheckpointError(f"{len(names)} tensor(s) are not in {files}: {shown}")


def open_weights(
    folder: str | os.PathLike[str], *, variant: str | None = None, use_safetensors: bool | None = None
) -> Weights:
    """The weights of a checkpoint folder, opened and checked, nothing read yet.

    Looks for ``model.safetensors``, its shards by ``model.safetensors.index.json``, ``pytorch_model.bin``, its shards
    by ``pytorch_model.bin.index.json``, in this order.

    Args:
        folder: the folder.
        variant: a word in the names: ``"fp16"`` for ``model.fp16.safetensors``.
        use_safetensors: ``True`` refuses pickles, ``False`` prefers them.

    Raises:
        CheckpointError: there are no weights, a file is missing, damaged or unsafe, or index and shards disagree.
        ParamError: ``variant`` is no plain word.
    """
    found = find_weights(Path(folder), variant=variant, use_safetensors=use_safetensors)
    files: list[WeightFile] = []
    try:
        for path in found.paths:
            files.append(_open(path))
        if found.where is not None:
            check_shards(found, {file.path.name: file.infos for file in files})
    except BaseException:
        for file in files:
            file.close()
        raise
    return Weights(files, found.where)


def open_file(path: str | os.PathLike[str], *, pick: Pick | None = None, allow: Sequence[Any] = ()) -> Weights:
    """The weights of one file of any name: safetensors, or a pickle by its suffix (.bin .pt .pth .th .ckpt).

    Args:
        path: the file.
        pick: for pickles: takes the content and gives the mapping of names to tensors, as ``lambda c: c["state"]``.
        allow: for pickles: harmless classes that may be rebuilt besides tensors and containers.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or something else than its name says.
    """
    return Weights([_open(Path(path), pick=pick, allow=allow)])


def _open(path: Path, *, pick: Pick | None = None, allow: Sequence[Any] = ()) -> WeightFile:
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        return PickleFile(path, pick=pick, allow=allow)
    return SafetensorsFile(path)
