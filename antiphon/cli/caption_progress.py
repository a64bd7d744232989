"""How far a folder is described: files a minute and the time that is left, on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from antiphon.cli.terminal import is_live, say

_EVERY_S = 60.0


class CaptionProgress:
    """A bar where a person watches, and else a line a minute.

    Args:
        total: files. wanted: whether to tell at all.
    """

    def __init__(self, total: int, *, wanted: bool) -> None:
        self._total, self._wanted = total, wanted
        self._started = self._told = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if self._wanted and is_live(sys.stderr):
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (BarColumn(), TextColumn("{task.fields[state]}", markup=False), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total, state="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, made: int, failed: int) -> None:
        """So many files are described, and so many left out."""
        now = time.monotonic()
        state = progress_line(made, failed, self._total, now - self._started)
        if self._bar is not None:
            self._bar.update(self._task, completed=made + failed, state=state)
        elif self._wanted and now - self._told >= _EVERY_S:
            self._told = now
            say(state)


def progress_line(made: int, failed: int, total: int, seconds: float) -> str:
    """Such as ``120 of 4000 described, 3 left out, 14.2 a minute, 4 h 33 min left``."""
    done = made + failed
    a_minute = 60 * done / max(seconds, 1e-9)
    minutes = round((total - done) / a_minute) if a_minute else 0
    hours, rest = divmod(minutes, 60)
    left = f"{hours} h {rest} min left" if hours else f"{rest} min left"
    skipped = f", {failed} left out" if failed else ""
    return f"{made} of {total} described{skipped}, {a_minute:.1f} a minute, {left}"
