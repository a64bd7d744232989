"""The states of a run on disk: everything that the next step depends on, whole or not at all."""

from __future__ import annotations

import logging
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.checkpoints.json_files import read_json, write_json
from antiphon.checkpoints.new_folder import new_folder
from antiphon.checkpoints.store import open_weights
from antiphon.checkpoints.weight_writer import write_weights
from antiphon.errors import AntiphonError, CheckpointError
from antiphon.training.sharding import whole

log = logging.getLogger(__name__)

_RECORD = "run.json"
_PREFIX = "step-"
# small enough for any place that files are sent to or kept in
_SHARD_BYTES = 32_000_000


@dataclass
class RunState:
    """A run between two steps.

    Attributes:
        step: steps that have been taken. tensors: by name, ``model.``, ``average.``, ``moment1.``, ``moment2.`` and
            ``extra.`` in front. numbers: counts and figures beside them.
    """

    step: int
    tensors: dict[str, Tensor]
    numbers: dict[str, Any] = field(default_factory=dict)

    def part(self, name: str) -> dict[str, Tensor]:
        """The tensors that begin with ``name`` and a dot, without it."""
        start = f"{name}."
        return {key.removeprefix(start): tensor for key, tensor in self.tensors.items() if key.startswith(start)}


def write_state(folder: Path, state: RunState, *, keep: int) -> Path:
    """Writes a state beside the earlier ones, of which the newest ``keep`` stay, this one counted.

    Raises:
        CheckpointError: it cannot be written; the earlier states stand.
    """
    place = folder / f"{_PREFIX}{state.step:08d}"
    if place.exists():  # of a run that went on from before it
        shutil.rmtree(place)
    with new_folder(place) as part:
        write_weights(part, state.tensors, max_shard_size=_SHARD_BYTES)
        sums = {file.name: _checksum(file) for file in sorted(part.iterdir())}
        write_json(part / _RECORD, {"step": state.step, "numbers": state.numbers, "checksums": sums})
    states = _states(folder)
    here = states.index(place)
    # later ones are of before, and damaged: the run would have gone on from them
    for other in [*states[: max(0, here + 1 - keep)], *states[here + 1 :]]:
        shutil.rmtree(other, ignore_errors=True)
    return place


def remove_unfinished(folder: Path) -> None:
    """Removes what a killed run had written of a state; no other run may be writing here."""
    for rest in folder.glob(f".{_PREFIX}*"):
        log.info("removes %s, a state that was never finished", rest)
        shutil.rmtree(rest, ignore_errors=True)


def newest_state(folder: Path) -> RunState | None:
    """The latest state that is whole; damaged ones are named in a warning and passed over. ``None``: there is none.

    Raises:
        CheckpointError: there are states, and all of them are damaged.
    """
    states = _states(folder)
    for place in reversed(states):
        try:
            return _read(place)
        except (AntiphonError, OSError, KeyError, TypeError, ValueError) as error:
            log.warning("the state %s is damaged and passed over: %s", place, error)
    if states:
        raise CheckpointError(
            f"All {len(states)} states in {folder} are damaged", fix="Begin anew in another folder, or remove them"
        )
    return None


def _states(folder: Path) -> list[Path]:
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdigit()]
    return sorted(found, key=lambda path: int(path.name.removeprefix(_PREFIX)))


def _read(place: Path) -> RunState:
    record = read_json(place / _RECORD)
    for name, checksum in record.get("checksums", {}).items():
        if _checksum(place / name) != checksum:
            raise CheckpointError(f"{name} is not what was written")
    with open_weights(place) as weights:
        tensors = {name: weights[name].clone() for name in weights}
    return RunState(int(record["step"]), tensors, dict(record["numbers"]))


def _checksum(file: Path) -> int:
    found = 0
    with open(file, "rb") as opened:
        while block := opened.read(1 << 20):
            found = zlib.crc32(block, found)
    return found


def put_tensors(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Puts a state's tensors into a model that is not divided, all of them.

    Raises:
        CheckpointError: names or shapes are of another model.
    """
    own = all_tensors(model)
    odd = sorted(own.keys() ^ tensors.keys())
    if odd:
        raise CheckpointError(f"The state is of another model: {odd[:5]}", fix="Resume with the same model")
    with torch.no_grad():
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                raise CheckpointError(
                    f"{name} has the shape {tuple(tensors[name].shape)}", expected=f"{tuple(tensor.shape)}"
                )
            tensor.copy_(tensors[name])


def all_tensors(model: nn.Module) -> dict[str, Tensor]:
    """A model's trained parameters, and its buffers, by their names. Divided as they are.

    What is frozen is as it was loaded.
    """
    trained = [(name, tensor) for name, tensor in model.named_parameters() if tensor.requires_grad]
    return {name: tensor.detach() for name, tensor in [*trained, *model.named_buffers()]}


def whole_tensors(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Tensors that may be divided, whole: in the main memory of those that ``keep`` them, nothing in the others.

    All processes must call it with the same names.
    """
    kept = {}
    for name, tensor in tensors.items():
        one = whole(tensor)
        if keep:
            kept[name] = one.cpu()
    return kept
