"""``antiphon train``: a model made or adapted from sounds, as a TOML file says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antiphon.cli.terminal import is_live, put_path, say

if TYPE_CHECKING:
    from antiphon.training.loop import Progress

_FIGURES = 6  # shown in a line; the record has all
_MINUTE_S = 60


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file; docs/training.md shows its parts.")],
    until: Annotated[int | None, typer.Option(help="Stop after this step, to go on another time.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; the best unless told.")] = None,
) -> None:
    """Train a model, or go on where a run stopped, and print the folder of its checkpoint.

    Under ``torchrun`` all processes train one model together.
    """
    if until is not None and until < 1:
        raise typer.BadParameter(f"{until} is not positive", param_hint="--until")
    from antiphon.training.job_file import read_job

    file = read_job(config)
    from antiphon.training.job import Job
    from antiphon.training.processes import joined

    with joined(device=device, timeout_s=file.run.timeout_s) as processes, _shown(processes.first) as report:
        result = Job(file, processes=processes, tell=say).run(until=until, report=report)
        if processes.first:
            put_path(result)


@contextmanager
def _shown(wanted: bool) -> Iterator[Callable[[Progress], None] | None]:
    """A bar where somebody watches, else a line for every look; nothing in processes that do not lead."""
    if not wanted:
        yield None
    elif not is_live(sys.stderr):
        yield lambda progress: say(f"step {progress.step}/{progress.steps} {_told(progress)}")
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns: tuple[Any, ...] = (BarColumn(), TextColumn("{task.fields[state]}", markup=False))
        with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
            task = bar.add_task("", total=1.0, state="")

            def tell(progress: Any) -> None:
                if progress.kind == "held_out":
                    bar.console.print(f"step {progress.step}: {_told(progress)}", markup=False, highlight=False)
                    return
                state = f"{progress.step}/{progress.steps} {_told(progress)}"
                bar.update(task, completed=progress.step / progress.steps, state=state)

            yield tell


def _told(progress: Progress) -> str:
    shown = [name for name in progress.figures if name not in ("learning_rate", "examples_per_s")][:_FIGURES]
    text = " ".join(f"{name} {progress.figures[name]:.4g}" for name in shown)
    if progress.kind == "held_out":
        return f"held out: {text}"
    minutes = progress.left_s / _MINUTE_S
    return f"{text}; {progress.examples_per_s:.3g} examples/s, {minutes:.0f} min left"
