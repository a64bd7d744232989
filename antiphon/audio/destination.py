"""Where a sound is written: a file that appears whole or not at all, or a pipe or device that takes it as it comes."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from antiphon.audio.stream import shown
from antiphon.errors import AudioError
from antiphon.part_files import DENIED, FULL, NAME_MAX_BYTES, part_beside, sweep_parts

_HELD_BYTES = 64 << 20  # what is on its way to a pipe stays in memory up to this size
_STREAMS = re.compile(r"/dev/(stdout|stderr|fd/\d+)|/proc/self/fd/\d+")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE | re.DOTALL)
_ON_WINDOWS = os.name == "nt"


@contextlib.contextmanager
def destination(path: Path, *, needed_bytes: int = 0) -> Iterator[BinaryIO]:
    """Gives a binary file that can be read, written and sought; what is in it at the end of the block is at ``path``.

    A regular file is replaced at once by one that was written beside it and flushed to the disk; after an error it is
    as before. What earlier writers left in the folder when they were killed is swept away. A pipe (whose reader is
    waited for), a character device and ``/dev/stdout`` are written to, and stay what they are. A link is followed.

    Args:
        path: the name; its folder must exist.
        needed_bytes: the size to come, if known; a disk that cannot hold it is refused before anything is written.

    Raises:
        AudioError: a folder, socket or disk stands there, the folder is missing or read-only, a name that no file can
            have, or no space (with what was needed and what is free).
    """
    if "\0" in os.fspath(path):
        raise AudioError(f"{shown(path)} cannot be written: no file has such a name", fix="Choose another name")
    try:
        if _takes_as_it_comes(path):
            with _passing_on(path) as file:
                yield file
        else:
            target = Path(os.path.realpath(path)) if os.path.islink(path) else path
            with _replacing(target, needed_bytes) as file:
                yield file
    except (OSError, ValueError) as error:
        # the native codecs report a failed write as their own error, with the cause below
        reason = error.__cause__ if isinstance(error, AudioError) else error
        if not isinstance(reason, OSError):
            raise
        raise _translated(path, reason, needed_bytes) from reason


def _takes_as_it_comes(path: Path) -> bool:
    if _STREAMS.fullmatch(os.path.abspath(path)):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


@contextlib.contextmanager
def _passing_on(path: Path) -> Iterator[BinaryIO]:
    # the formats go back to write their lengths, which a pipe cannot
    with tempfile.SpooledTemporaryFile(max_size=_HELD_BYTES) as held:
        yield cast(BinaryIO, held)
        held.seek(0)
        with path.open("wb") as file:
            shutil.copyfileobj(held, file, 1 << 20)


@contextlib.contextmanager
def _replacing(path: Path, needed_bytes: int) -> Iterator[BinaryIO]:
    _check_place(path, needed_bytes)
    sweep_parts(path.parent)
    part = part_beside(path)
    try:
        with part.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(OSError):
            os.chmod(part, stat.S_IMODE(os.stat(path).st_mode))
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def _check_place(path: Path, needed_bytes: int) -> None:
    if len(os.fsencode(path.name)) > NAME_MAX_BYTES:
        raise AudioError(
            f"{shown(path)} cannot be written: the name has {len(os.fsencode(path.name))} bytes",
            expected=f"at most {NAME_MAX_BYTES}",
            fix="Choose a shorter name",
        )
    if _ON_WINDOWS and _RESERVED.fullmatch(path.name):
        raise AudioError(f"{shown(path)} cannot be written: on Windows it is a device", fix="Choose another name")
    if os.path.exists(path) and not os.path.isfile(path):
        raise AudioError(f"{shown(path)} cannot be written: it is not a regular file", fix="Choose another name")
    if not path.parent.is_dir():
        raise AudioError(f"{shown(path)} cannot be written: its folder does not exist", fix="Make the folder first")
    if needed_bytes and shutil.disk_usage(path.parent).free < needed_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _translated(path: Path, error: OSError, needed_bytes: int) -> AudioError:
    what = f"{shown(path)} cannot be written: {error.strerror or error}"
    if error.errno in FULL:
        needed = f"{needed_bytes / 1e6:.1f} MB needed, " if needed_bytes else ""
        what += f" ({needed}{_free_bytes(path) / 1e6:.1f} MB free)"
        return AudioError(what, fix="Free some space, or save elsewhere; a file that was there is as before")
    if error.errno in DENIED:
        return AudioError(what, fix="Give yourself write permission on the folder, or save elsewhere")
    return AudioError(what, fix="Check the folder and the name")


def _free_bytes(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return 0
