"""Files of prompts: a prompt a line, or a JSON object a line with settings of its own; bad rows hide no good ones."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, BinaryIO

import typer

from antiphon.cli.commission import check_settings
from antiphon.errors import AntiphonError, ParamError, ParamTypeError, unknown_argument

MOST_BYTES = 64 << 20
_OWN = ("prompt", "seed", "output", "continue", "melody")
_SETTINGS = {
    "seconds": "seconds",
    "guidance": "guidance",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "window": "window_seconds",
    "stride": "stride_seconds",
}


@dataclass(frozen=True)
class Row:
    """One piece that a file asks for.

    Attributes:
        number: its line, from 1. settings: of ``compose``, by its names. seed: ``None`` draws one.
        output: a file name inside the folder, ``None`` makes one of the prompt. recording: a file to go on from.
        melody: a file whose melody is followed.
    """

    number: int
    prompt: str
    settings: dict[str, Any]
    seed: int | None
    output: str | None
    recording: str | None
    melody: str | None


@dataclass(frozen=True)
class BadRow:
    """A line that asks for nothing that can be made, and why."""

    number: int
    reason: str


def read_rows(
    name: str, settings: Mapping[str, Any], *, seed: int | None, recording: str | None, melody: str | None
) -> tuple[list[Row], list[BadRow]]:
    """The rows of a file, good and bad; empty lines are none.

    Args:
        name: ``*.jsonl`` holds objects with ``prompt`` and, each optional, ``seconds``, ``seed``, ``output``,
            ``continue``, ``melody``, ``guidance``, ``temperature``, ``top_k``, ``top_p``, ``window`` and ``stride``;
            other files hold a prompt a line. ``-`` is stdin, objects where its first line is one.
        settings, recording, melody: for rows that do not say.
        seed: of the first row; row i has it plus i, unless it says.

    Raises:
        BadParameter: the file cannot be read, is larger than ``MOST_BYTES``, or holds no row.
    """
    lines = [(number, line) for number, line in enumerate(_lines(name), 1) if line.strip()]
    if not lines:
        raise typer.BadParameter(f"{name!r} holds no prompt", param_hint="--prompts")
    objects = name.lower().endswith((".jsonl", ".ndjson")) or (name == "-" and _is_object(lines[0][1]))
    good, bad = [], []
    for place, (number, line) in enumerate(lines):
        try:
            given: dict[str, Any] = _object(line) if objects else {"prompt": _text(line.strip())}
            given = {"continue": recording, "melody": melody, **given}
            if given.get("seed") is None and seed is not None:
                given["seed"] = seed + place
            good.append(_row(number, given, settings))
        except typer.BadParameter as error:
            bad.append(BadRow(number, error.message))
        except AntiphonError as error:
            bad.append(BadRow(number, str(error)))
    return good, bad


def _lines(name: str) -> list[bytes]:
    """The lines of a file, or of stdin, which may be a pipe without end."""
    try:
        if name == "-":
            if sys.stdin is None:
                raise typer.BadParameter("stdin is closed", param_hint="--prompts")
            data = _read(sys.stdin.buffer)
        else:
            if stat.S_ISDIR(os.stat(name).st_mode):
                raise typer.BadParameter(f"{name!r} is a folder", param_hint="--prompts")
            with open(name, "rb") as file:
                data = _read(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise typer.BadParameter(f"{name[:200]!r} cannot be read: {reason}", param_hint="--prompts") from error
    if len(data) > MOST_BYTES:
        raise typer.BadParameter(f"more than {MOST_BYTES >> 20} MiB of prompts", param_hint="--prompts")
    return data.removeprefix(b"\xef\xbb\xbf").splitlines()


def _read(file: BinaryIO) -> bytes:
    return file.read(MOST_BYTES + 1)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise ParamError(f"byte {error.start + 1} is no UTF-8", expected="text in UTF-8") from error


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(_text(line))
    except (ValueError, RecursionError) as error:
        if isinstance(error, AntiphonError):
            raise
        raise ParamError(f"no JSON: {error}", expected='an object such as {"prompt": "calm piano"}') from error
    if not isinstance(value, dict):
        raise ParamError(f"JSON of type {type(value).__name__}", expected='an object such as {"prompt": "calm piano"}')
    for key in value:
        if key not in (*_OWN, *_SETTINGS):
            raise unknown_argument(key, (*_OWN, *_SETTINGS), where="the row")
    return value


def _row(number: int, given: Mapping[str, Any], settings: Mapping[str, Any]) -> Row:
    for key in ("prompt", "output", "continue", "melody"):
        if given.get(key) is not None and not isinstance(given[key], str):
            raise ParamTypeError(f"{key} is of type {type(given[key]).__name__}", expected="text")
    if given.get("prompt") is None:
        raise ParamError("the row has no prompt", expected='{"prompt": "...", ...}')
    own = {**settings, **{_SETTINGS[key]: value for key, value in given.items() if key in _SETTINGS}}
    check_settings(own, [given["prompt"]], given.get("seed"))
    output = checked_output(given.get("output"))
    return Row(
        number,
        given["prompt"],
        own,
        seed=given.get("seed"),
        output=output,
        recording=given.get("continue"),
        melody=given.get("melody"),
    )


def checked_output(name: str | None) -> str | None:
    """A name that stays inside its folder, here and where folders are written with backslashes."""
    if name is None:
        return None
    path = PureWindowsPath(name)
    if not name.strip() or "\0" in name or path.drive or path.root or ".." in path.parts or Path(name).is_absolute():
        raise ParamError(f"output={name[:80]!r}", expected="the name of a file inside the folder")
    if suffix := Path(name).suffix:
        from antiphon.cli.output_files import check_format

        check_format(suffix.lstrip("."))
    return name


def numbers(rows: Iterator[BadRow] | list[BadRow]) -> str:
    """The numbers of rows, for a message."""
    listed = [str(row.number) for row in rows]
    return ", ".join(listed[:20]) + (" ..." if len(listed) > 20 else "")
