"""The compiled kernels: built once a machine from the sources beside this file, and loaded.

The first product that wants a kernel builds it, in a few seconds; later processes load what lies in the cache. Where
that does not work (no compiler, no place to write, another kind of machine) everything runs without it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import threading
from pathlib import Path

import torch

log = logging.getLogger(__name__)

SWITCH = "ANTIPHON_NATIVE"
CACHE = "ANTIPHON_CACHE"

_SOURCES = Path(__file__).parent
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=fast", "-w")
_COMPILERS = ("c++", "g++", "clang++")
_PATIENCE_S = 120.0
_LOCK = threading.Lock()

_kind, _count, _place = ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p
_SIGNATURES = {
    "antiphon_product": [
        *(_kind, _place, _count, _kind, _count),  # of the weight; x: place, stride, kind, rows
        *(_place, _count, _place, _count, _count),  # weight, stride; scales, stride; inputs a group
        *(_count, _count, _place, _place, _kind),  # inputs, outputs; bias; out; threads
    ],
    "antiphon_attend": [_place, _kind, _kind],  # the task; kind of what is stored; threads
    "antiphon_step": [_place],  # the step
    "antiphon_store": [_place, _kind, _place, _place, _place, _place, _place, _place],
}


class BuildError(Exception):
    """The kernels cannot be built or loaded here."""


def compiler() -> list[str]:
    """The command that compiles C++: what ``CXX`` names, or the first of the usual names on the path.

    Raises:
        BuildError: there is none.
    """
    named = shlex.split(os.environ.get("CXX", ""))
    for command in [named] if named else [[name] for name in _COMPILERS]:
        if shutil.which(command[0]):
            return command
    raise BuildError("there is no C++ compiler")


def cache_folder() -> Path:
    """A folder that belongs to this user alone, where built kernels stay.

    ``ANTIPHON_CACHE``, ``XDG_CACHE_HOME/antiphon`` and ``~/.cache/antiphon`` are tried in this order; where none can be
    written, a temporary folder of this process serves.
    """
    places = [os.environ.get(CACHE), os.environ.get("XDG_CACHE_HOME"), os.path.expanduser("~/.cache")]
    for number, place in enumerate(places):
        if not place or not os.path.isabs(place):
            continue
        folder = Path(place) if number == 0 else Path(place) / "antiphon"
        try:
            folder = folder / "native"
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_private(folder) and os.access(folder, os.W_OK | os.X_OK):
                return folder
        except OSError:
            continue
    return _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="antiphon-"))


def _is_private(path: Path) -> bool:
    # what somebody else could have written is not run
    status = path.stat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return platform.machine() + platform.processor()
    first = text.split("\n\n", 1)[0]
    return "\n".join(line for line in first.splitlines() if line.startswith(("model name", "flags", "Features", "CPU")))


def _threading_flags() -> list[str]:
    # torch's own copy of the thread pool, so that there is one pool: two would fight for the cores
    own = sorted((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    return ["-fopenmp", *(str(path) for path in own[:1])]


def _compiled(command: list[str], to: Path) -> None:
    sources = [str(path) for path in sorted(_SOURCES.glob("*.cpp"))]
    errors = ""
    for threads in (_threading_flags(), ["-fopenmp"], []):
        done = subprocess.run(
            [*command, *_FLAGS, *sources, *threads, "-o", str(to)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            check=False,
        )
        if done.returncode == 0:
            return
        errors = errors or done.stderr.strip()[-500:]
    raise BuildError(f"{' '.join(command)} failed: {errors}")


def build(*flags: str) -> Path:
    """The path of the compiled kernels, built if they are not there yet.

    Args:
        flags: more flags for the compiler, after the usual ones.

    Raises:
        BuildError: there is no compiler, or it does not compile them. OSError: no place to write.
    """
    command = [*compiler(), *flags]
    version = subprocess.run(
        [*command, "--version"], capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
    ).stdout
    parts = [" ".join(command), " ".join(_FLAGS), version, _processor(), torch.__version__]
    parts += [path.read_text(encoding="utf-8") for path in sorted([*_SOURCES.glob("*.cpp"), *_SOURCES.glob("*.h")])]
    name = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    folder = cache_folder()
    path = folder / f"kernels-{name}.so"
    if path.exists() and _is_private(path):
        return path
    handle, temporary = tempfile.mkstemp(prefix="kernels-", suffix=".part", dir=folder)
    os.close(handle)
    try:
        _compiled(command, Path(temporary))
        os.chmod(temporary, 0o700)
        os.replace(temporary, path)  # two processes may build at once; the last one wins with the same bytes
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def load(path: Path) -> ctypes.CDLL:
    """The kernels in the file ``path``.

    Raises:
        BuildError: it is not a library of these kernels.
    """
    try:
        library = ctypes.CDLL(str(path))
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, None
    except (OSError, AttributeError) as error:
        raise BuildError(f"{path.name} does not load: {error}") from error
    return library


@functools.cache
def _loaded() -> ctypes.CDLL | None:
    if os.environ.get(SWITCH, "1") == "0" or not hasattr(os, "getuid"):
        return None
    try:
        return load(build())
    except (BuildError, OSError, subprocess.TimeoutExpired) as error:
        log.warning("decoding runs without its own kernels, and slower: %s", error)
        return None


def native() -> ctypes.CDLL | None:
    """The kernels, built at the first call, or ``None`` for the rest of the process where they cannot be had."""
    with _LOCK:  # a second thread waits for the first one's build
        return _loaded()
