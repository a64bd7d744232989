"""Coded music that has been written, read passage by passage."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from antiphon.errors import DataError
from antiphon.training.code_packing import CodePacking
from antiphon.training.coded_format import PARTS, read_format, row_bytes, shard_file, shards_of, whole_lines
from antiphon.training.lines import Lines


class CodedFolder:
    """Coded music that has been written, an item at a time; where it ends may be written on.

    What is read is read from the files when it is asked for, and no more of it: the index takes some 150 bytes an
    item. The files are not mapped, because a process dies that looks at a mapped file which was cut short.

    Args:
        folder: where it lies.

    Raises:
        DataError: no such folder, or a damaged one.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.format = read_format(self.folder)
        self._packing = CodePacking(self.format.codebooks, self.format.codebook_size)
        self._row_bytes = row_bytes(self.format)
        rows: list[tuple[int, ...]] = []
        self._lines = Lines(self._read_lines(rows))
        self._rows = np.array(rows, np.int64).reshape(-1, 6)

    def _read_lines(self, rows: list[tuple[int, ...]]) -> Iterator[bytes]:
        for shard in shards_of(self.folder):
            ends = dict.fromkeys(PARTS, 0)
            for line, counts in whole_lines(self.folder, shard):
                rows.append((shard, ends["codes"], counts["codes"], ends["chroma"], counts["chroma"], ends["states"]))
                for part in PARTS:
                    ends[part] += counts[part]
                yield line
            for part, end in ends.items():
                path = shard_file(self.folder, shard, part)
                have = path.stat().st_size if path.exists() else 0
                if have < end * self._row_bytes[part]:
                    raise DataError(
                        f"{path} has {have} bytes", expected=f"{end * self._row_bytes[part]}", fix="Make it again"
                    )

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def frames(self) -> np.ndarray:
        """The frames of codes of each item, int64."""
        lengths: np.ndarray = self._rows[:, 2]
        return lengths

    def chroma_frames(self, place: int) -> int:
        """The frames of an item's melody, 0 where it has none."""
        return int(self._rows[place, 4])

    def keys(self) -> list[str]:
        """The key of each item."""
        return [json.loads(self._lines[place])["key"] for place in range(len(self))]

    def name(self, place: int) -> str:
        """What reports call an item."""
        name: str = json.loads(self._lines[place])["name"]
        return name

    def texts(self, place: int) -> list[str]:
        """The texts of an item."""
        texts: list[str] = json.loads(self._lines[place])["texts"]
        return texts

    def codes(self, place: int, start: int = 0, count: int | None = None) -> np.ndarray:
        """Frames ``start`` to ``start + count`` of an item's codes, (K, count) uint16; all unless told."""
        shard, first, frames = (int(value) for value in self._rows[place, :3])
        return self._packing.unpacked(self._read(shard, "codes", first, frames, start, count))

    def chroma(self, place: int, start: int = 0, count: int | None = None) -> np.ndarray:
        """Frames of an item's melody, (count,) uint8."""
        shard, first, frames = (int(self._rows[place, column]) for column in (0, 3, 4))
        return np.frombuffer(self._read(shard, "chroma", first, frames, start, count), np.uint8)

    def states(self, place: int, text: int) -> np.ndarray:
        """The states of one text of an item, (M, D) float16."""
        begin, count = json.loads(self._lines[place])["states"][text]
        data = self._read(int(self._rows[place, 0]), "states", 0, begin + count, begin, count)
        return np.frombuffer(data, "<f2").reshape(count, self.format.text_width)

    def _read(self, shard: int, part: str, first: int, rows: int, start: int, count: int | None) -> bytes:
        count = rows - start if count is None else count
        if not (start >= 0 and 0 <= count <= rows - start):
            raise DataError(f"rows {start} to {start + count} of an item's {part}", expected=f"0 to {rows}")
        size = self._row_bytes[part]
        path = shard_file(self.folder, shard, part)
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek((first + start) * size)
                data = file.read(count * size) if count else b""
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}", fix="Make it again") from error
        if len(data) != count * size:
            raise DataError(f"{path} ends before an item does", fix="Make it again")
        return data
