"""What a listener answers, and a conversation as it is passed on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from antiphon.errors import ParamTypeError
from antiphon.tasks.heard_sound import clock

Finish = Literal["end", "length", "stopped"]
Turn = tuple[str, str]


@dataclass(frozen=True)
class Part:
    """What was answered about a part of a recording: its ``text``, and where the part begins and ends, in seconds."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Answer:
    """An answer; ``str`` gives its text.

    Attributes:
        text: of it. question: that it answers. history: the turns with this one, which the next question is asked
            with. seed: with which it is given again; ``None`` where no chance was involved.
        finish: why it ends: the model had said what it had to say (``"end"``), it had as many tokens as it may have
            (``"length"``), or the caller stopped it (``"stopped"``).
        tokens: how many it has. heard_s: seconds of the recordings that were heard. cut_s: seconds that were not.
        parts: of a recording that was heard part by part.
        model, parameters: what it was made by.
    """

    text: str
    question: str
    history: tuple[Turn, ...] = ()
    seed: int | None = None
    finish: Finish = "end"
    tokens: int = 0
    heard_s: float = 0.0
    cut_s: float = 0.0
    parts: tuple[Part, ...] = ()
    model: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text


def turns_of(history: Any) -> tuple[Turn, ...]:
    """The turns of a conversation: pairs of a question and its answer, or the ``Answer`` that it came to.

    Raises:
        ParamTypeError: anything else.
    """
    if isinstance(history, Answer):
        return history.history
    iterable = isinstance(history, Iterable) and not isinstance(history, (str, bytes))
    turns: list[Any] = list(history) if iterable else [None]
    for turn in turns:
        pair = isinstance(turn, (tuple, list)) and len(turn) == 2
        if not (pair and all(isinstance(text, str) for text in turn)):
            raise ParamTypeError(
                f"history of type {type(history).__name__}",
                expected="pairs of a question and its answer, or the answer that it came to",
            )
    return tuple((question, answer) for question, answer in turns)


def merged(told: Sequence[tuple[Part, Answer]], turns: tuple[Turn, ...], seed: int | None) -> Answer:
    """One answer of those about the parts of a recording, each in a line with its times.

    Args:
        told: at least one. turns: that were before. seed: of the first.
    """
    text = "\n".join(f"{clock(part.start_s)}-{clock(part.end_s)}: {part.text}" for part, _ in told)
    last = told[-1][1]
    return replace(
        last,
        text=text,
        history=(*turns, (last.question, text)),
        seed=seed,
        tokens=sum(answer.tokens for _, answer in told),
        heard_s=sum(answer.heard_s for _, answer in told),
        parts=tuple(part for part, _ in told),
    )
