"""``antiphon pull``, with a cache that stands for the Hub."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from antiphon.checkpoints import hub
from antiphon.cli.app import run


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, checkpoint: Path, tmp_path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """What is asked of the Hub, which answers with a copy of the checkpoint."""
    folder = Path(shutil.copytree(checkpoint, tmp_path / "snapshot"))
    calls: list[tuple[str, tuple[str, ...]]] = []

    def locate(name: Any, *, patterns: Any = None, **access: Any) -> Path:
        calls.append((str(name), tuple(patterns)))
        return folder

    monkeypatch.setattr(hub, "locate", locate)
    return calls


def test_a_complete_checkpoint_is_fetched_and_its_folder_printed(asked: Any, tmp_path: Path, capsys: Any) -> None:
    assert run(["pull", "me/tiny@v1"]) == 0
    caught = capsys.readouterr()
    assert caught.out == f"{tmp_path / 'snapshot'}\n"
    assert "complete" in caught.err
    assert {name for name, _ in asked} == {"me/tiny@v1"}


def test_pickles_are_not_fetched_beside_safetensors(asked: Any, tmp_path: Path) -> None:
    run(["pull", "me/tiny"])
    assert not any(".bin" in pattern for _, patterns in asked for pattern in patterns)
    (tmp_path / "snapshot" / "model.safetensors").unlink()
    assert run(["pull", "me/tiny"]) == 1
    assert any("pytorch_model*.bin" in patterns for _, patterns in asked)


def test_a_checkpoint_that_was_cut_short_is_told(asked: Any, tmp_path: Path, capsys: Any) -> None:
    weights = tmp_path / "snapshot" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert run(["pull", "me/tiny"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
