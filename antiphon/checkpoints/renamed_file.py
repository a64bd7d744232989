"""A file of weights under other names: some of its tensors, whole or a part of their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from antiphon.checkpoints.destinations import TensorInfo, check_fit, empty
from antiphon.errors import CheckpointError

if TYPE_CHECKING:
    from antiphon.checkpoints.store import WeightFile


@dataclass(frozen=True, slots=True)
class Piece:
    """A stored tensor, or the part with the number ``part`` of the ``of`` equal parts that its rows fall into."""

    name: str
    part: int = 0
    of: int = 1

    def out(self, whole: torch.Tensor) -> torch.Tensor:
        """The piece of the whole tensor, as a view."""
        return whole.chunk(self.of)[self.part] if self.of > 1 else whole


class RenamedFile:
    """The tensors of ``file`` under the names that ``pieces`` gives them; it closes the file.

    Raises:
        CheckpointError: rows that cannot be divided as a piece says.
    """

    def __init__(self, file: WeightFile, pieces: Mapping[str, Piece]) -> None:
        self._file = file
        self._pieces = dict(pieces)
        self.path = file.path
        self.metadata = file.metadata
        self.infos = {name: self._info(piece) for name, piece in self._pieces.items()}

    def _info(self, piece: Piece) -> TensorInfo:
        whole = self._file.infos[piece.name]
        if piece.of == 1:
            return whole
        if not whole.shape or whole.shape[0] % piece.of:
            raise CheckpointError(
                f"{self.path}: the tensor {piece.name!r} has the shape {list(whole.shape)}",
                expected=f"{piece.of} parts of equal size, one behind the other",
            )
        return TensorInfo((whole.shape[0] // piece.of, *whole.shape[1:]), whole.dtype)

    def read(self, name: str) -> torch.Tensor:
        """A tensor in memory of its own."""
        target = empty(self.infos[name].shape, self.infos[name].dtype)
        self.read_into({name: target})
        return target

    def read_into(self, targets: Mapping[str, torch.Tensor]) -> None:
        """Fills the targets, casting among the floating point types; a tensor in parts is read once for all of them."""
        whole: dict[str, torch.Tensor] = {}
        parted: dict[str, list[tuple[Piece, torch.Tensor]]] = {}
        for name, target in targets.items():
            piece = self._pieces[name]
            check_fit(name, self.infos[name], target, self.path)
            if piece.of == 1:
                whole[piece.name] = target
            else:
                parted.setdefault(piece.name, []).append((piece, target))
        self._file.read_into(whole)
        for stored, wanted in parted.items():
            tensor = self._file.read(stored)
            with torch.no_grad():
                for piece, target in wanted:
                    target.copy_(piece.out(tensor))

    def mapped(self, names: Sequence[str]) -> dict[str, torch.Tensor]:
        """Those of the tensors that can be seen without being read, as views."""
        views = self._file.mapped(sorted({self._pieces[name].name for name in names}))
        pieces = {name: self._pieces[name] for name in names}
        return {name: piece.out(views[piece.name]) for name, piece in pieces.items() if piece.name in views}

    def close(self) -> None:
        """Closes the file; safe to call twice."""
        self._file.close()
