"""The file of a generation config: read with every doubt raised, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from antiphon.errors import CheckpointError, ParamError

_MOST_BYTES = 16 * 1024 * 1024


def file_in(folder: Path, name: str) -> Path:
    """``folder / name``; ``ParamError`` when ``name`` is more than the plain name of a file."""
    if Path(name).name != name or name in ("", ".", ".."):
        raise ParamError(f"config_file_name={name!r}", expected="the plain name of a file in the folder")
    return folder / name


def read(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        CheckpointError: the file is missing, too large, not UTF-8, not JSON (NaN and Infinity are not), or no object.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes", expected=f"at most {_MOST_BYTES}")
        content = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file {path}", expected="a saved generation config") from error
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}", expected="a JSON object in UTF-8") from error
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a JSON {type(content).__name__}", expected="a JSON object")
    return content


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def write(path: Path, text: str) -> None:
    """Writes ``text`` to ``path``, through a file beside it that takes its place when complete; makes the folder.

    Raises:
        CheckpointError: the folder or file cannot be written; what was there before is untouched.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise CheckpointError(f"{path} cannot be written: {error.strerror or error}") from error
