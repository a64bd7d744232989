"""Where sounds go: names made of prompts, folders made when missing, and files that exist kept."""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from pathlib import Path

import numpy as np

from antiphon.audio import files
from antiphon.cli.terminal import printable
from antiphon.errors import AudioError

_SLUG_CHARACTERS = 60
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)  # devices on Windows, with any suffix
_TRIED = 10_000


def slug(prompt: str) -> str:
    """A file name of lower-case ASCII letters, digits and single dashes that reminds of a prompt; never empty."""
    plain = unicodedata.normalize("NFKD", prompt).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG_CHARACTERS].strip("-")
    if not words:
        return "piece"
    return f"piece-{words}" if _RESERVED.fullmatch(words) else words


class OutputFiles:
    """Hands out one free path for each sound.

    Args:
        output: a file (its suffix says the format), a folder, or ``None`` for the current folder.
        force: existing files are replaced; otherwise the name gets a number.

    Raises:
        AudioError: a format that cannot be written, or a folder that cannot be made or written to. This is found out
            here, before anything is computed.
    """

    def __init__(self, output: str | None, *, force: bool) -> None:
        self._force = force
        self._taken: set[Path] = set()
        path = Path(output or ".")
        is_folder = output is None or output.endswith(("/", os.sep)) or not path.suffix or _is_folder(path)
        self._folder = path if is_folder else path.parent
        self._file: Path | None = None if is_folder else path
        if self._file is not None:
            files.encode(np.zeros((1, 1), np.float32), 32_000, format=self._file.suffix.lstrip("."))
        _check_writable(self._folder)

    def path_for(self, prompt: str, seed: int | None) -> Path:
        """The path of the next sound.

        Raises:
            AudioError: no name is free, or the name is too long.
        """
        name = slug(prompt) if seed is None else f"{slug(prompt)}-{seed}"
        wanted = self._file or self._folder / f"{name}.wav"
        for number in range(1, _TRIED):
            path = wanted if number == 1 else wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
            if path not in self._taken and (self._force or not _exists(path)):
                self._taken.add(path)
                return path
        raise AudioError(f"{shown(wanted)} and {_TRIED} names like it exist", fix="Choose another name or folder")


def shown(path: Path) -> str:
    """A path for a message."""
    return repr(printable(os.fspath(path)[:200]))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _exists(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    except (OSError, ValueError) as error:
        raise AudioError(f"{shown(path)} cannot be written: {error}", fix="Choose another name") from error


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(
            f"the folder {shown(folder)} cannot be written to: {reason}", fix="Choose another one with -o"
        ) from error
