"""What was said when: words with their times beside a conversation, and their tokens on the frames of its codes.

Source: the data of kyutai's moshi-finetune, whose files are read as they are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.checkpoints.json_files import read_json
from antiphon.errors import AntiphonError, DataError

PADDING = 3  # the text token of a frame on which no word begins or goes on
END_OF_PADDING = 0  # that of the last such frame before a word
_MOST_BYTES = 64 << 20  # a day of speech
_SHOWN = 60


@dataclass(frozen=True)
class Word:
    """A word, from where to where it is said, in seconds, and by whom."""

    text: str
    start_s: float
    end_s: float
    speaker: str


def words_beside(sound: Path) -> list[Word]:
    """The words in the ``.json`` beside a sound: ``{"alignments": [[word, [start_s, end_s], speaker], ...]}``.

    Raises:
        DataError: there is no such file, it is damaged, or the words are not in the order of their beginnings.
    """
    path = sound.with_suffix(".json")
    try:
        rows = read_json(path, limit_bytes=_MOST_BYTES).get("alignments")
    except AntiphonError as error:
        raise DataError(
            f"no words beside {sound.name!r}: {error}", fix="Align the sound and write its .json"
        ) from error
    if not isinstance(rows, list):
        raise DataError(f"{path.name} has no list of alignments", expected="[[word, [start_s, end_s], speaker], ...]")
    words = [_word(row, path.name) for row in rows]
    for before, after in itertools.pairwise(words):
        if not before.start_s <= after.start_s:
            raise DataError(
                f"{path.name}: {after.text[:_SHOWN]!r} at {after.start_s} s stands behind {before.start_s} s",
                expected="words in the order in which they begin",
            )
    return words


def _word(row: Any, name: str) -> Word:
    whole = isinstance(row, list) and len(row) == 3 and isinstance(row[0], str) and isinstance(row[2], str)
    times = row[1] if whole else None
    if not (isinstance(times, list) and len(times) == 2 and all(type(t) in (int, float) for t in times)):
        raise DataError(f"{name}: {str(row)[:_SHOWN]}", expected="[word, [start_s, end_s], speaker]")
    if not 0 <= times[0] <= times[1] < math.inf:
        raise DataError(f"{name}: {str(row)[:_SHOWN]}", expected="a start from 0 s on, and an end behind it")
    return Word(row[0], float(times[0]), float(times[1]), row[2])


def text_of_frames(
    words: Sequence[Word], tokens: Callable[[str], Sequence[int]], *, first: int, count: int, frame_rate_hz: float
) -> np.ndarray:
    """The text tokens (count,) int64 of frames ``first`` to ``first + count``.

    A word's tokens stand on the frame in which it begins and on those that follow; when words are faster than frames,
    their tokens wait for their turn. All other frames hold ``PADDING``, the last one before a word ``END_OF_PADDING``.
    Of words that began before ``first`` nothing is written.
    """
    text = np.full(count, PADDING, np.int64)
    free = 0
    for word in words:
        frame = int(word.start_s * frame_rate_hz) - first
        if frame < 0:
            continue
        place = max(frame, free)
        ids = list(tokens(word.text.strip()))[: max(0, count - place)]
        if not ids:
            continue
        if place and text[place - 1] == PADDING:
            text[place - 1] = END_OF_PADDING
        text[place : place + len(ids)] = ids
        free = place + len(ids)
    return text
