"""A file of weights in another layout: each of its tensors made from tensors that are stored, when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from antiphon.checkpoints.destinations import TensorInfo, check_fit, empty
from antiphon.checkpoints.keys import KeyTable
from antiphon.errors import CheckpointError

if TYPE_CHECKING:
    from antiphon.checkpoints.store import WeightFile

Surgery = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@dataclass(frozen=True)
class Bond:
    """Tensors of theirs and tensors of ours that say the same, and the way from each side to the other.

    Attributes:
        theirs, ours: names, in the order in which the surgeries take and give tensors. apart: theirs to ours; together:
            ours to theirs. Both work on ``meta`` tensors, which tell shapes, and raise ``RuntimeError`` or
            ``ValueError`` for shapes that cannot be.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    apart: Surgery
    together: Surgery


@dataclass(frozen=True)
class Making:
    """How one tensor is made: the one with the number ``at`` of those that ``surgery`` gives for the sources."""

    sources: tuple[str, ...]
    info: TensorInfo
    surgery: Surgery | None = None
    at: int = 0

    def __call__(self, tensors: Sequence[Tensor]) -> Tensor:
        """The tensor, perhaps a view of a source."""
        return tensors[0] if self.surgery is None else self.surgery(tensors)[self.at]


class Layout:
    """Two layouts of one model: bonds for what differs in more than its name, a table for the names of the rest."""

    def __init__(self, table: KeyTable, bonds: Iterable[Bond]) -> None:
        self._table = table
        self._bonds = list(bonds)

    def ours(self, theirs: Mapping[str, TensorInfo]) -> dict[str, Making]:
        """How each of our tensors is made from theirs; those whose sources are not all there are left out.

        Raises:
            CheckpointError: tensors of shapes that do not go together, by name.
        """
        return _plan(theirs, [(b.theirs, b.ours, b.apart) for b in self._bonds], self._table.ours)

    def theirs(self, ours: Mapping[str, TensorInfo]) -> dict[str, Making]:
        """How each of their tensors is made from ours: the way back of ``ours``.

        Raises:
            CheckpointError: as ``ours``.
        """
        return _plan(ours, [(b.ours, b.theirs, b.together) for b in self._bonds], self._table.theirs)


def _plan(
    have: Mapping[str, TensorInfo],
    bonds: Iterable[tuple[tuple[str, ...], tuple[str, ...], Surgery]],
    rename: Callable[[str], str],
) -> dict[str, Making]:
    plan: dict[str, Making] = {}
    bound: set[str] = set()
    for sources, names, surgery in bonds:
        bound.update(sources)
        if all(name in have for name in sources):
            shapes = _shapes([have[name] for name in sources], surgery, sources)
            for at, (name, shape) in enumerate(zip(names, shapes, strict=True)):
                plan[name] = Making(sources, TensorInfo(shape, have[sources[0]].dtype), surgery, at)
    for name, info in have.items():
        if name not in bound:
            plan[rename(name)] = Making((name,), info)
    return plan


def _shapes(infos: Sequence[TensorInfo], surgery: Surgery, names: Sequence[str]) -> list[tuple[int, ...]]:
    try:
        made = surgery([torch.empty(info.shape, dtype=info.dtype, device="meta") for info in infos])
    except (RuntimeError, ValueError) as error:
        shown = ", ".join(f"{name} {list(info.shape)}" for name, info in list(zip(names, infos, strict=True))[:4])
        raise CheckpointError(
            f"these tensors have shapes that do not go together: {shown}",
            expected="the sizes that the configuration says",
            fix="Check that configuration and weights belong together",
        ) from error
    return [tuple(tensor.shape) for tensor in made]


class RebuiltFile:
    """The tensors that ``plan`` makes of those of ``file``; it closes the file."""

    def __init__(self, file: WeightFile, plan: Mapping[str, Making]) -> None:
        self._file = file
        self._plan = dict(plan)
        self.path = file.path
        self.metadata = file.metadata
        self.infos = {name: making.info for name, making in self._plan.items()}

    def read(self, name: str) -> Tensor:
        """A tensor in memory of its own."""
        target = empty(self.infos[name].shape, self.infos[name].dtype)
        self.read_into({name: target})
        return target

    def read_into(self, targets: Mapping[str, Tensor]) -> None:
        """Fills the targets, casting among the floating point types; sources are read once for all that needs them."""
        whole: dict[str, Tensor] = {}
        made: dict[tuple[tuple[str, ...], torch.dtype], list[str]] = {}
        for name, target in targets.items():
            making = self._plan[name]
            check_fit(name, making.info, target, self.path)
            if making.surgery is None:
                whole[making.sources[0]] = target
            else:
                made.setdefault((making.sources, target.dtype), []).append(name)
        self._file.read_into(whole)
        for (sources, dtype), names in made.items():
            tensors = [empty(self._file.infos[source].shape, dtype) for source in sources]
            self._file.read_into(dict(zip(sources, tensors, strict=True)))
            with torch.no_grad():
                for name in names:
                    targets[name].copy_(self._plan[name](tensors))

    def mapped(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Those of the tensors that lie in the file as they are, as views."""
        alone = {name: making for name in names if len((making := self._plan[name]).sources) == 1}
        views = self._file.mapped(sorted({making.sources[0] for making in alone.values()}))
        found = {}
        for name, making in alone.items():
            if (source := views.get(making.sources[0])) is not None:
                tensor = making([source])
                same = tensor.untyped_storage().data_ptr() == source.untyped_storage().data_ptr()
                if same and tensor.is_contiguous():
                    found[name] = tensor
        return found

    def close(self) -> None:
        """Closes the file; safe to call twice."""
        self._file.close()
