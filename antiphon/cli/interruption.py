"""What signals do: Ctrl-C while music is made keeps what was made, and a request to end leaves nothing half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from antiphon.cli.terminal import say


class Interruption:
    """Asks work to stop when Ctrl-C is pressed; a second Ctrl-C ends the command at once.

    It is the ``stop_when`` of a composition. Inside its block a file that is being written is finished first. Where
    SIGINT is ignored, as under ``nohup``, it stays so.

    Attributes:
        asked: whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.asked = False
        self._told = False
        self._before: Any = None

    def __call__(self) -> bool:
        if self.asked and not self._told:  # told from here: a handler must not write into what others are writing
            self._told = True
            say("stopping: what is made so far is kept; Ctrl-C once more ends at once")
        return self.asked

    def __enter__(self) -> Self:
        if _may_handle(signal.SIGINT):
            self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _pressed(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextmanager
def ended_cleanly() -> Iterator[None]:
    """Lets a request to end (SIGTERM, and SIGHUP when the terminal goes away) unwind the block, so that files that
    were begun are removed; the status is 128 and the signal's number, as a shell expects it.
    """
    numbers = [n for name in ("SIGTERM", "SIGHUP") if (n := getattr(signal, name, None)) and _may_handle(n)]
    before = {number: signal.signal(number, _end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def is_interrupted(error: BaseException) -> bool:
    """Whether an error only wraps a Ctrl-C, as libraries that are being imported or loaded do."""
    seen: BaseException | None = error
    for _ in range(20):
        if seen is None or isinstance(seen, KeyboardInterrupt):
            break
        seen = seen.__cause__ or seen.__context__
    return isinstance(seen, KeyboardInterrupt)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _may_handle(number: int) -> bool:
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(number) not in (signal.SIG_IGN, None)
