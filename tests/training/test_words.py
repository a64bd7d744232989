"""Words with their times: what is read beside a sound, and where tokens stand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import DataError
from antiphon.training.words import END_OF_PADDING, PADDING, Word, text_of_frames, words_beside

E, P = END_OF_PADDING, PADDING


def tokens(word: str) -> list[int]:
    return [10 + "abcdef".index(letter) for letter in word]


def frames(*words: tuple[str, float], first: int = 0, count: int = 8) -> list[int]:
    said = [Word(text, start, start + 0.1, "SPEAKER_MAIN") for text, start in words]
    return text_of_frames(said, tokens, first=first, count=count, frame_rate_hz=10.0).tolist()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], [P] * 8),
        ([("ab", 0.3)], [P, P, E, 10, 11, P, P, P]),
        ([("a", 0.0)], [10, P, P, P, P, P, P, P]),
        # a word on the heels of another has nothing before it, and one that comes too early waits
        ([("ab", 0.1), ("c", 0.35)], [E, 10, 11, 12, P, P, P, P]),
        ([("abc", 0.1), ("d", 0.2), ("e", 0.6)], [E, 10, 11, 12, 13, E, 14, P]),
        ([("ab", 0.7)], [P, P, P, P, P, P, E, 10]),
        ([("ab", 0.9)], [P] * 8),
    ],
)
def test_tokens_stand_where_their_words_begin(words: list[tuple[str, float]], expected: list[int]) -> None:
    assert frames(*words) == expected


def test_a_passage_has_the_words_that_begin_in_it() -> None:
    assert frames(("abc", 0.3), ("d", 0.7), first=4, count=5) == [P, P, E, 13, P]


def test_alignments_are_read(tmp_path: Path) -> None:
    rows = [["hello", [0.5, 0.9], "SPEAKER_MAIN"], ["hi", [1, 1.2], "SPEAKER_OTHER"]]
    (tmp_path / "a.json").write_text(json.dumps({"alignments": rows}))
    assert words_beside(tmp_path / "a.wav") == [
        Word("hello", 0.5, 0.9, "SPEAKER_MAIN"),
        Word("hi", 1.0, 1.2, "SPEAKER_OTHER"),
    ]
    with pytest.raises(DataError, match="no words beside 'b.wav'"):
        words_beside(tmp_path / "b.wav")


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"alignments": {}},
        {"alignments": [["a", [0, 1]]]},
        {"alignments": [["a", [0], "s"]]},
        {"alignments": [["a", ["0", 1], "s"]]},
        {"alignments": [["a", [True, 1], "s"]]},
        {"alignments": [["a", [2, 1], "s"]]},
        {"alignments": [["a", [-1, 1], "s"]]},
        {"alignments": [["a", [float("nan"), 1], "s"]]},
        {"alignments": [["a", [2, 3], "s"], ["b", [1, 2], "s"]]},
    ],
)
def test_words_that_cannot_be_are_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"a\.json"):
        words_beside(tmp_path / "a.wav")
