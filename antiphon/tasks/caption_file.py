"""A file of captions that outlives its writer: a line for each recording, on the disk before the next one is begun."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from antiphon.errors import DataError, ParamError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class CaptionFile:
    """JSON lines, appended one by one; each has a ``path`` and is there once.

    A line that a killed writer left half written is removed when the file is opened again.

    Args:
        path: of the file; its folder must exist. resume: go on behind what is there.

    Attributes:
        done: the paths of the lines. first: the first line that was there, or ``None``.

    Raises:
        ParamError: the file is there and ``resume`` is not asked for, or another process is writing it.
        DataError: it cannot be opened or holds something else than captions.
    """

    def __init__(self, path: str | os.PathLike[str], *, resume: bool = False) -> None:
        self.path = Path(path)
        try:
            if not resume and self.path.exists() and self.path.stat().st_size:
                raise ParamError(f"{self.path} is there already", fix="Go on with it (--resume), or name another file")
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error.strerror or error}") from error
        try:
            self._lock()
            lines = self._whole_lines()
            self.done = {line["path"] for line in lines}
            self.first: dict[str, Any] | None = lines[0] if lines else None
        except BaseException:
            os.close(self._fd)
            raise

    def add(self, record: dict[str, Any]) -> None:
        """Writes a line to the disk.

        Raises:
            ParamError: its path is there already. DataError: the disk is full, or gone.
        """
        if record["path"] in self.done:
            raise ParamError(f"{record['path']!r} has its line already")
        # escapes hold the bytes of a name that are no UTF-8
        left = memoryview((json.dumps(record) + "\n").encode("ascii"))
        try:
            while left:
                left = left[os.write(self._fd, left) :]
            os.fsync(self._fd)
        except OSError as error:
            raise DataError(f"{self.path} cannot be written: {error.strerror or error}") from error
        self.done.add(record["path"])

    def close(self) -> None:
        """Ends the writing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ParamError(f"another process is writing {self.path}", fix="Wait for it, or stop it") from None
        except OSError:  # a file system without locks
            return

    def _whole_lines(self) -> list[dict[str, Any]]:
        """The lines that are there, after the end was mended."""
        with open(self.path, "rb") as file:
            held = file.read()
        end = held.rfind(b"\n") + 1
        lines = [self._line(text, number) for number, text in enumerate(held[:end].splitlines(), 1)]
        if end < len(held):  # a writer was killed in the midst of a line
            os.ftruncate(self._fd, end)
            os.fsync(self._fd)
        return lines

    def _line(self, text: bytes, number: int) -> dict[str, Any]:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict) or not isinstance(line.get("path"), str):
            raise DataError(
                f"line {number} of {self.path} is no caption", expected="an object with a path", fix="Remove the line"
            )
        return line
