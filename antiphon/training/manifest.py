"""Which sounds there are to train with: a folder of files with texts beside them, or a JSONL manifest."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from antiphon.audio.formats import SUFFIXES
from antiphon.errors import DataError
from antiphon.training.captions import TEXT_KEYS, caption_beside, melody_of, texts_of
from antiphon.training.lines import Lines
from antiphon.training.questions import Question, questions_of
from antiphon.training.skipped import Skipped

logger = logging.getLogger(__name__)

MANIFESTS = (".jsonl", ".jsonl.gz")
_READ = frozenset(
    (*TEXT_KEYS, "path", "duration", "sample_rate", "melody", "start_s", "end_s", "info_path", "questions")
)
_MOST_LINE_BYTES = 1 << 20
_SHOWN = 100


@dataclass(frozen=True)
class Item:
    """One sound to train with.

    Args:
        name: what reports call it. path: of the file.
        texts: of which each says all there is to say; none is music without a text.
        start_s, end_s: the part of the file that counts; its end is the file's where ``end_s`` is ``None``.
        melody: a recording as long as the file, of the melody that it plays.
        stated_s, stated_hz: length and rate of the file, where the manifest states them.
        questions: about the sound, with their answers.
    """

    name: str
    path: Path
    texts: tuple[str, ...] = ()
    start_s: float = 0.0
    end_s: float | None = None
    melody: Path | None = None
    stated_s: float | None = None
    stated_hz: int | None = None
    questions: tuple[Question, ...] = ()


class Manifest:
    """The items of a data set in a fixed order, as the rows that name them; a million take some 200 MB.

    Files are not looked at before ``inspect`` does it.

    Args:
        root: what paths are relative to. rows: of JSON.
        skipped: rows that could not be read. source: what the data set is called.
    """

    def __init__(self, root: Path, rows: Lines, *, skipped: Skipped | None = None, source: str = "") -> None:
        self.root = root
        self.rows = rows
        self.skipped = skipped or Skipped()
        self.source = source or str(root)

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def read(cls, source: str | os.PathLike[str]) -> Manifest:
        """The data set of a folder or of a manifest.

        A folder is searched for sound files, in all folders below it, by their suffixes; a recording that a ``.json``
        names as its melody is no item. A manifest (``.jsonl``, ``.jsonl.gz``) has an object a line: ``path``, and
        optionally ``text`` (or ``description``, ``caption``; one or a list), ``duration`` (s), ``sample_rate``,
        ``melody``, ``start_s``, ``end_s``, ``questions`` (a list of ``{"question": ..., "answer": ...}``); paths are
        relative to it. audiocraft's are read too. Without a text the files beside the sound are asked, as in a folder.

        Raises:
            DataError: neither of the two, one without items, or more than 5 % of bad rows.
        """
        path = Path(source)
        if path.is_dir():
            manifest = cls(path, Lines(_rows_of_folder(path)))
        elif path.name.endswith(MANIFESTS):
            manifest = _read_jsonl(path)
        else:
            raise DataError(
                f"{os.fspath(path)[:200]!r} is no data set",
                expected="a folder of sound files, or a manifest that ends in .jsonl or .jsonl.gz",
                fix="Check the path",
            )
        manifest.skipped.check(len(manifest) + manifest.skipped.count)
        return manifest

    def item(self, place: int) -> Item:
        """The item at a place; the files beside the sound are read here.

        Raises:
            DataError: a text beside the sound that cannot be read.
        """
        values = json.loads(self.rows[place])
        path = self.root / values["path"]
        texts, melody, questions = texts_of(values), melody_of(values, self.root), questions_of(values)
        record = values.get("info_path")
        if not texts:
            caption = caption_beside(path, record=None if record is None else self.root / record)
            texts, melody, questions = caption.texts, melody or caption.melody, questions or caption.questions
        end_s = values.get("end_s")
        return Item(
            name=values["path"],
            path=path,
            texts=texts,
            start_s=float(values.get("start_s") or 0.0),
            end_s=None if end_s is None else float(end_s),
            melody=melody,
            stated_s=values.get("duration"),
            stated_hz=values.get("sample_rate"),
            questions=questions,
        )

    def name(self, place: int) -> str:
        """What reports call the item at a place."""
        name: str = json.loads(self.rows[place])["path"]
        return name

    def chosen(self, places: np.ndarray, *, skipped: Skipped) -> Manifest:
        """The items at these places; the others are ``skipped``."""
        return Manifest(self.root, self.rows.chosen(places), skipped=skipped, source=self.source)


def _rows_of_folder(folder: Path) -> Iterator[bytes]:
    """A row for each sound, sorted by name; melodies that a record names are left out."""
    names: list[str] = []
    melodies: set[str] = set()
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = os.path.join(where, name)
            if name.startswith("."):
                continue
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                names.append(path)
            elif name.endswith(".json") and os.path.getsize(path) <= _MOST_LINE_BYTES:
                melodies |= _melodies_in(Path(path))
    for path in sorted(names):
        if os.path.normpath(path) not in melodies:
            # surrogates, which stand for bytes that are no UTF-8 in a name, survive as escapes
            yield json.dumps({"path": os.path.relpath(path, folder)}).encode()


def _melodies_in(path: Path) -> set[str]:
    try:
        melody = melody_of(json.loads(path.read_bytes()), path.parent)
    except (OSError, ValueError, AttributeError, RecursionError):
        return set()  # a damaged record is reported with its sound
    return set() if melody is None else {os.path.normpath(melody)}


def _read_jsonl(path: Path) -> Manifest:
    skipped = Skipped()
    unread: set[str] = set()
    try:
        with open(path, "rb") as raw:
            file: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
            rows = Lines(_good_rows(_lines_of(file), skipped, unread))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"the manifest {path.name!r} cannot be read: {reason}", fix="Check the path") from error
    if unread:
        logger.warning("%s has fields that training does not read: %s", path.name, ", ".join(sorted(unread)[:20]))
    return Manifest(path.parent, rows, skipped=skipped, source=str(path))


def _lines_of(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(_MOST_LINE_BYTES):
        yield line.removeprefix(b"\xef\xbb\xbf").strip()


def _good_rows(lines: Iterable[bytes], skipped: Skipped, unread: set[str]) -> Iterator[bytes]:
    """The rows that can be used; names of fields that hold something and are not read go into ``unread``."""
    seen: set[int] = set()
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            values = checked_row(line)
        except DataError as error:
            skipped.add(f"line {number}", error)
            continue
        # eight bytes of a digest: a million paths as texts would take a gigabyte
        key = repr((os.path.normpath(values["path"]), values.get("start_s"), values.get("end_s")))
        digest = int.from_bytes(hashlib.blake2b(key.encode(errors="replace"), digest_size=8).digest(), "little")
        if digest in seen:
            skipped.add(f"line {number}", f"{values['path'][:_SHOWN]!r} is there twice")
            continue
        seen.add(digest)
        if not values.keys() <= _READ:
            unread |= {name for name in values.keys() - _READ if values[name] is not None}
        yield line


def checked_row(line: bytes) -> dict[str, Any]:
    """Gives the object of a manifest's line, seen to hold what its fields should.

    Raises:
        DataError: it does not.
    """
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"it is no JSON ({error})", expected='a line such as {"path": "song.wav"}') from error
    if not isinstance(values, dict):
        raise DataError("it is no JSON object", expected='a line such as {"path": "song.wav"}')
    for name in ("path", "melody", "info_path"):
        value = values.get(name)
        if (value is None and name == "path") or (value is not None and not _is_path(value)):
            raise DataError(f"{name}={str(value)[:_SHOWN]!r}", expected="the path of a file")
    for name in ("duration", "start_s", "end_s"):
        value = values.get(name)
        if value is not None and not (_is_number(value) and 0 <= value < math.inf):
            raise DataError(f"{name}={str(value)[:_SHOWN]}", expected="a number of seconds")
    rate_hz = values.get("sample_rate")
    if rate_hz is not None and not (_is_number(rate_hz) and 0 < rate_hz == int(rate_hz)):
        raise DataError(f"sample_rate={str(rate_hz)[:_SHOWN]}", expected="a whole number of hertz")
    start_s, end_s = values.get("start_s") or 0.0, values.get("end_s")
    if end_s is not None and not start_s < end_s:
        raise DataError(f"start_s={start_s} and end_s={end_s}", expected="an end behind the start")
    if values.get("duration") == 0:
        raise DataError("duration=0", expected="a sound with a length")
    texts_of(values)
    questions_of(values)
    return values


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and bool(value) and "\0" not in value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
