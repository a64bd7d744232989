"""Questions about a sound with their answers, as a record states them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antiphon.errors import DataError

DESCRIBE = "Describe this piece."
"""What a text alone is the answer to."""

_MOST_CHARACTERS = 10_000
_MOST_QUESTIONS = 1000
_SHOWN = 100


@dataclass(frozen=True)
class Question:
    """A question and its answer."""

    question: str
    answer: str


def questions_of(values: Mapping[str, Any]) -> tuple[Question, ...]:
    """Gives the questions that a record states under ``questions``, a list of ``{"question": ..., "answer": ...}``.

    Raises:
        DataError: what stands there is something else, or too long, or an empty question or answer.
    """
    rows = values.get("questions")
    if rows is None:
        return ()
    if not isinstance(rows, list) or len(rows) > _MOST_QUESTIONS:
        shown = f"{len(rows)} of them" if isinstance(rows, list) else f"questions={str(rows)[:_SHOWN]!r}"
        raise DataError(shown, expected=f"a list of at most {_MOST_QUESTIONS} questions with their answers")
    return tuple(_question(row) for row in rows)


def _question(row: Any) -> Question:
    if not isinstance(row, dict) or row.keys() != {"question", "answer"}:
        raise DataError(f"a question {str(row)[:_SHOWN]!r}", expected='{"question": "...", "answer": "..."}')
    texts = row["question"], row["answer"]
    for text in texts:
        if not isinstance(text, str) or not text.strip() or len(text) > _MOST_CHARACTERS:
            raise DataError(
                f"a question {str(row)[:_SHOWN]!r}", expected=f"texts of at most {_MOST_CHARACTERS} characters"
            )
    return Question(*texts)


def asked_of(texts: tuple[str, ...], questions: tuple[Question, ...]) -> tuple[Question, ...]:
    """Gives all that may be asked of a sound: its questions, and for each text the one that it answers."""
    return (*questions, *(Question(DESCRIBE, text) for text in texts))
