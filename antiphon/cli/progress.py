"""The progress bar of a composition: seconds of sound done, and how its making compares with its length."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from antiphon.cli.terminal import is_live, printable

_TITLE_CHARACTERS = 32

OnProgress = Callable[[float, float], None]


@contextmanager
def progress_bar(title: str, *, pieces: int, seconds: float, wanted: bool) -> Iterator[OnProgress | None]:
    """Yields what ``compose`` calls with its progress; ``None`` where nobody watches stderr or it is not wanted.

    The real-time factor is seconds of computing a second of sound, all ``pieces`` counted: below 1 is faster than the
    sound plays.
    """
    if not (wanted and is_live(sys.stderr)):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    title = printable(title)
    if len(title) > _TITLE_CHARACTERS:
        title = title[: _TITLE_CHARACTERS - 1] + "…"
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0, state="")
        started = time.monotonic()

        def tell(fraction: float, done_s: float) -> None:
            factor = (time.monotonic() - started) / max(done_s * pieces, 1e-9)
            bar.update(task, completed=fraction, state=f"{done_s:.1f}/{seconds:.1f} s, {factor:.2f}x real time")

        yield tell
