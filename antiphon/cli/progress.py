"""The progress bar of a composition: seconds of sound done, its window, and how its making compares with its length."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from antiphon.cli.terminal import is_live, printable

_TITLE_CHARACTERS = 32

OnProgress = Callable[[float, float], None]


@contextmanager
def progress_bar(
    title: str, *, pieces: int, seconds: float, wanted: bool, spans_s: tuple[float, float] = (30.0, 18.0)
) -> Iterator[OnProgress | None]:
    """Yields what ``compose`` calls with its progress; ``None`` where nobody watches stderr or it is not wanted.

    The real-time factor is seconds of computing a second of sound, all ``pieces`` counted: below 1 is faster than the
    sound plays. Pieces longer than a window, the first of ``spans_s``, show the number of the window that slides over
    them, each the second of ``spans_s`` behind the one before.
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
        windows = _windows(seconds, *spans_s)

        def tell(fraction: float, done_s: float) -> None:
            factor = (time.monotonic() - started) / max(done_s * pieces, 1e-9)
            state = f"{done_s:.1f}/{seconds:.1f} s, {factor:.2f}x real time"
            if windows > 1:
                state += f", window {_windows(done_s, *spans_s)}/{windows}"
            bar.update(task, completed=fraction, state=state)

        yield tell


def _windows(seconds: float, window_s: float, stride_s: float) -> int:
    """How many windows cover so many seconds."""
    return 1 + max(0, math.ceil((seconds - window_s) / stride_s))
