"""Files on their way: what is written lies beside its place under a name of its own until it is whole.

The name says which process of which machine writes it, so that a later one can sweep away what killed writers left.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
import socket
import zlib
from pathlib import Path

NAME_MAX_BYTES = 255  # the limit of every common file system
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)

_PART = re.compile(r"\..*\.(?P<pid>\d+)(?:\.(?P<host>[0-9a-f]{8})-\d+)?\.part", re.DOTALL)
_count = itertools.count()


def part_beside(path: Path) -> Path:
    """The name for what will be ``path``: in the same folder, and of nobody else."""
    tail = f".{os.getpid()}.{host()}-{next(_count)}.part"
    name = path.name
    if len(os.fsencode(name)) + len(tail) + 1 > NAME_MAX_BYTES:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return path.with_name(f".{name}{tail}")


def sweep_parts(folder: Path) -> list[Path]:
    """Removes the parts of processes of this machine that no longer run; gives what was removed."""
    removed = []
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(".part")]
    except OSError:
        return []
    for name in names:
        found = _PART.fullmatch(name)
        # the numbers of processes mean nothing on another machine that shares the folder
        if found and found["host"] in (None, host()) and not _runs(int(found["pid"])):
            with contextlib.suppress(OSError):
                os.unlink(folder / name)
                removed.append(folder / name)
    return removed


def host() -> str:
    """This machine, in eight digits."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it runs, and is another user's
        return True
    return True
