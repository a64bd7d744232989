"""Contestants who take turns, so that a machine whose speed drifts treats all alike; figures are medians."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from antiphon.tasks.machine import Machine

Measured = list[dict[str, Any]]


def chosen(parser: argparse.ArgumentParser, lists: Mapping[str, Sequence[str]], *, layers: int) -> argparse.Namespace:
    """The arguments, those of ``lists`` as lists of what each may name; ``--layers`` is 1 to ``layers``."""
    args = parser.parse_args()
    for name, known in lists.items():
        given = getattr(args, name).split(",")
        if not set(given) <= set(known):
            parser.error(f"--{name} {','.join(given)}: some of {', '.join(known)} are expected")
        setattr(args, name, given)
    if not 1 <= args.layers <= layers:
        parser.error(f"--layers: 1 to {layers}")
    return args


def in_turn(contestants: Mapping[str, Callable[[], dict[str, Any]]], rounds: int, *, warm: bool = False) -> Any:
    """What each contestant found, round by round; ``warm``: a round before, which only fills the page cache."""
    found: dict[str, Measured] = {name: [] for name in contestants}
    for number in range(rounds + warm):
        for name, measured in contestants.items():
            print(f"round {number + 1} of {rounds + warm}: {name}", file=sys.stderr, flush=True)
            result = measured()
            if number >= warm:
                found[name].append(result)
    return found


def median(runs: Measured, *path: str) -> float:
    """The median of a figure over the runs; NaN where a system or a contestant has none."""
    values = []
    for run in runs:
        value: Any = run
        for key in path:
            value = None if value is None else value.get(key)
        values.append(float("nan") if value is None else float(value))
    return statistics.median(values) if values else float("nan")


def row(*cells: object) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def heading(*cells: str) -> str:
    """The first two lines of a Markdown table."""
    return f"{row(*cells)}\n|{'---|' * len(cells)}"


def told_by(command: Sequence[str], name: str) -> dict[str, Any]:
    """The JSON object that a worker's process prints last."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def on_this_machine(threads: int) -> Machine:
    """The machine, having printed it with the versions and the command."""
    machine = Machine.here(threads)
    print(f"{machine.processor}, {threads} threads of {machine.cores}, memory read at {machine.read_gb_s:.1f} GB/s;")
    print(f"Python {platform.python_version()}, torch {version('torch')}, transformers {version('transformers')};")
    print(f"`python benchmarks/{Path(sys.argv[0]).name} {' '.join(sys.argv[1:])}`\n", flush=True)
    return machine
