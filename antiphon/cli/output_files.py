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
        format: of the files in a folder.

    Attributes:
        folder: where the sounds go. is_folder: whether names are made of prompts. is_device: whether there is a pipe or
            a device instead of files.

    Raises:
        AudioError: a format that cannot be written, or a folder that cannot be made or written to. This is found out
            here, before anything is computed.
    """

    def __init__(self, output: str | None, *, force: bool, format: str = "wav") -> None:
        self._force = force
        self._taken: set[Path] = set()
        path = Path(output or ".")
        looks_like_folder = output is None or output.endswith(("/", os.sep)) or not path.suffix or os.path.isdir(path)
        self.is_device = _is_device(path)
        self.is_folder = looks_like_folder and not self.is_device
        self.folder = path if self.is_folder else path.parent
        self._file: Path | None = None if self.is_folder else path
        self._suffix = f".{format.lower()}"
        check_format(format if self._file is None or not path.suffix else path.suffix.lstrip("."))
        if not self.is_device:
            _check_writable(self.folder)

    def reserve(self, path: Path) -> None:
        """Keeps a path for somebody else."""
        self._taken.add(path)

    def claim(self, path: Path) -> Path:
        """A path that was given out before, its folder made.

        Raises:
            AudioError: a file has come there since and must be kept, or the folder cannot be made.
        """
        if not self._force and _exists(path):
            raise AudioError(f"{shown(path)} exists", fix="Move it away, or replace it with --force")
        make_folder(path.parent)
        return path

    def path_for(self, prompt: str, seed: int | None, *, name: str | None = None, partial: bool = False) -> Path:
        """The path of the next sound.

        Args:
            prompt, seed: what the name is made of, unless there is a ``name``. partial: the name says that the piece
                is shorter than it was asked to be.

        Raises:
            AudioError: no name is free, or the name is too long.
        """
        name = name or (slug(prompt) if seed is None else f"{slug(prompt)}-{seed}")
        if self._file is not None and self.is_device:
            return self._file
        wanted = self._file or self.folder / (name if Path(name).suffix else f"{name}{self._suffix}")
        if partial:
            wanted = wanted.with_name(f"{wanted.stem}-partial{wanted.suffix}")
        return self._free(wanted)

    def beside(self, path: Path) -> Path:
        """The path of the picture of the sound at ``path``.

        Raises:
            AudioError: no name is free.
        """
        return self._free(path.with_suffix(".png"))

    def _free(self, wanted: Path) -> Path:
        for number in range(1, _TRIED):
            path = wanted if number == 1 else wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
            if path not in self._taken and (self._force or not _exists(path)):
                self._taken.add(path)
                return path
        raise AudioError(f"{shown(wanted)} and {_TRIED} names like it exist", fix="Choose another name or folder")


def check_format(name: str) -> None:
    """Raises ``AudioError`` unless sounds can be written in this format."""
    files.encode(np.zeros((1, 1), np.float32), 32_000, format=name)


def shown(path: Path) -> str:
    """A path for a message."""
    return repr(printable(os.fspath(path)[:200]))


def _is_device(path: Path) -> bool:
    """Whether a path is a pipe or a device, which takes sounds and has nothing to keep."""
    # os.path answers False for names that no file can have
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _exists(path: Path) -> bool:
    """Whether something is there that writing would replace; a pipe or a device takes a sound and stays what it is."""
    try:
        return os.path.lexists(path) and not (path.is_fifo() or path.is_char_device())
    except (OSError, ValueError) as error:
        raise AudioError(f"{shown(path)} cannot be written: {error}", fix="Choose another name") from error


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it; one that is there stays."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise _unwritable(folder, error) from error


def _check_writable(folder: Path) -> None:
    make_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, ValueError) as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: Exception) -> AudioError:
    reason = getattr(error, "strerror", None) or str(error)
    return AudioError(f"the folder {shown(folder)} cannot be written to: {reason}", fix="Choose another one with -o")
