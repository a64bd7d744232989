"""States of a run on disk, and runs that are killed: what goes on is what would have been."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon.errors import CheckpointError
from antiphon.training.run_state import RunState, newest_state, remove_unfinished, write_state

from .jobs import record, trainer

ROOT = Path(__file__).parents[2]


def state(step: int) -> RunState:
    return RunState(step, {"model.a": torch.full((4,), float(step))}, {"best": 0.5})


def steps_in(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def finished(folder: Path) -> dict[str, Any]:
    """All that a run leaves behind, to be compared bit for bit."""
    last = newest_state(folder / "states")
    assert last is not None
    tensors = {name: tensor.tolist() for name, tensor in last.tensors.items()}
    checkpoints = {name: (folder / name / "weights.json").read_text() for name in ("best", "final")}
    return {"record": record(folder), "step": last.step, "numbers": last.numbers, "tensors": tensors, **checkpoints}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of 12 steps."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    trainer("line", folder).run()
    return finished(folder)


@contextmanager
def full_disk(room_bytes: int) -> Iterator[None]:
    """No file may grow beyond ``room_bytes``."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_newest_states_stay(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        write_state(tmp_path, state(step), keep=2)
    assert steps_in(tmp_path) == [4, 6]
    found = newest_state(tmp_path)
    assert found is not None
    assert found.step == 6 and found.numbers == {"best": 0.5} and found.tensors["model.a"].tolist() == [6.0] * 4


def test_no_state_is_none(tmp_path: Path) -> None:
    assert newest_state(tmp_path / "nowhere") is None


@pytest.mark.parametrize("damage", ["cut", "changed", "removed", "no record"])
def test_F130_a_damaged_state_is_passed_over_with_a_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_state(tmp_path, state(2), keep=2)
    place = write_state(tmp_path, state(4), keep=2)
    file = place / "model.safetensors"
    whole = file.read_bytes()
    if damage == "no record":
        (place / "run.json").unlink()
    elif damage == "removed":
        file.unlink()
    else:
        file.write_bytes(whole[:-8] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        found = newest_state(tmp_path)
    assert found is not None and found.step == 2
    assert "step-00000004 is damaged" in caplog.text


def test_F130_states_that_are_all_damaged_stop_the_run(tmp_path: Path) -> None:
    (write_state(tmp_path, state(2), keep=2) / "run.json").write_text("{")
    with pytest.raises(CheckpointError, match="All 1 states in .* are damaged"):
        newest_state(tmp_path)


def test_F130_a_damaged_later_state_does_not_outlive_a_whole_one(tmp_path: Path) -> None:
    write_state(tmp_path, state(2), keep=1)
    (tmp_path / "step-00000009").mkdir()
    write_state(tmp_path, state(3), keep=1)
    assert steps_in(tmp_path) == [3]


def test_a_state_written_before_there_were_checksums_is_read(tmp_path: Path) -> None:
    file = write_state(tmp_path, state(2), keep=1) / "run.json"
    file.write_text(
        json.dumps({name: value for name, value in json.loads(file.read_text()).items() if name != "checksums"})
    )
    found = newest_state(tmp_path)
    assert found is not None and found.step == 2


def test_F130_a_full_disk_stops_the_run_and_keeps_the_states(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    trainer("line", tmp_path).run(until=4)
    run = trainer("line", tmp_path)
    size = (tmp_path / "states" / "step-00000004" / "model.safetensors").stat().st_size
    with full_disk(size - 1), pytest.raises(CheckpointError, match="disk is full"):
        run.run(until=8)
    assert steps_in(tmp_path / "states") == [4]
    assert [path.name for path in (tmp_path / "states").iterdir()] == ["step-00000004"]
    trainer("line", tmp_path).run()
    assert finished(tmp_path) == uninterrupted


@pytest.mark.parametrize("stops", [[1], [4], [7, 8, 11]])
def test_a_run_in_parts_is_the_run_at_once(tmp_path: Path, uninterrupted: dict[str, Any], stops: list[int]) -> None:
    for stop in stops:
        trainer("line", tmp_path).run(until=stop)
    trainer("line", tmp_path).run()
    assert finished(tmp_path) == uninterrupted


def test_lines_of_several_steps_are_the_same_in_parts(tmp_path: Path) -> None:
    trainer("line", tmp_path / "whole", log_every=5).run()
    for stop in (3, 7, 12):
        trainer("line", tmp_path / "parts", log_every=5).run(until=stop)
    assert record(tmp_path / "parts") == record(tmp_path / "whole")


def test_a_codec_in_parts_is_the_codec_at_once(tmp_path: Path) -> None:
    trainer("codec", tmp_path / "whole", steps=8).run()
    for stop in (2, 5, 8):  # before and after its codebooks are placed
        trainer("codec", tmp_path / "parts", steps=8).run(until=stop)
    assert record(tmp_path / "parts") == record(tmp_path / "whole")


def test_F130_killed_runs_go_on_as_if_uninterrupted(tmp_path: Path, uninterrupted: dict[str, Any]) -> None:
    """Killed in the middle of a step, with a worker that reads ahead; and in the middle of writing a state."""
    killed = {
        "killed": ({"workers": 1}, 7),
        "killed_writing": ({}, 8),
    }
    started = {
        fault: subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.training.run_job"),
                json.dumps([("line", str(tmp_path / fault), numbers)]),
                json.dumps({"fault": fault, "step": step}),
            ],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
        )
        for fault, (numbers, step) in killed.items()
    }
    for fault, process in started.items():
        _, errors = process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL, errors.decode()
        folder = tmp_path / fault
        assert steps_in(folder / "states") == [4]
        unfinished = list((folder / "states").glob(".step-*"))
        assert bool(unfinished) == (fault == "killed_writing")
        trainer("line", folder, **killed[fault][0]).run()
        assert finished(folder) == uninterrupted
        assert not any(path.exists() for path in unfinished)


def test_what_a_killed_run_left_half_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".step-00000003.abc").mkdir()
    write_state(tmp_path, state(2), keep=1)
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    trainer("line", tmp_path).run(until=1)
    with pytest.raises(CheckpointError, match="another model"):
        trainer("music", tmp_path)
