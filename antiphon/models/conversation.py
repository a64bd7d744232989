"""Conversations with recordings among their texts: checking them, and taking the recordings out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from antiphon.errors import ParamError, ParamTypeError
from antiphon.text.chat_template import Rendered, Span

# where a part of type "audio" holds its recording
SOURCES = ("audio", "path", "url")
TYPES = ("text", "audio")


@dataclass(frozen=True)
class Part:
    """A recording in a conversation: what it is, its rate where that is told, and what messages call it."""

    given: Any
    rate_hz: int | None
    name: str


def recordings_in(conversation: Sequence[Any], name: str = "conversation") -> list[Part]:
    """The recordings of a conversation, in the order of its messages and their parts.

    Raises:
        ParamError: a message without a role or content, a part of another kind, or one without its recording.
        ParamTypeError: messages or parts that are no dicts.
    """
    return [
        part
        for number, message in enumerate(conversation)
        for part in _recordings_of(message, f"message {number} of the {name}")
    ]


def _recordings_of(message: Any, name: str) -> list[Part]:
    if not isinstance(message, dict):
        raise ParamTypeError(f"{name} is of type {type(message).__name__}", expected="a dict with 'role' and 'content'")
    if not isinstance(message.get("role"), str):
        raise ParamError(f"{name} has the role {message.get('role')!r}", expected="'user', 'assistant' or 'system'")
    content = message.get("content")
    if isinstance(content, str) or (content is None and "content" in message):
        return []
    if not isinstance(content, (list, tuple)):
        kind = type(content).__name__ if "content" in message else "missing"
        raise ParamTypeError(f"the content of {name} is {kind}", expected="a text, or a list of parts")
    found = [_recording(part, f"part {number} of {name}") for number, part in enumerate(content)]
    return [part for part in found if part is not None]


def _recording(part: Any, name: str) -> Part | None:
    if not isinstance(part, dict):
        raise ParamTypeError(
            f"{name} is of type {type(part).__name__}", expected="a dict such as {'type': 'text', 'text': ...}"
        )
    kind = part.get("type")
    if kind not in TYPES:
        raise ParamError(f"{name} is of the type {kind!r}", expected="'text' or 'audio'")
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise ParamError(f"{name} has the text {part.get('text')!r}", expected="a string under 'text'")
        return None
    held = [key for key in SOURCES if part.get(key) is not None]
    if len(held) != 1:
        raise ParamError(f"{name} holds {held or 'no recording'}", expected=f"one of {', '.join(map(repr, SOURCES))}")
    return Part(part[held[0]], part.get("sampling_rate"), name)


def with_answers(
    row: Rendered, conversation: Sequence[Any], render: Callable[..., Rendered], *, generation_prompt: bool
) -> Rendered:
    """``row`` with the places of what the assistant says as its ``generated``.

    Where the template does not say them, they are found by rendering the conversation up to each answer: an answer is
    what comes behind the head that asks for it, without white space behind its end.

    Args:
        render: renders a part of the conversation; takes ``add_generation_prompt``.

    Raises:
        ParamError: the template writes the beginning of a conversation otherwise when more follows.
    """
    if row.generated:
        return row
    spans: list[Span] = []
    for number, message in enumerate(conversation):
        if message.get("role") != "assistant":
            continue
        before = render(conversation[:number], add_generation_prompt=True).text if number else ""
        last = number == len(conversation) - 1
        after = row.text if last and not generation_prompt else render(conversation[: number + 1]).text
        if not (after.startswith(before) and row.text.startswith(after)):
            raise ParamError(
                "the chat template does not tell which text is the assistant's",
                expected="{% generation %} around it, or a text that only grows with the conversation",
            )
        spans.append((len(before), len(after.rstrip())))
    return replace(row, generated=tuple(spans))
