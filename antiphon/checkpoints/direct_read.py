"""Direct reading: bytes of a file straight into the memory of tensors, by two threads, with no mapping of the file.

A mapped file that somebody truncates kills the process that touches it. Reading into memory of our own does not, needs
no second copy, and is as fast as the mapping once every byte is wanted: one read call moves 4 MiB without the
interpreter lock, and two threads fill the bus of memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from antiphon.errors import CheckpointError

_PIECE_BYTES = 4 * 2**20  # a multiple of every element size; measured flat from 1 to 8 MiB
_THREADS = 2
_ALONE_BYTES = 8 * 2**20  # below this a second thread costs more than it saves
_seek_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Span:
    """One stored tensor and the memory it goes to: ``stored`` is its dtype in the file, ``wanted`` that of memory."""

    offset: int
    memory: memoryview
    stored: torch.dtype
    wanted: torch.dtype


@dataclass(frozen=True, slots=True)
class _Piece:
    offset: int
    nbytes: int  # in the file
    memory: memoryview
    stored: torch.dtype
    wanted: torch.dtype


def read_spans(fd: int, spans: Sequence[Span], path: Path) -> None:
    """Fills the memory of every span, in the order of the file; ``path`` names the file in errors.

    Casts go piece by piece through 4 MiB of scratch a thread, so that memory stays at the size of the targets.

    Raises:
        CheckpointError: the file ends early or cannot be read; the targets are then partly written.
    """
    pieces = list(_pieces(sorted(spans, key=lambda span: span.offset)))
    todo = iter(pieces)
    errors: list[BaseException] = []
    lock = threading.Lock()

    def work() -> None:
        scratch: memoryview | None = None
        try:
            while not errors:
                with lock:
                    piece = next(todo, None)
                if piece is None:
                    return
                if piece.stored == piece.wanted:
                    read_exactly(fd, piece.memory, piece.offset, path)
                    continue
                scratch = memoryview(bytearray(_PIECE_BYTES)) if scratch is None else scratch
                _read_cast(fd, piece, scratch[: piece.nbytes], path)
        except BaseException as error:
            errors.append(error)

    large = sum(piece.nbytes for piece in pieces) >= _ALONE_BYTES
    helpers = [threading.Thread(target=work, daemon=True) for _ in range(_THREADS - 1 if large else 0)]
    for helper in helpers:
        helper.start()
    work()
    for helper in helpers:
        helper.join()
    if errors:
        raise errors[0]


def read_exactly(fd: int, memory: memoryview, offset: int, path: Path) -> None:
    """Fills ``memory`` with the bytes of the file from ``offset`` on."""
    done = 0
    while done < len(memory):
        try:
            got = _read_some(fd, memory[done:], offset + done)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
        if got == 0:
            end = min(offset + done, os.fstat(fd).st_size)  # this piece may lie wholly behind it
            raise CheckpointError(
                f"{path} ended at byte {end} while it was being read",
                expected=f"at least {offset + len(memory)} bytes",
                fix="Something truncated the file after it was opened; fetch it again",
            )
        done += got


def _read_some(fd: int, memory: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [memory], offset)
    with _seek_lock:  # Windows has no positioned read
        os.lseek(fd, offset, os.SEEK_SET)
        data = os.read(fd, len(memory))
    memory[: len(data)] = data
    return len(data)


def _read_cast(fd: int, piece: _Piece, scratch: memoryview, path: Path) -> None:
    read_exactly(fd, scratch, piece.offset, path)
    # Fresh tensors over the same bytes: a target made in inference mode could not be written from another thread.
    source = torch.frombuffer(scratch, dtype=piece.stored)
    torch.frombuffer(piece.memory, dtype=piece.wanted).copy_(source)


def _pieces(spans: Sequence[Span]) -> Iterator[_Piece]:
    for span in spans:
        count = len(span.memory) // span.wanted.itemsize
        step = _PIECE_BYTES // span.stored.itemsize
        for start in range(0, count, step):
            stop = min(start + step, count)
            yield _Piece(
                offset=span.offset + start * span.stored.itemsize,
                nbytes=(stop - start) * span.stored.itemsize,
                memory=span.memory[start * span.wanted.itemsize : stop * span.wanted.itemsize],
                stored=span.stored,
                wanted=span.wanted,
            )
