"""``antiphon quantize``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon
from antiphon.cli.app import run
from antiphon.errors import CheckpointError
from antiphon.models.quantization import Quantization
from antiphon.models.quantized import plan_of
from antiphon.tasks import rounded_checkpoint
from antiphon.tasks.rounded_checkpoint import write_rounded

Composite = antiphon.MusicgenForConditionalGeneration


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("options", "kind", "group"), [([], "int8", 64), (["--bits", "4", "--group-size", "32"], "int4", 32)]
)
def test_the_written_checkpoint_is_what_loading_would_have_rounded(
    checkpoint: Path, tmp_path: Path, capsys: Any, options: list[str], kind: str, group: int
) -> None:
    out = tmp_path / "new" / "small"
    assert run(["quantize", str(checkpoint), str(out), *options]) == 0
    told = capsys.readouterr()
    assert told.out == f"{out}\n"
    assert "MiB before" in told.err
    plan = Quantization(8 if kind == "int8" else 4, group)
    wanted = Composite.from_pretrained(checkpoint, quantization_config=plan).state_dict()
    got = Composite.from_pretrained(out)
    assert plan_of(got) == plan
    assert all(torch.equal(got.state_dict()[name], tensor) for name, tensor in wanted.items())


def test_all_that_belongs_to_the_checkpoint_comes_along(checkpoint: Path, tmp_path: Path) -> None:
    assert run(["quantize", str(checkpoint), str(tmp_path / "four"), "--bits", "4"]) == 0
    before, after = contents(checkpoint), contents(tmp_path / "four")
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {"config.json", "model.safetensors"}
    assert list(tmp_path.iterdir()) == [tmp_path / "four"]
    piece = antiphon.load(tmp_path / "four", device="cpu")("calm piano", seconds=0.2, seed=1)
    assert piece.seconds == pytest.approx(0.2)


def test_the_sizes_are_those_of_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    sizes = write_rounded(checkpoint, tmp_path / "four", Quantization(4))
    assert sizes.before == Composite.from_pretrained(checkpoint).get_memory_footprint()
    assert sizes.after == Composite.from_pretrained(tmp_path / "four").get_memory_footprint()


def test_half_precision_that_is_not_rounded_stays_half(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "half")
    Composite.from_pretrained(checkpoint, dtype="bfloat16").save_pretrained(tmp_path / "half")
    assert run(["quantize", str(tmp_path / "half"), str(tmp_path / "eight")]) == 0
    assert Composite.from_pretrained(tmp_path / "eight", dtype="auto").dtype is torch.bfloat16
    assert Composite.from_pretrained(tmp_path / "eight").dtype is torch.float32


def test_a_folder_that_holds_something_is_left_alone_unless_forced(
    checkpoint: Path, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    assert run(["quantize", str(checkpoint), str(tmp_path)]) == 1
    assert "holds something already" in capsys.readouterr().err
    assert contents(tmp_path) == {"mine.txt": b"kept"}
    assert run(["quantize", str(checkpoint), str(tmp_path), "--force"]) == 0
    assert contents(tmp_path)["mine.txt"] == b"kept"
    assert plan_of(Composite.from_pretrained(tmp_path)) == Quantization(8, 64)


def test_a_checkpoint_can_be_rounded_where_it_is(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "here"))
    wanted = Composite.from_pretrained(folder, quantize="int4").state_dict()
    assert run(["quantize", str(folder), str(folder), "--bits", "4", "--force"]) == 0
    got = Composite.from_pretrained(folder).state_dict()
    assert all(torch.equal(got[name], tensor) for name, tensor in wanted.items())


def test_F027_what_fails_halfway_leaves_nothing(checkpoint: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rounded_checkpoint, "copy_beside", full)
    with pytest.raises(CheckpointError, match="No space left"):
        write_rounded(checkpoint, tmp_path / "out", Quantization(8))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("kept")
    with pytest.raises(CheckpointError, match="holds something"):
        write_rounded(checkpoint, tmp_path / "file", Quantization(8), force=True)
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_rounded(checkpoint, tmp_path / "file" / "inside", Quantization(8))


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--bits", "5"], "5 is neither"), (["--bits", "four"], "bits"), (["--group-size", "0"], "0 is not")],
)
def test_options_that_make_no_sense_are_misuse(
    checkpoint: Path, tmp_path: Path, capsys: Any, options: Any, named: str
) -> None:
    assert run(["quantize", str(checkpoint), str(tmp_path / "out"), *options]) == 2
    assert named in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_F029_a_rounded_checkpoint_is_not_rounded_again(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    assert run(["quantize", str(checkpoint), str(tmp_path / "four"), "--bits", "4"]) == 0
    assert run(["quantize", str(tmp_path / "four"), str(tmp_path / "eight"), "--bits", "8"]) == 1
    assert "rounded already, to 4 bits" in capsys.readouterr().err
    assert not (tmp_path / "eight").exists()
