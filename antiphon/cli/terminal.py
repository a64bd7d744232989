"""What is written to the terminal: results to stdout, all else to stderr, nothing that could steer a terminal."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def printable(text: str) -> str:
    """``text`` on one line, with control characters, direction marks and broken characters spelt out as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def say(text: str) -> None:
    """One line to stderr."""
    _write(sys.stderr, printable(text))


def put_path(path: str | os.PathLike[str]) -> None:
    """A path as a line of stdout: its own bytes where a program reads them, made printable for a terminal."""
    out = sys.stdout
    if out is None:  # closed by whoever started this
        return
    buffer = getattr(out, "buffer", None)
    if buffer is None or out.isatty():
        _write(out, printable(os.fspath(path)))
        return
    out.flush()
    buffer.write(os.fsencode(path) + b"\n")
    buffer.flush()


def put_json(record: dict[str, Any]) -> None:
    """An object as a line of stdout, in plain ASCII."""
    _write(sys.stdout, json.dumps(record))


def put(text: str) -> None:
    """A line of text to stdout."""
    _write(sys.stdout, printable(text))


def put_piece(text: str) -> None:
    """A piece of a text to stdout, at once; its line breaks are kept, so that a text may have several lines."""
    lines = [printable(line) for line in text.split("\n")]
    _write(sys.stdout, "\n".join(lines), end="")


def _write(stream: Any, line: str, *, end: str = "\n") -> None:
    if stream is None:
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + end)
    stream.flush()


def is_live(stream: Any) -> bool:
    """Whether a person watches ``stream`` on something that can move its cursor."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class _Handler(logging.Handler):
    """Log records as lines of stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.levelname.lower()}: {record.getMessage()}")


@contextmanager
def shown_log() -> Iterator[None]:
    """Sends Antiphon's warnings to stderr while the block runs."""
    logger = logging.getLogger("antiphon")
    handler, propagated = _Handler(logging.WARNING), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
