"""A look at every file of a data set before training, whose findings are kept so that it is quick the next time."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.audio import files
from antiphon.audio.header import Header
from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.errors import AntiphonError, DataError
from antiphon.training.manifest import Item, Manifest
from antiphon.training.skipped import MOST_SHARE, Skipped

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # how many are done, of how many

_FOUND = np.dtype([("key", "<u8"), ("samples", "<i8"), ("rate_hz", "<i4"), ("channels", "<i4")])
_TASTE_S = 0.1
# what a manifest's length and the header's may differ by: programs count the padding of lossy formats differently
_TOLERANCE_S, _TOLERANCE = 0.5, 0.01
_AT_ONCE = 1024
_TOGETHER = 16  # handed to a thread at once: handing over costs more than looking at what is known


@dataclass(frozen=True, eq=False)
class Inspected:
    """The good items of a data set.

    Args:
        manifest: of them alone, with all that was skipped. found: their headers, a row an item.
    """

    manifest: Manifest
    found: np.ndarray

    def __len__(self) -> int:
        return len(self.manifest)

    @property
    def skipped(self) -> Skipped:
        return self.manifest.skipped

    def item(self, place: int) -> Item:
        """The item at a place. Raises DataError: a text beside the sound that cannot be read."""
        return self.manifest.item(place)

    def header(self, place: int) -> Header:
        """What the file of an item states."""
        return _header(self.found[place])

    def chosen(self, places: Sequence[int] | np.ndarray) -> Inspected:
        """Some of the items, as a data set of its own; ``skipped`` stays that of the whole."""
        places = np.asarray(places, np.int64)
        return Inspected(self.manifest.chosen(places, skipped=self.skipped), self.found[places])

    def passing(self, check: Callable[[int], None]) -> Inspected:
        """The items of which ``check``, called with their places, has nothing to say; the others are skipped.

        Raises:
            DataError: too many are.
        """
        items, good = len(self) + self.skipped.count, []
        for place in range(len(self)):
            try:
                check(place)
            except (AntiphonError, OSError) as error:
                self.skipped.add(self.manifest.name(place), error)
            else:
                good.append(place)
        self.skipped.check(items)
        return self.chosen(good)

    def key(self, place: int) -> str:
        """What changes with the row, the file and its melody, in hexadecimal digits."""
        return f"{int(self.found['key'][place]):016x}"


def _header(row: Any) -> Header:
    return Header(int(row["channels"]), int(row["rate_hz"]), int(row["samples"]))


def passage_of(item: Item, header: Header) -> tuple[float, float]:
    """Gives where an item begins and ends in its file, in seconds.

    Raises:
        DataError: the file ends before.
    """
    end_s = header.seconds if item.end_s is None else item.end_s
    if not item.start_s < header.seconds or not end_s <= header.seconds + _TASTE_S:
        wanted = f"{item.start_s:g} s to {end_s:g} s"
        raise DataError(f"the file has {header.seconds:.2f} s", expected=f"the passage from {wanted}")
    return item.start_s, min(end_s, header.seconds)


def inspect(
    manifest: Manifest,
    *,
    cache: str | os.PathLike[str] | None = None,
    channels: int | None = None,
    least_s: float = 0.0,
    workers: int = 4,
    share: float = MOST_SHARE,
    progress: Progress | None = None,
) -> Inspected:
    """Opens every file, hears its beginning and its end, reads the texts beside it, and gives the items that are good.

    Bad are missing, empty, damaged and cut files, those of no length or of another rate or length than the manifest
    states, those too short, and texts that cannot be read. They are skipped, counted and named in the log.

    Args:
        cache: a file that remembers the good ones: unless they, or what lies beside them, have changed since, they are
            not opened again. channels: that the model needs; a file of several others is bad.
        least_s: shorter items are bad. workers: threads.
        share: of the items, those of bad rows included, that may be bad.

    Raises:
        DataError: more are; it comes as soon as that is sure.
    """
    total = len(manifest) + manifest.skipped.count
    rows = np.zeros(len(manifest), _FOUND)
    known = _Known.read(cache)
    skipped = Skipped(manifest.skipped.count, list(manifest.skipped.named))
    good = np.zeros(len(manifest), bool)

    def look(places: range) -> list[tuple[int, Exception | None]]:
        found: list[tuple[int, Exception | None]] = []
        for place in places:
            try:
                rows[place] = _looked_at(manifest, place, known, channels, least_s)
                found.append((place, None))
            except (AntiphonError, OSError) as error:
                found.append((place, error))
        return found

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for some in _divided(range(len(manifest)), _AT_ONCE):
            for place, error in chain.from_iterable(pool.map(look, _divided(some, _TOGETHER))):
                good[place] = error is None
                if error is not None:
                    skipped.add(manifest.name(place), error)
            if skipped.count > share * total:
                skipped.check(total, share=share)
            if progress is not None:
                progress(some.stop, len(manifest))
    skipped.check(total, share=share)
    found = rows[good]
    known.write(cache, found)
    if skipped.count:
        logger.warning("%d of %d items are skipped:\n%s", skipped.count, total, skipped.report())
    if skipped.count == manifest.skipped.count:
        return Inspected(manifest, found)
    return Inspected(manifest.chosen(np.flatnonzero(good), skipped=skipped), found)


@dataclass(frozen=True, eq=False)
class _Known:
    """Headers of files that were found good before, sorted by key."""

    rows: np.ndarray

    @classmethod
    def read(cls, path: str | os.PathLike[str] | None) -> _Known:
        if path is None or not Path(path).exists():
            return cls(np.zeros(0, _FOUND))
        try:
            rows = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            rows = None
        if rows is None or rows.dtype != _FOUND or rows.ndim != 1:  # it only saves time
            logger.warning("%s is no record of an inspection: every file is looked at again", path)
            return cls(np.zeros(0, _FOUND))
        return cls(np.sort(rows, order="key"))

    def of(self, key: int) -> Header | None:
        place = int(np.searchsorted(self.rows["key"], np.uint64(key)))
        if place < len(self.rows) and int(self.rows["key"][place]) == key:
            return _header(self.rows[place])
        return None

    def write(self, path: str | os.PathLike[str] | None, found: np.ndarray) -> None:
        """Keeps what was found, unless all of it was known."""
        if path is None or (len(found) == len(self.rows) and (np.sort(found, order="key") == self.rows).all()):
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, needed_bytes=found.nbytes) as part, open(part, "wb") as file:
            np.save(file, found, allow_pickle=False)


def _divided(places: range, size: int) -> Iterator[range]:
    return (places[first : first + size] for first in range(0, len(places), size))


def _looked_at(
    manifest: Manifest, place: int, known: _Known, channels: int | None, least_s: float
) -> tuple[int, int, int, int]:
    """The row of an item that is good."""
    item = manifest.item(place)
    key = _key(manifest.rows[place], item)
    header = known.of(key) or _heard(item)
    start_s, end_s = passage_of(item, header)
    if not end_s - start_s >= least_s:
        raise DataError(f"{end_s - start_s:.2f} s of sound", expected=f"at least {least_s:g} s")
    if channels is not None and channels != 1 and header.channels not in (1, channels):
        raise DataError(f"{header.channels} channels", expected=f"1 or {channels}", fix="Mix it down first")
    return key, header.samples, header.rate_hz, header.channels


def _key(row: bytes, item: Item) -> int:
    """Eight bytes that change with the row, the file, and the recording of its melody, not with where all that lies."""
    digest = hashlib.blake2b(row, digest_size=8)
    for path in _files_of(item):
        state = _state(path)
        digest.update(f"{state.st_size} {state.st_mtime_ns} ".encode())
    return int.from_bytes(digest.digest(), "little")


def _files_of(item: Item) -> Iterator[Path]:
    yield item.path
    if item.melody is not None:
        yield item.melody


def _state(path: Path) -> os.stat_result:
    try:
        return os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path.name!r} cannot be opened: {reason}", fix="Check the path") from error


def _heard(item: Item) -> Header:
    """The header of a file whose beginning and end decode."""
    header = _tasted(item.path)
    if item.stated_hz is not None and item.stated_hz != header.rate_hz:
        raise DataError(f"a file at {header.rate_hz} Hz", expected=f"{item.stated_hz} Hz, as the manifest says")
    if item.stated_s is not None and not item.stated_s <= header.seconds * (1 + _TOLERANCE) + _TOLERANCE_S:
        raise DataError(f"a file of {header.seconds:.2f} s", expected=f"{item.stated_s:g} s, as the manifest says")
    if item.melody is not None:
        melody = _tasted(item.melody)
        if not melody.seconds > item.start_s:
            raise DataError(
                f"a melody of {melody.seconds:.2f} s", expected=f"one that lasts until {item.start_s:g} s and longer"
            )
    return header


def _tasted(path: Path) -> Header:
    header = files.read_header(path)
    if not header.samples > 0:
        raise DataError("a file without samples", expected="sound")
    if header.cut_short:
        raise DataError("a file that is cut short", expected="as many samples as its header promises")
    files.load(path, first_s=_TASTE_S)
    if header.seconds > _TASTE_S:
        files.load(path, start_s=header.seconds - _TASTE_S)
    return header
