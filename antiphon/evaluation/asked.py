"""What pieces are asked to be: the lines of a file of held-out prompts."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from antiphon.errors import DataError, unknown_argument
from antiphon.evaluation.key import MODES, Mode

_PATHS = ("melody", "reference", "continue_from")
_WORDS = ("text", "style", "lead", "mode", *_PATHS)
_MOST_BPM = 1000.0


@dataclass(frozen=True)
class Asked:
    """One prompt, and what a piece made from it should turn out to be, as far as that is known.

    Attributes:
        text: the prompt. style, lead: labels, the lead being the instrument that plays the melody.
        tempo_bpm: beats a minute. tonic: 0 for C to 11 for B. mode: of the key.
        melody: a recording whose melody is to be followed. reference: a real piece for this prompt. continue_from: a
            recording whose beginning is to be gone on from.
    """

    text: str
    style: str | None = None
    lead: str | None = None
    tempo_bpm: float | None = None
    tonic: int | None = None
    mode: Mode | None = None
    melody: Path | None = None
    reference: Path | None = None
    continue_from: Path | None = None


_NAMES = tuple(field.name for field in fields(Asked))


def read_asked(path: str | os.PathLike[str]) -> list[Asked]:
    """The prompts of a file: on each line a JSON object with ``text`` and any of the other names of ``Asked``.

    Paths are relative to the file. Empty lines are none.

    Raises:
        DataError: the file cannot be read or holds no prompt, or a line is no prompt or names a file that is missing;
            with the number of the line. ParamTypeError: a name that there is not.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)[:200]!r} cannot be read: {error}", expected="a file of JSON lines") from error
    rows = [
        _read(line, f"line {number} of {path.name}", path.parent)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not rows:
        raise DataError(f"{str(path)[:200]!r} holds no prompt", expected='{"text": "calm piano"} on a line, or more')
    return rows


def _read(line: str, where: str, folder: Path) -> Asked:
    try:
        given = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {error}", expected='an object such as {"text": "calm piano"}') from error
    if not isinstance(given, dict):
        raise DataError(
            f"{where} is of type {type(given).__name__}", expected='an object such as {"text": "calm piano"}'
        )
    for name in given:
        if name not in _NAMES:
            raise unknown_argument(name, _NAMES, where=where)
    given = {name: value for name, value in given.items() if value is not None}
    _check(given, where)
    for name in _PATHS:
        if name in given:
            given[name] = folder / given[name]
            if not given[name].is_file():
                raise DataError(f"{where}: there is no file {given[name]}", expected=f"one, as its {name}")
    return Asked(**given)


def _check(given: dict[str, Any], where: str) -> None:
    wrong = [name for name in _WORDS if name in given and not isinstance(given[name], str)]
    if wrong or "text" not in given:
        named = wrong[0] if wrong else "text"
        raise DataError(f"{where}: {named}={given.get(named)!r}", expected="text")
    tempo, tonic = given.get("tempo_bpm"), given.get("tonic")
    if tempo is not None and not (_is_number(tempo) and 0 < tempo <= _MOST_BPM):
        raise DataError(f"{where}: tempo_bpm={tempo!r}", expected="beats a minute")
    if tonic is not None and (isinstance(tonic, bool) or tonic not in range(12)):
        raise DataError(f"{where}: tonic={tonic!r}", expected="0 for C to 11 for B")
    if given.get("mode", MODES[0]) not in MODES:
        raise DataError(f"{where}: mode={given['mode']!r}", expected="major or minor")
    if (tonic is None) != ("mode" not in given):
        raise DataError(f"{where}: a tonic or a mode alone", expected="both, or neither")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
