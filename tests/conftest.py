"""What holds for every test: no network, a quiet oracle, one thread a process, and a time budget for the whole run."""

from __future__ import annotations

import os
import time

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


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fails what is left once the budget is spent, so that the run still ends with its summary."""
    if time.monotonic() - _STARTED > _BUDGET_S:
        pytest.fail(f"not run: the whole suite has used up its {_BUDGET_S:.0f} seconds (make test BUDGET=...)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how to run a failed test alone."""
    broken = terminalreporter.stats.get("failed", []) + terminalreporter.stats.get("error", [])
    if broken:
        terminalreporter.write_line(f"To see one alone: .venv/bin/python -m pytest '{broken[0].nodeid}'")
