"""The weights that a file of kyutai's means: those in 8 bits widened, an adapter's products added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from antiphon.checkpoints.destinations import TensorInfo, check_fit, empty
from antiphon.errors import CheckpointError

if TYPE_CHECKING:
    from antiphon.checkpoints.store import WeightFile

_SCALE, _CODE_RANGE = "_scb", 127
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


class MeantWeights:
    """The tensors of ``file`` as floating point weights, with what an adapter adds to them.

    A weight that is stored as int8 codes with one scale for each of its rows is presented in the dtype of the other
    tensors, and computed in that of its target. An adapter adds ``scaling * up @ down`` to a weight; its other tensors
    stand in the place of those of their name. Both files are closed with this one.

    Args:
        file: in the newer spelling of names. adapter: the same, of LoRA. rank: that the adapter must have.
            scaling: of its products.

    Raises:
        CheckpointError: codes without scales, or an adapter for another model.

    Source: the layouts that kyutai's ``moshi`` 0.2.13 writes (``utils/quantize.py``, ``modules/lora.py``).
    """

    def __init__(
        self, file: WeightFile, adapter: WeightFile | None = None, *, rank: int = 0, scaling: float = 1.0
    ) -> None:
        self._file, self._adapter, self._scaling = file, adapter, scaling
        self.path, self.metadata = file.path, file.metadata
        self._scales = {n.removesuffix(_SCALE): n for n in file.infos if n.endswith(_SCALE)}
        floats = (info.dtype for info in file.infos.values() if info.dtype in (torch.bfloat16, torch.float16))
        wide = next(floats, torch.float32)
        self.infos = {
            name: self._checked(name, info, wide) for name, info in file.infos.items() if not name.endswith(_SCALE)
        }
        self._added: set[str] = set()
        self._replaced: set[str] = set()
        if adapter is not None:
            self._attach(adapter, rank)

    def _checked(self, name: str, info: TensorInfo, wide: torch.dtype) -> TensorInfo:
        scale = self._scales.get(name)
        if info.dtype != torch.int8:
            return info
        if scale is None or self._file.infos[scale].shape != info.shape[:1]:
            raise CheckpointError(
                f"{self.path}: {name!r} holds 8-bit codes without a scale for each of its {info.shape[0]} rows",
                expected=f"{name}{_SCALE}",
            )
        return TensorInfo(info.shape, wide)

    def _attach(self, adapter: WeightFile, rank: int) -> None:
        for name, info in adapter.infos.items():
            head = next((name.removesuffix(side) for side in (_DOWN, _UP) if name.endswith(side)), None)
            target = name if head is None else f"{head}.weight"
            wanted = self.infos[target].shape if target in self.infos else None
            if head is not None and wanted is not None:
                wanted = (rank, wanted[1]) if name.endswith(_DOWN) else (wanted[0], rank)
            if wanted is None or info.shape != wanted:
                raise CheckpointError(
                    f"{adapter.path}: {name!r} has the shape {list(info.shape)}",
                    expected=f"{list(wanted)} for {self.path.name}" if wanted else f"an adapter of {self.path.name}",
                    fix="Check lora_rank in the configuration, and that the adapter was made for these weights",
                )
            if head is None:
                self._replaced.add(name)
            elif head + _DOWN not in adapter.infos or head + _UP not in adapter.infos:
                raise CheckpointError(f"{adapter.path}: {name!r} stands alone", expected=f"both {_DOWN} and {_UP}")
            else:
                self._added.add(target)

    def read(self, name: str) -> Tensor:
        """A tensor in memory of its own."""
        target = empty(self.infos[name].shape, self.infos[name].dtype)
        self.read_into({name: target})
        return target

    def read_into(self, targets: Mapping[str, Tensor]) -> None:
        """Fills the targets, casting among the floating point types; what is computed is computed in float32."""
        for name, target in targets.items():
            check_fit(name, self.infos[name], target, self.path)
        plain = {n: t for n, t in targets.items() if n not in self._scales and n not in self._replaced}
        self._file.read_into(plain)
        with torch.no_grad():
            for name in targets.keys() & self._scales.keys():
                scale = self._file.read(self._scales[name]) / _CODE_RANGE
                targets[name].copy_(self._file.read(name).float() * scale[:, None])
            if self._adapter is not None:
                self._adapter.read_into({n: t for n, t in targets.items() if n in self._replaced})
                for name in targets.keys() & self._added:
                    self._add(self._adapter, name, targets[name])

    def _add(self, adapter: WeightFile, name: str, target: Tensor) -> None:
        head = name.removesuffix(".weight")
        product = adapter.read(head + _UP).float() @ adapter.read(head + _DOWN).float()
        target.copy_(target.float() + self._scaling * product)

    def mapped(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Those of the tensors that lie in the file as they are, as views."""
        return self._file.mapped([n for n in names if n not in self._scales.keys() | self._replaced | self._added])

    def close(self) -> None:
        """Closes the files; safe to call twice."""
        self._file.close()
        if self._adapter is not None:
            self._adapter.close()
