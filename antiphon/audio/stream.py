"""Opening what a caller calls a file, safely, and a wrapper that keeps its errors for Python to raise."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from antiphon.audio.limits import Limits
from antiphon.errors import AudioError, ParamTypeError

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
_BLOCK_BYTES = 1 << 20
_NAME_LENGTH = 120


class GuardedStream:
    """A binary file whose methods never raise: the first error is kept in ``error`` and the call reports an end.

    The native codecs call these methods from C, where an exception can only be printed and lost.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self.error: Exception | None = None

    def _keep(self, error: Exception) -> None:
        self.error = self.error or error

    def read(self, count: int = -1) -> bytes:
        try:
            data = self._raw.read(count)
            if not isinstance(data, bytes):
                raise TypeError(f"read() of the file object gave {type(data).__name__}, not bytes")
            return data[:count] if count >= 0 else data
        except Exception as error:  # the point of this class
            self._keep(error)
            return b""

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def write(self, data: bytes) -> int:
        try:
            return self._raw.write(data)
        except Exception as error:  # the point of this class
            self._keep(error)
            return 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._raw.seek(offset, whence)
        except Exception as error:  # the point of this class
            self._keep(error)
            return -1

    def tell(self) -> int:
        try:
            return self._raw.tell()
        except Exception as error:  # the point of this class
            self._keep(error)
            return -1

    def seekable(self) -> bool:
        return True


@contextmanager
def opened(source: Source, limits: Limits) -> Iterator[tuple[GuardedStream, str]]:
    """Gives ``source`` as a seekable stream at its start, and the name that messages use for it.

    Raises:
        AudioError: no such file, not a regular file, larger than the limits allow, unreadable.
        ParamTypeError: ``source`` is neither a path, nor bytes, nor a binary file.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        limits.check_file_bytes(memoryview(source).nbytes, "the given file in memory")
        yield GuardedStream(io.BytesIO(source)), "the given file in memory"
    elif isinstance(source, (str, os.PathLike)):
        name = shown(source)
        with _open_regular(source, name, limits) as file:
            yield GuardedStream(file), name
    elif callable(getattr(source, "read", None)) and not isinstance(source, io.TextIOBase):
        yield GuardedStream(_rewound(source, limits)), "the given file object"
    else:
        raise ParamTypeError(
            f"the source of a sound is of type {type(source).__name__}",
            expected="a path, bytes or a binary file object",
        )


def shown(path: str | os.PathLike[str]) -> str:
    """The last part of a path, quoted and shortened, safe to print whatever it holds."""
    name = os.path.basename(os.fspath(path).rstrip("/")) or os.fspath(path)
    return repr(name if len(name) <= _NAME_LENGTH else name[:_NAME_LENGTH] + "...")


def _open_regular(path: str | os.PathLike[str], name: str, limits: Limits) -> BinaryIO:
    # O_NONBLOCK: opening a FIFO must not wait for a writer. The type is asked of what was opened, not of the name.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        hint = "Download it first" if str(path).startswith(("http://", "https://")) else "Check the path"
        raise AudioError(f"{name} cannot be opened: {reason}", fix=hint) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(f"{name} is not a regular file", expected="a sound file")
        limits.check_file_bytes(status.st_size, name)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _rewound(file: BinaryIO, limits: Limits) -> BinaryIO:
    """A file object at its beginning, whatever its position; one that cannot seek is read into memory, with a bound."""
    name = "the given file object"
    try:
        mode = os.fstat(file.fileno()).st_mode
    except (OSError, AttributeError, ValueError, TypeError):
        mode = stat.S_IFREG  # lives in memory
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISDIR(mode):
        raise AudioError(f"{name} is a device or a folder", expected="a sound file")
    try:
        if file.seekable():
            limits.check_file_bytes(file.seek(0, os.SEEK_END), name)
            file.seek(0)
            return file
        held = io.BytesIO()
        while block := file.read(_BLOCK_BYTES):
            held.write(block)
            limits.check_file_bytes(held.tell(), name)
    except (OSError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        raise AudioError(f"{name} cannot be read: {error}", expected="an open binary file") from error
    held.seek(0)
    return held
