"""Atomic files: a file appears under its final name complete, or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from antiphon.errors import CheckpointError
from antiphon.part_files import DENIED, FULL, NAME_MAX_BYTES, part_beside, sweep_parts

# Writers in native code report errors as text: Rust says "os error 28", torch only that writing failed.
_FULL_TEXT = re.compile(r"os error (28|122|27)\b|No space left|failed writing file|unexpected pos", re.IGNORECASE)


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str], *, needed_bytes: int | None = None) -> Iterator[Path]:
    """Yields a temporary path in the same folder that becomes ``path`` when the block ends without an error.

    The temporary file exists and is empty when it is yielded; the block writes or replaces it. At the end it is
    flushed to the disk and renamed over ``path``, so readers see the old file or the new one, never a half. After an
    error it is removed and ``path`` is as before. Parts that killed writers left in the folder are swept first.

    Args:
        path: the final name; its folder must exist.
        needed_bytes: the size to come, if known: a disk that cannot hold it is refused before anything is written.

    Raises:
        CheckpointError: the folder is missing, the name is too long, a folder or a device stands there, permission
            is denied, or the disk is full (with the needed and the free size).
    """
    final = Path(path)
    _check_place(final, needed_bytes)
    sweep_parts(final.parent)
    part = part_beside(final)
    try:
        with open(part, "xb") as made:
            mode = stat.S_IMODE(os.fstat(made.fileno()).st_mode)
    except OSError as error:
        raise _translated(error, final, needed_bytes) from error
    try:
        yield part
        _flush_to_disk(part, _mode_of(final, mode))
        os.replace(part, final)
        _flush_folder(final.parent)
    except OSError as error:
        if error.errno in FULL or error.filename in (os.fspath(part), os.fspath(final)):
            raise _translated(error, final, needed_bytes, part) from error
        raise
    except Exception as error:
        if _FULL_TEXT.search(str(error)):
            raise _full(final, needed_bytes, part) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _check_place(final: Path, needed_bytes: int | None) -> None:
    if len(os.fsencode(final.name)) > NAME_MAX_BYTES:
        raise CheckpointError(
            f"The file name {final.name[:40]!r}... has {len(os.fsencode(final.name))} bytes",
            expected=f"at most {NAME_MAX_BYTES}",
            fix="Choose a shorter name",
        )
    try:
        mode: int | None = os.stat(final).st_mode
    except OSError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise CheckpointError(f"Cannot write {final}: it is {kind}", fix="Choose another name")
    if not final.parent.is_dir():
        raise CheckpointError(f"Cannot write {final}: its folder does not exist", fix=f"Make {final.parent} first")
    if needed_bytes is not None and shutil.disk_usage(final.parent).free < needed_bytes:
        raise _full(final, needed_bytes)


def _mode_of(final: Path, default: int) -> int:
    """The permissions the old file has; some writers make their files private, which a shared folder cannot use."""
    try:
        return stat.S_IMODE(os.stat(final).st_mode)
    except OSError:
        return default


def _flush_to_disk(part: Path, mode: int) -> None:
    os.chmod(part, mode | stat.S_IRUSR | stat.S_IWUSR)
    with open(part, "rb+") as written:
        os.fsync(written.fileno())
    os.chmod(part, mode)


def _flush_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system allows it; the rename has happened already
        fd = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _translated(error: OSError, final: Path, needed_bytes: int | None, part: Path | None = None) -> CheckpointError:
    if error.errno in FULL:
        return _full(final, needed_bytes, part)
    if error.errno in DENIED:
        return CheckpointError(
            f"Cannot write {final}: permission denied", fix=f"Give write permission on {final.parent} or save elsewhere"
        )
    return CheckpointError(f"Cannot write {final}: {error.strerror or error}")


def _full(final: Path, needed_bytes: int | None, part: Path | None = None) -> CheckpointError:
    free = shutil.disk_usage(final.parent).free
    written = part.stat().st_size if part is not None and part.exists() else 0
    needed = (
        f"needed {_mb(needed_bytes)}" if needed_bytes is not None else f"{_mb(written)} were written when it failed"
    )
    return CheckpointError(
        f"Cannot write {final}: the disk is full, or a size limit is reached ({needed}, {_mb(free + written)} free)",
        fix="Free some space or save elsewhere; the old file, if there was one, is as before",
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
