"""A small random checkpoint, made once, and the composer of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon

_EXAMPLE = Path(__file__).parents[2] / "examples" / "random_checkpoint.py"


@pytest.fixture(scope="session")
def make_checkpoint() -> Iterator[Any]:
    """The example's ``make``; one thread, since layers this small gain nothing from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spec = importlib.util.spec_from_file_location("random_checkpoint", _EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.make
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("mono"))


@pytest.fixture(scope="session")
def compose(checkpoint: Path) -> Any:
    return antiphon.load(checkpoint, device="cpu")
