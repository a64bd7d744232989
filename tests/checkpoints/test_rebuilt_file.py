"""Tensors that are made of stored ones are made when they are asked for, and both ways of a bond agree."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from antiphon.checkpoints import store
from antiphon.checkpoints.keys import KeyTable
from antiphon.checkpoints.rebuilt_file import Bond, Layout, RebuiltFile
from antiphon.errors import CheckpointError

STORED = {
    "pair": torch.arange(12.0).view(4, 3),
    "one": torch.ones(2),
    "two": torch.full((2,), 2.0),
    "old.name": torch.zeros(1, dtype=torch.bfloat16),
}
LAYOUT = Layout(
    KeyTable([("old", "new")]),
    [
        Bond(("pair",), ("upper", "lower"), lambda whole: whole[0].chunk(2), lambda parts: [torch.cat(list(parts))]),
        Bond(("one", "two"), ("stack",), lambda each: [torch.stack(list(each))], lambda all_: all_[0].unbind()),
        Bond(("absent",), ("nothing",), list, list),
    ],
)


@pytest.fixture
def rebuilt(tmp_path: Path) -> RebuiltFile:
    """The stored tensors in the other layout."""
    save_file(STORED, tmp_path / "weights.safetensors")
    (file,) = store.open_file(tmp_path / "weights.safetensors").files
    return RebuiltFile(file, LAYOUT.ours(file.infos))


def test_names_shapes_and_dtypes_are_known_before_anything_is_read(rebuilt: RebuiltFile) -> None:
    infos = {name: (info.shape, info.dtype) for name, info in rebuilt.infos.items()}
    assert infos == {
        "upper": ((2, 3), torch.float32),
        "lower": ((2, 3), torch.float32),
        "stack": ((2, 2), torch.float32),
        "new.name": ((1,), torch.bfloat16),
    }


def test_tensors_are_made_of_theirs_and_cast_into_their_targets(rebuilt: RebuiltFile) -> None:
    assert torch.equal(rebuilt.read("lower"), STORED["pair"][2:])
    targets = {"stack": torch.empty(2, 2, dtype=torch.float16), "new.name": torch.empty(1)}
    rebuilt.read_into(targets)
    assert torch.equal(targets["stack"], torch.tensor([[1.0, 1.0], [2.0, 2.0]]).half())
    assert torch.equal(targets["new.name"], torch.zeros(1))


def test_only_what_lies_in_the_file_as_it_is_can_be_seen_without_reading(rebuilt: RebuiltFile) -> None:
    views = rebuilt.mapped(["upper", "stack", "new.name"])
    assert views.keys() == {"upper", "new.name"}
    assert torch.equal(views["upper"], STORED["pair"][:2])


def test_a_target_of_another_shape_is_refused_before_anything_is_written(rebuilt: RebuiltFile) -> None:
    with pytest.raises(CheckpointError, match="upper"):
        rebuilt.read_into({"upper": torch.empty(3, 3)})


def test_the_way_back_gives_the_stored_tensors(rebuilt: RebuiltFile) -> None:
    ours = {name: rebuilt.read(name) for name in rebuilt.infos}
    plan = LAYOUT.theirs(rebuilt.infos)
    back = {name: making([ours[source] for source in making.sources]) for name, making in plan.items()}
    assert back.keys() == STORED.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in STORED.items())


def test_shapes_that_do_not_go_together_are_named(tmp_path: Path) -> None:
    save_file({"one": torch.ones(2), "two": torch.ones(3)}, tmp_path / "weights.safetensors")
    (file,) = store.open_file(tmp_path / "weights.safetensors").files
    with pytest.raises(CheckpointError, match=r"one \[2\], two \[3\]"):
        LAYOUT.ours(file.infos)
    file.close()
