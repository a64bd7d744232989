"""Several processes: they train as one does, and none of them outlives the others."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon import MusicgenForCausalLM
from antiphon.errors import ConfigError, ProcessError
from antiphon.training import processes as module
from antiphon.training.processes import Processes, joined

from .jobs import record, trainer

ROOT = Path(__file__).parents[2]
JOB = ("-m", "tests.training.run_job")


def start(jobs: list[Any], wrong: dict[str, Any] | None = None, **variables: str) -> subprocess.Popen[str]:
    """Jobs, one after the other: in two processes by torchrun, or in the one that variables make it."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    return subprocess.Popen(
        [sys.executable, *(() if variables else torchrun), *JOB, json.dumps(jobs), json.dumps(wrong or {})],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How a process ended, and what it said."""
    try:
        _, errors = process.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, errors


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def one_of_two(rank: int, port: int) -> dict[str, str]:
    """What torchrun tells its processes."""
    return {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def assert_as_one(folder: Path, alone: Path, *, rtol: float) -> None:
    """The records of two runs are equal but for the order of sums."""
    ours, theirs = record(folder), record(alone)
    assert [(line["step"], line["kind"]) for line in ours] == [(line["step"], line["kind"]) for line in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one == {
            name: value if name == "kind" else pytest.approx(value, rel=rtol, abs=rtol) for name, value in other.items()
        }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs that two processes made, one after the other; one of them begun by one process."""
    folder = tmp_path_factory.mktemp("runs")
    trainer("music", folder / "one then two").run(until=6)
    together = start(
        [
            ("music", str(folder / "music"), {}),
            ("codec", str(folder / "codec"), {}),
            ("music", str(folder / "accumulated"), {"micro_batch": 1, "steps": 4, "checkpoint_layers": True}),
            ("music", str(folder / "one then two"), {}),
        ]
    )
    code, errors = said(together)
    assert code == 0, errors
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run of a decoder by one process."""
    folder = tmp_path_factory.mktemp("alone")
    trainer("music", folder).run()
    return folder


def test_two_processes_train_a_decoder_as_one_does(runs: Path, alone: Path) -> None:
    assert len(record(alone)) == 12 + 3
    assert_as_one(runs / "music", alone, rtol=1e-5)


def test_two_processes_train_a_codec_and_its_codebooks_as_one_does(runs: Path, tmp_path: Path) -> None:
    trainer("codec", tmp_path).run()
    assert_as_one(runs / "codec", tmp_path, rtol=1e-4)


def test_two_processes_accumulate_as_one_does_all_at_once(runs: Path, tmp_path: Path) -> None:
    trainer("music", tmp_path, steps=4).run()
    assert_as_one(runs / "accumulated", tmp_path, rtol=1e-5)


def test_F130_a_run_begun_by_one_process_goes_on_with_two(runs: Path, alone: Path) -> None:
    assert_as_one(runs / "one then two", alone, rtol=1e-5)


def test_F130_a_run_begun_by_two_processes_goes_on_with_one(runs: Path, alone: Path) -> None:
    """Their last state but one is gone on from."""
    folder = runs / "music"
    (folder / "states" / "step-00000012" / "run.json").unlink()
    trainer("music", folder).run()
    assert_as_one(folder, alone, rtol=1e-5)


def test_two_processes_write_checkpoints_that_open(runs: Path, alone: Path) -> None:
    ours, theirs = (MusicgenForCausalLM.from_pretrained(folder / "final") for folder in (runs / "music", alone))
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-3, atol=1e-5)


# one of several


def test_one_process_alone_is_joined_without_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined(device="cpu") as processes:
        assert processes == Processes()
        assert processes.first
        assert list(processes.rows(3)) == [0, 1, 2]


def test_each_process_has_rows_of_its_own() -> None:
    assert [list(Processes(rank, 2).rows(6)) for rank in (0, 1)] == [[0, 1, 2], [3, 4, 5]]


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch=4 for 3 processes. Expected a multiple of 3"):
        trainer("line", tmp_path, Processes(0, 3))


def test_a_number_of_processes_without_the_rest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ConfigError, match="torchrun"), joined(device="cpu"):
        pass


def test_a_process_without_a_gpu_of_its_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**one_of_two(1, 1), "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(module.torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="process 2 of this machine has no GPU"), joined(device="cuda"):
        pass


# faults


@pytest.mark.parametrize("why", ["taken", "absent"])
def test_F133_a_port_that_is_taken_or_a_process_that_never_comes_is_an_error(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        opened.listen()
        port = opened.getsockname()[1] if why == "taken" else free_port()
        for name, value in one_of_two(0, port).items():
            monkeypatch.setenv(name, value)
        match = "in use" if why == "taken" else "Timed out"
        with pytest.raises(ProcessError, match=match), joined(device="cpu", timeout_s=1.0):
            pass


def test_F133_a_process_whose_fellow_dies_ends_too(tmp_path: Path) -> None:
    wrong = {"rank": 1, "fault": "dies", "step": 2}
    port, jobs = free_port(), [("line", str(tmp_path), {})]
    first, second = (start(jobs, wrong, **one_of_two(rank, port)) for rank in (0, 1))
    code, errors = said(first)
    assert code == 1
    assert "ProcessError: The 2 processes cannot work together" in errors
    assert said(second) == (1, "this process dies\n")


def test_F133_a_process_that_hangs_ends_all_of_them(tmp_path: Path) -> None:
    """The others give up after the timeout, and torchrun ends the one that hangs."""
    wrong = {"rank": 1, "fault": "hangs", "step": 2, "timeout_s": 12.0}
    code, errors = said(start([("line", str(tmp_path), {})], wrong))
    assert code == 1
    assert "ProcessError: The 2 processes cannot work together" in errors
