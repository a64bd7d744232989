"""JSON files: read with every way they can be damaged named, written atomically and always in the same form."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.errors import CheckpointError, ConfigError, ParamTypeError

CONFIG_NAME = "config.json"
CONFIG_LIMIT_BYTES = 16 * 2**20
INDEX_LIMIT_BYTES = 200 * 10**6


class JsonFileError(CheckpointError, ConfigError):
    """A JSON file of a checkpoint is missing or damaged: a fault of the checkpoint and of the configuration."""


class _Refused(ValueError):
    """A value that JSON does not have, or that is not allowed here."""


def read_json(
    path: str | os.PathLike[str], *, limit_bytes: int | None = None, unique_keys: bool = False
) -> dict[str, Any]:
    """The object that a JSON file holds.

    A byte order mark is tolerated, since Windows editors write one.

    Args:
        path: the file.
        limit_bytes: the largest size that is read; 200 MB for ``*.index*.json``, 16 MiB for the rest.
        unique_keys: refuse an object that names a key twice, instead of taking the last.

    Raises:
        JsonFileError: (a ``CheckpointError`` and a ``ConfigError``) the file is missing, empty, too large, not UTF-8,
            not JSON, nested too deeply, holds NaN or an infinity, or its top level is not an object.
    """
    path = Path(path)
    text = _read_text(path, _limit(path) if limit_bytes is None else limit_bytes)
    try:
        value = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_unique if unique_keys else None,
        )
    except _Refused as error:
        raise JsonFileError(f"{path} {error}") from None
    except RecursionError:
        raise JsonFileError(f"{path} is nested too deeply", expected="a JSON object of a sane depth") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise JsonFileError(
            f"{path} is not valid JSON: {error.msg} at {place}", fix="Mend it, or fetch the file again"
        ) from None
    except ValueError as error:  # an integer of thousands of digits
        raise JsonFileError(f"{path} holds a number that cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise JsonFileError(f"{path} holds a JSON {_kind(value)}", expected="an object: {...}")
    return value


def write_json(path: str | os.PathLike[str], obj: dict[str, Any]) -> None:
    """Writes ``obj`` atomically: keys sorted, two spaces of indent, a newline at the end.

    Raises:
        ParamTypeError: something in ``obj`` has no form in JSON, NaN and infinities included.
        CheckpointError: the file cannot be written.
    """
    text = to_text(obj, where=os.fspath(path))
    with atomic_write(path) as part:
        part.write_bytes(text)


def to_text(obj: dict[str, Any], *, where: str) -> bytes:
    """The bytes that ``write_json`` would write; ``where`` names the file in errors."""
    try:
        return (json.dumps(obj, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ParamTypeError(f"{where} cannot be written as JSON: {error}") from error


def _limit(path: Path) -> int:
    return INDEX_LIMIT_BYTES if ".index." in path.name else CONFIG_LIMIT_BYTES


def _read_text(path: Path, limit_bytes: int) -> str:
    try:
        state = os.stat(path)
        if not stat.S_ISREG(state.st_mode):
            raise JsonFileError(f"{path} is not a regular file", expected="a JSON file")
        if state.st_size > limit_bytes:
            raise JsonFileError(
                f"{path} has {state.st_size} bytes", expected=f"a JSON file of at most {limit_bytes} bytes"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise JsonFileError(
            f"{path} is missing", fix="Fetch the whole checkpoint, or check the name of the folder"
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, JsonFileError):
            raise
        raise JsonFileError(f"{path} cannot be read: {error}") from error
    if not data.strip():
        raise JsonFileError(f"{path} is empty ({len(data)} bytes)", fix="Fetch the file again")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JsonFileError(
            f"{path} is not UTF-8 text (byte {error.start} is 0x{data[error.start]:02x})", fix="Save it as UTF-8"
        ) from None


def _refuse_constant(name: str) -> NoReturn:
    raise _Refused(f"holds {name}, which JSON does not have")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _Refused(f"holds {digits[:20]}, which is too large for a number")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    obj = dict(pairs)
    if len(obj) != len(pairs):
        seen: set[str] = set()
        doubled = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]
        raise _Refused(f"names {len(doubled)} key(s) twice: {', '.join(doubled[:5])}")
    return obj


def _kind(value: object) -> str:
    return {list: "array", str: "string", bool: "true or false", type(None): "null"}.get(type(value), "number")
