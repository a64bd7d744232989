"""Texts that lie beside a sound: ``song.txt`` and ``song.json`` next to ``song.wav``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.checkpoints.json_files import read_json
from antiphon.errors import AntiphonError, DataError
from antiphon.training.questions import Question, questions_of

TEXT_KEYS = ("text", "description", "caption")
_MOST_CHARACTERS = 10_000
_MOST_TEXTS = 1000
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Caption:
    """What is known of a sound: texts, of which each says all, a recording of its melody, and questions about it."""

    texts: tuple[str, ...] = ()
    melody: Path | None = None
    questions: tuple[Question, ...] = ()


def caption_beside(sound: Path, *, record: Path | None = None) -> Caption:
    """Gives the texts beside a sound file: those of its ``.json``, and behind them the lines of its ``.txt``; and the
    questions of its ``.json``.

    Args:
        record: a JSON file of another name, which then has to be there.

    Raises:
        DataError: a file that is damaged, or holds what is no text.
    """
    record_path, text_path = record or sound.with_suffix(".json"), sound.with_suffix(".txt")
    texts: tuple[str, ...] = ()
    melody, questions = None, tuple[Question, ...]()
    if record is not None or record_path.is_file():
        values = _values(record_path)
        texts = texts_of(values) or described(values)
        melody = melody_of(values, record_path.parent)
        questions = questions_of(values)
    if text_path.is_file():
        texts += _checked([line.strip() for line in _read(text_path).splitlines()])
    return Caption(tuple(dict.fromkeys(texts)), melody, questions)


def texts_of(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Gives the texts that a record states under one of ``TEXT_KEYS``, one or a list; empty ones are left out.

    Raises:
        DataError: what stands there is no text.
    """
    found: list[Any] = []
    for key in TEXT_KEYS:
        value = values.get(key)
        if value is not None:
            found += value if isinstance(value, list) else [value]
    return _checked(found)


def melody_of(values: Mapping[str, Any], folder: Path) -> Path | None:
    """Gives the recording of the melody that a record names, relative to ``folder``.

    Raises:
        DataError: what stands there is no path.
    """
    value = values.get("melody")
    if value is None:
        return None
    if not isinstance(value, str) or not value or "\0" in value:
        raise DataError(f"melody={value!r}", expected="the path of a sound file")
    return folder / value


def described(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Gives a text put together from tags, such as "slow blues, calm, with guitar and drums, 80 bpm, in A minor".

    Read are genre, moods, instruments (or instrument), bpm and key, and where there is none of them title and keywords.
    """
    parts = [*_listed(values, "genre"), *_listed(values, "moods", "mood")]
    instruments = _listed(values, "instruments", "instrument")
    if instruments:
        last = instruments.pop()
        parts.append("with " + (f"{', '.join(instruments)} and {last}" if instruments else last))
    parts += [f"{bpm} bpm" for bpm in _listed(values, "bpm")]
    parts += [f"in {key}" for key in _listed(values, "key")]
    parts = parts or [*_listed(values, "title", "name"), *_listed(values, "keywords")]
    return _checked([", ".join(parts)])


def _listed(values: Mapping[str, Any], *keys: str) -> list[str]:
    """The tags under the first of these keys that has any; lists may also be texts with commas."""
    for key in keys:
        value = values.get(key)
        if isinstance(value, str):
            value = value.split(",")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        items = value if isinstance(value, list) else [] if value is None else [value]
        found = [str(item).strip() for item in items if item is not None and str(item).strip()]
        if found:
            return found
    return []


def _checked(texts: list[Any]) -> tuple[str, ...]:
    for text in texts:
        if not isinstance(text, str) or len(text) > _MOST_CHARACTERS:
            shown = f"of {len(text)} characters" if isinstance(text, str) else f"of type {type(text).__name__}"
            raise DataError(f"a text {shown}", expected=f"text of at most {_MOST_CHARACTERS} characters, or a list")
    if len(texts) > _MOST_TEXTS:
        raise DataError(f"{len(texts)} texts of one sound", expected=f"at most {_MOST_TEXTS}")
    return tuple(text.strip() for text in texts if text.strip())


def _values(path: Path) -> dict[str, Any]:
    try:
        return read_json(path, limit_bytes=_MOST_BYTES)
    except AntiphonError as error:
        raise DataError(f"{path.name} beside the sound cannot be used: {error}") from error


def _read(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise DataError(f"{path.name} beside the sound has more than {_MOST_BYTES} bytes", expected="a text")
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is no UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise DataError(f"{path.name} beside the sound cannot be read: {reason}") from error
