"""What holds for every test: no network, a quiet oracle, one thread a process, and a time budget for the whole run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch, transformers or matplotlib are imported. A test that wants other values sets them for itself.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" in os.environ:  # processes that share the cores would wait for each other's threads
    os.environ.setdefault("OMP_NUM_THREADS", "1")

_BUDGET_S = float(os.environ.get("ANTIPHON_TEST_BUDGET_S", "inf"))
_STARTED = time.monotonic()


# The kernels are compiled where they run. Without a compiler there are none, everything goes by torch, and what tests
# them has nothing to test; the summary says so.
_COMPILER = any(shutil.which(name) for name in (os.environ.get("CXX", "").split() or ["c++", "g++", "clang++"])[:3])
_OF_KERNELS = (
    "nn/test_column_step.py",
    "nn/test_native_attention.py",
    "nn/test_native_library.py",
    "nn/test_native_products.py",
    "models/test_musicgen_step.py",
    "models/test_qwen2_step.py",
)
collect_ignore = [] if _COMPILER else list(_OF_KERNELS)

_EXAMPLES = Path(__file__).parents[1] / "examples"


def _make_of(example: str) -> Any:
    spec = importlib.util.spec_from_file_location(example, _EXAMPLES / f"{example}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make


@pytest.fixture(scope="session")
def single_threaded() -> Iterator[None]:
    """One thread, since layers this small gain nothing from more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_checkpoint(single_threaded: None) -> Any:
    """The example's ``make``."""
    return _make_of("random_checkpoint")


@pytest.fixture(scope="session")
def checkpoint(make_checkpoint: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random checkpoint, made once."""
    return make_checkpoint(tmp_path_factory.mktemp("mono"))


@pytest.fixture(scope="session")
def compose(checkpoint: Path) -> Any:
    """The composer of it."""
    import antiphon

    return antiphon.load(checkpoint, device="cpu")


@pytest.fixture(scope="session")
def melody_checkpoint(make_checkpoint: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random checkpoint of MusicGen Melody, made once."""
    return make_checkpoint(tmp_path_factory.mktemp("melody"), melody=True)


@pytest.fixture(scope="session")
def follow(melody_checkpoint: Path) -> Any:
    """The composer of it."""
    import antiphon

    return antiphon.load(melody_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def ctrl_c() -> Iterator[None]:
    """Ctrl-C works, also where the tests were started in the background, in which it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def talking_checkpoint(single_threaded: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random checkpoint of Moshi, made once."""
    return _make_of("random_moshi")(tmp_path_factory.mktemp("moshi"))


@pytest.fixture(scope="session")
def talker(talking_checkpoint: Path) -> Any:
    """The talker of it."""
    import antiphon

    return antiphon.load(talking_checkpoint, device="cpu")


@pytest.fixture(scope="session")
def listening_checkpoint(single_threaded: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random checkpoint of Music Flamingo, made once."""
    return _make_of("random_music_flamingo")(tmp_path_factory.mktemp("flamingo"))


@pytest.fixture(scope="session")
def listener(listening_checkpoint: Path) -> Any:
    """The listener of it."""
    import antiphon

    return antiphon.load(listening_checkpoint, device="cpu")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fails what is left once the budget is spent, so that the run still ends with its summary."""
    if time.monotonic() - _STARTED > _BUDGET_S:
        pytest.fail(f"not run: the whole suite has used up its {_BUDGET_S:.0f} seconds (make test BUDGET=...)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how to run a failed test alone, and what could not be tested here."""
    if not _COMPILER:
        terminalreporter.write_line(f"No C++ compiler here, so no kernels: left out {', '.join(_OF_KERNELS)}")
    broken = terminalreporter.stats.get("failed", []) + terminalreporter.stats.get("error", [])
    if broken:
        terminalreporter.write_line(f"To see one alone: .venv/bin/python -m pytest '{broken[0].nodeid}'")
