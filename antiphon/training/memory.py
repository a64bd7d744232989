"""The memory that a training step gives back and asks for again."""

from __future__ import annotations

import ctypes
import logging
import sys

log = logging.getLogger(__name__)

# numbers of glibc's <malloc.h>
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_NEVER_BYTES = 1 << 30
_PAD_BYTES = 64 << 20


def keep_freed_memory() -> bool:
    """Makes this process keep the memory that it frees, and tells whether that was possible (with glibc only).

    A step frees and asks for hundreds of blocks of some megabytes. By default glibc hands such blocks back to the
    system each time and gets them again page by page, zeroed, which takes up to half of a step on a CPU.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        library = ctypes.CDLL(None)
        settings = ((_MMAP_THRESHOLD, _NEVER_BYTES), (_TRIM_THRESHOLD, _NEVER_BYTES), (_TOP_PAD, _PAD_BYTES))
        return all(library.mallopt(name, value) == 1 for name, value in settings)
    except (OSError, AttributeError):
        log.debug("this C library has no mallopt")
        return False
