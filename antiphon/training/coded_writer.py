"""Writing coded music, an item at a time, so that a killed writer can go on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np

from antiphon.checkpoints.json_files import write_json
from antiphon.errors import DataError
from antiphon.training.code_packing import CodePacking
from antiphon.training.coded_format import (
    FORMAT_FILE,
    PARTS,
    VERSION,
    CodedFormat,
    CodedItem,
    read_format,
    row_bytes,
    shard_file,
    shards_of,
    whole_lines,
)

SHARD_BYTES = 32 << 20


class CodedWriter:
    """Writes coded music, item by item; goes on behind what is there, and has the folder to itself.

    Another writer of the folder, in whatever process of this machine, waits until this one is closed.

    Args:
        folder: made where it is not there. format: what is there has to have the same.
        shard_bytes: a file that is larger is followed by a new one.

    Raises:
        DataError: the folder holds codes of another format.
    """

    def __init__(self, folder: str | os.PathLike[str], format: CodedFormat, *, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder, self.format = Path(folder), format
        self._packing = CodePacking(format.codebooks, format.codebook_size)
        self._row_bytes = row_bytes(format)
        self._shard_bytes = shard_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.folder / ".lock")
        try:
            self._begin()
        except BaseException:
            self._lock.close()
            raise

    def _begin(self) -> None:
        if (self.folder / FORMAT_FILE).exists():
            there, wanted = read_format(self.folder), self.format
            if there != wanted:
                raise DataError(f"{self.folder} holds {there}", expected=str(wanted), fix="Write into another folder")
        else:
            write_json(self.folder / FORMAT_FILE, {"version": VERSION, **asdict(self.format)})
        shards = shards_of(self.folder)
        self._open(shards[-1] if shards else 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the writing; what was written is on the disk."""
        try:
            self.flush()
        finally:
            self._files.close()
            self._lock.close()

    def write(self, item: CodedItem) -> None:
        """Writes one item; it counts after the next ``flush``, or when the writer is closed.

        Raises:
            DataError: an item that does not fit the format.
        """
        data = {"codes": self._packing.packed(item.codes), "chroma": self._chroma(item)}
        states, placed = self._states(item)
        data["states"] = states
        line = {
            "key": item.key,
            "name": item.name,
            "texts": list(item.texts),
            "counts": [len(data[part]) // self._row_bytes[part] for part in PARTS],
            "states": placed,
        }
        for part in PARTS:
            self._out[part].write(data[part])
            self._ends[part] += len(data[part])
        self._waiting.append(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        if max(self._ends.values()) >= self._shard_bytes:
            self.flush()
            self._files.close()
            self._open(self._shard + 1)

    def flush(self) -> None:
        """Makes what was written last: first the arrays, then the lines that speak of them."""
        for part in (*PARTS, "items"):
            if part == "items":
                self._out[part].write(b"".join(self._waiting))
            self._out[part].flush()
            os.fsync(self._out[part].fileno())
        self._waiting.clear()

    def _open(self, shard: int) -> None:
        """Opens a shard to write on, without what a killed writer left behind its last line."""
        self._shard, self._files, self._waiting = shard, contextlib.ExitStack(), list[bytes]()
        self._placed: dict[bytes, list[int]] = {}
        self._out: dict[str, BinaryIO] = {}
        self._ends = dict.fromkeys(PARTS, 0)
        ends = dict.fromkeys((*PARTS, "items"), 0)
        for line, counts in whole_lines(self.folder, shard):
            ends["items"] += len(line) + 1
            for part in PARTS:
                ends[part] += counts[part] * self._row_bytes[part]
        for part, end in ends.items():
            path = shard_file(self.folder, shard, part)
            path.touch()
            file = self._files.enter_context(path.open("r+b"))
            file.truncate(end)
            file.seek(end)
            self._out[part] = file
            if part in self._ends:
                self._ends[part] = end

    def _chroma(self, item: CodedItem) -> bytes:
        if item.chroma is None:
            return b""
        classes = self.format.chroma_classes
        chroma = np.asarray(item.chroma)
        if chroma.ndim != 1 or chroma.dtype.kind not in "iu" or not chroma.size or not classes:
            raise DataError(
                f"a melody of shape {chroma.shape} and type {chroma.dtype}",
                expected=f"integers (frames,), the strongest of {classes} classes",
            )
        if not (chroma.min() >= 0 and chroma.max() < classes):
            raise DataError(f"pitch classes from {chroma.min()} to {chroma.max()}", expected=f"0 to {classes - 1}")
        return chroma.astype(np.uint8).tobytes()

    def _states(self, item: CodedItem) -> tuple[bytes, list[list[int]]]:
        """The states that the shard does not hold yet, and for each text where its states begin and how many."""
        width = self.format.text_width
        if len(item.states) != (len(item.texts) if width else 0):
            raise DataError(f"{len(item.states)} states of {len(item.texts)} texts", expected="as the format says")
        new, placed = b"", []
        for states in item.states:
            if states.ndim != 2 or states.shape[1] != width or not len(states):
                raise DataError(f"states of shape {states.shape}", expected=f"(places, {width})")
            with np.errstate(over="ignore"):
                half = states.astype("<f2")
            if not np.isfinite(half).all():
                raise DataError(f"states of texts up to {np.abs(states).max()}", expected="numbers float16 can hold")
            data = half.tobytes()
            digest = hashlib.blake2b(data, digest_size=16).digest()
            if digest not in self._placed:
                first = (self._ends["states"] + len(new)) // self._row_bytes["states"]
                self._placed[digest] = [first, len(states)]
                new += data
            placed.append(self._placed[digest])
        return new, placed


def _locked(path: Path) -> BinaryIO:
    """A file that nobody else holds; it is free again when it is closed, or its process ends."""
    file = path.open("ab")
    with contextlib.suppress(ImportError):  # not every system has such locks; there, one process has to write
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
    return file
