"""Several processes: they train as one does, and none of them outlives the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon.checkpoints.store import open_weights

from .jobs import record, trainer

ROOT = Path(__file__).parents[2]


def start(jobs: list[Any], wrong: dict[str, Any] | None = None, *options: str) -> subprocess.Popen[str]:
    """Two processes that run jobs one after the other."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *(options or ("--standalone",))]
    command += ["-m", "tests.training.run_job", json.dumps(jobs), json.dumps(wrong or {})]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How a process ended, and what it said."""
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def weights(folder: Path) -> dict[str, torch.Tensor]:
    with open_weights(folder) as held:
        return {name: held[name].clone() for name in held}


def assert_as_one(folder: Path, alone: Path, *, rtol: float = 2e-5) -> None:
    """The records of two runs are equal but for the order of sums."""
    ours, theirs = record(folder), record(alone)
    assert len(ours) == len(theirs) >= 12
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in one.keys() - {"kind"}:
            assert one[name] == pytest.approx(other[name], rel=rtol, abs=1e-5), (name, one["step"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs of one process and of two: ``music``, ``codec``, and halves of one and of two processes."""
    folder = tmp_path_factory.mktemp("runs")
    accumulated = {"micro_batch": 1}
    trainer("music", folder / "one-then-two").run(until=6)
    together = start(
        [
            ("music", str(folder / "music-2"), {}),
            ("codec", str(folder / "codec-2"), {}),
            ("music", str(folder / "accumulated-2"), accumulated),
            ("music", str(folder / "one-then-two"), {}),
        ]
    )
    for job in ("music", "codec"):
        trainer(job, folder / f"{job}-1").run()
    code, errors = said(together)
    assert code == 0, errors
    return folder


def test_two_processes_train_a_decoder_as_one_does(runs: Path) -> None:
    assert_as_one(runs / "music-2", runs / "music-1")


def test_two_processes_train_a_codec_and_its_codebooks_as_one_does(runs: Path) -> None:
    assert_as_one(runs / "codec-2", runs / "codec-1", rtol=1e-3)
