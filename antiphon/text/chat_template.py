"""Chat templates: conversations to the text that a model was trained on, by a program that came with its files.

That program is not trusted: it runs in a sandbox, sees plain data only, and its work and its text are limited.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from antiphon.errors import ParamError, ParamTypeError
from antiphon.text.chat_sandbox import Work, compiled, foreign_errors, variables_of
from antiphon.text.text_input import checked_text

# NUL is refused in texts, so nobody can write these: around what the assistant says, around a token that the caller's
# text spells out, and where a message that is to be continued ends
GENERATED, LITERAL, CUT = ("\0[", "\0]"), ("\0(", "\0)"), "\0|"
_MARKS = re.compile("\0[][()|]")

Span = tuple[int, int]


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, with places in it as pairs of (first character, the one behind the last).

    Attributes:
        text: for the tokenizer.
        generated: what the template says is the assistant's; empty where it does not say.
        literal: what the caller wrote that would else be read as a control token.
    """

    text: str
    generated: tuple[Span, ...] = ()
    literal: tuple[Span, ...] = ()


class ChatTemplate:
    """A template, compiled.

    Args:
        source: in Jinja's language, with ``tojson``, ``raise_exception``, ``strftime_now``, loop controls and
            ``{% generation %}`` around what the assistant says.

    Raises:
        TokenizerError: it is no template.

    Source: transformers' chat templates, whose texts these are.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self._template = compiled(source)

    @property
    def variables(self) -> frozenset[str]:
        """The names that the template asks for."""
        return variables_of(self.source)

    def render(
        self,
        messages: Sequence[Any],
        *,
        tools: Sequence[Any] | None = None,
        documents: Sequence[Any] | None = None,
        add_generation_prompt: bool = False,
        continue_final_message: bool | str = False,
        control_tokens: Iterable[str] = (),
        **variables: Any,
    ) -> Rendered:
        """The text of one conversation.

        Args:
            messages: dicts with ``role`` and ``content``; values that are no plain data become their type's name.
            tools, documents: lists of dicts for templates that know them.
            add_generation_prompt: end with the head of the answer that is to come.
            continue_final_message: end inside the last message, whose ``content`` (or the field named) goes on.
            control_tokens: where the caller's strings hold one of these, its place is given as ``literal``.
            variables: for the template.

        Raises:
            ParamError: the template refuses the conversation, or what it says cannot be. SecurityError: it does what a
                template must not, or too much of it. TokenizerError: a text with NUL or half a surrogate pair.
        """
        marked = _Marked(control_tokens)
        chat = _messages(marked(list(messages), "conversation"))
        if continue_final_message:
            if add_generation_prompt:
                raise ParamError("continue_final_message and add_generation_prompt", expected="one of them")
            chat[-1] = _open_ended(chat[-1], continue_final_message)
        with foreign_errors():
            text = Work().text_of(
                self._template,
                messages=chat,
                tools=marked(tools, "tools"),
                documents=marked(documents, "documents"),
                add_generation_prompt=add_generation_prompt,
                **{name: marked(value, name) for name, value in variables.items()},
            )
        return _unmarked(_cut(text) if continue_final_message else text)


@lru_cache(maxsize=16)
def chat_template(source: str) -> ChatTemplate:
    """The ``ChatTemplate`` of a text, compiled once."""
    return ChatTemplate(source)


def _messages(chat: list[Any]) -> list[dict[str, Any]]:
    if not chat:
        raise ParamError("an empty conversation", expected="at least one message")
    for number, message in enumerate(chat):
        if not isinstance(message, dict):
            raise ParamTypeError(
                f"message {number} is of type {type(message).__name__}", expected="a dict with 'role' and 'content'"
            )
    # a key without a value is none: templates write "None" otherwise
    return [{key: value for key, value in message.items() if value is not None} for message in chat]


def _open_ended(message: dict[str, Any], field: bool | str) -> dict[str, Any]:
    name = field if isinstance(field, str) else "content"
    value = message.get(name)
    if isinstance(value, str):
        return {**message, name: f"{value}{CUT} "}
    texts = [place for place, part in enumerate(value or ()) if isinstance(part, dict) and "text" in part]
    if not texts:
        raise ParamError(f"the last message has no text in {name!r}", expected="a text to continue")
    parts = list(value or ())
    parts[texts[-1]] = {**parts[texts[-1]], "text": f"{parts[texts[-1]]['text']}{CUT} "}
    return {**message, name: parts}


def _cut(text: str) -> str:
    place = text.rfind(CUT)
    if place < 0:
        raise ParamError(
            "the chat template leaves out the message that is to be continued", fix="Take another template or message"
        )
    # where the template trimmed the space behind the mark, it trims messages: then ours goes without its end too
    return text[:place] if text.startswith(" ", place + len(CUT)) else text[:place].rstrip()


def _unmarked(text: str) -> Rendered:
    """``text`` without its marks, and the places between them."""
    pieces: list[str] = []
    length = last = 0
    started: dict[str, int] = {}
    spans: dict[str, list[Span]] = {GENERATED[0]: [], LITERAL[0]: []}
    ends = {end: start for start, end in (GENERATED, LITERAL)}
    for mark in _MARKS.finditer(text):
        pieces.append(text[last : mark.start()])
        length, last = length + len(pieces[-1]), mark.end()
        if mark.group() in spans:
            started[mark.group()] = length
        elif mark.group() in ends and (start := started.pop(ends[mark.group()], None)) is not None:
            spans[ends[mark.group()]].append((start, length))
    pieces.append(text[last:])
    return Rendered("".join(pieces), tuple(spans[GENERATED[0]]), tuple(spans[LITERAL[0]]))


class _Marked:
    """Values as plain data, their strings checked, and control tokens in them marked."""

    def __init__(self, control_tokens: Iterable[str]) -> None:
        longest_first = sorted({token for token in control_tokens if token}, key=len, reverse=True)
        self._tokens = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, value: Any, name: str) -> Any:
        if value is None or type(value) in (int, float, bool):
            return value
        if isinstance(value, str):
            return self._text(str.__str__(value), name)
        if isinstance(value, Mapping):
            return {key: self(item, f"{name}[{key!r}]") for key, item in value.items() if isinstance(key, (str, int))}
        if isinstance(value, (list, tuple)):
            return [self(item, f"{name}[{number}]") for number, item in enumerate(value)]
        if isinstance(value, (np.bool_, np.number)):
            return value.item()
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return self(fields, name)
        dump: Callable[[], Any] | None = getattr(value, "model_dump", None)
        # what is left (sounds, functions) has methods that no sandbox knows
        return self(dump(), name) if callable(dump) else f"<{type(value).__name__}>"

    def _text(self, text: str, name: str) -> str:
        text = checked_text(text, name)
        return text if self._tokens is None else self._tokens.sub(rf"{LITERAL[0]}\g<0>{LITERAL[1]}", text)


def chosen(given: str | None, own: str | Mapping[str, str] | None, *, owner: str) -> str:
    """The source of the template to use: one that was ``given``, by name or as it is, or the ``owner``'s own.

    Raises:
        ParamError: there is none, or no default among several.
    """
    named = {"default": own} if isinstance(own, str) else dict(own or {})
    if given is not None:
        if not isinstance(given, str):
            raise ParamTypeError(f"chat_template is of type {type(given).__name__}", expected="a template or its name")
        return named.get(given, given)
    if "default" not in named:
        raise ParamError(
            f"{owner} has no chat template" if not named else f"{owner} has the chat templates {sorted(named)}",
            expected="a template, or one called 'default'",
            fix="Pass chat_template",
        )
    return named["default"]


def conversations_of(conversation: Any) -> tuple[list[list[Any]], bool]:
    """The conversations of a call, and whether they came as a batch.

    Raises:
        ParamError: none. ParamTypeError: no list.
    """
    if not isinstance(conversation, (list, tuple)):
        raise ParamTypeError(
            f"conversation is of type {type(conversation).__name__}", expected="a list of messages, or a list of such"
        )
    if not conversation:
        raise ParamError("an empty conversation", expected="at least one message")
    if not isinstance(conversation[0], (list, tuple)):
        return [list(conversation)], False
    for number, one in enumerate(conversation):
        if not isinstance(one, (list, tuple)) or not one:
            raise ParamError(f"conversation {number} is {one!r}", expected="a list of at least one message")
    return [list(one) for one in conversation], True
