"""The texts of one call, checked: what a tokenizer accepts and the rows it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from antiphon.errors import ParamError, ParamTypeError, TokenizerError

Row = Any  # a string, a list of words, or a pair of either


@dataclass(frozen=True)
class TextInput:
    """``rows`` to encode, and whether they came as a batch (a list) or as one text."""

    rows: list[Row]
    is_batch: bool

    @classmethod
    def check(cls, text: Any, text_pair: Any = None, *, words: bool = False) -> TextInput:
        """The rows of a call.

        Args:
            text: a string, a list of strings, or a list of pairs of strings; with ``words`` lists of words instead.
            text_pair: the second text of each row, or ``None``.
            words: whether the texts come cut into words.

        Raises:
            ParamTypeError: something that is not text.
            ParamError: nothing to encode, or a batch and pairs of different size.
            TokenizerError: a text with NUL or half a surrogate pair.
        """
        if text is None:
            raise ParamError(
                "text=None", expected="a string or a list of strings", fix="Pass text='' for an empty prompt"
            )
        is_batch = isinstance(text, (list, tuple))
        if words:
            is_batch = is_batch and len(text) > 0 and isinstance(text[0], (list, tuple))
        if not is_batch:
            first = _row(text, "text", words=words)
            # an empty second text counts as none
            return cls([(first, _row(text_pair, "text_pair", words=words)) if text_pair else first], False)
        if not text:
            raise ParamError("text=[]", expected="at least one text", fix="Pass [''] for one empty prompt")
        rows = [_row(item, f"text[{index}]", words=words, pairs=True) for index, item in enumerate(text)]
        if text_pair is None:
            return cls(rows, True)
        if not isinstance(text_pair, (list, tuple)):
            raise ParamTypeError(
                f"text is a list and text_pair is {_kind(text_pair)}", expected="a list of the same length for both"
            )
        if len(text_pair) != len(rows):
            raise ParamError(
                f"text has {len(rows)} items and text_pair has {len(text_pair)}", expected="one text_pair for each text"
            )
        seconds = [_row(item, f"text_pair[{index}]", words=words) for index, item in enumerate(text_pair)]
        return cls(list(zip(rows, seconds, strict=True)), True)


def _row(item: Any, name: str, *, words: bool = False, pairs: bool = False) -> Row:
    if isinstance(item, str) and not words:
        return checked_text(item, name)
    if isinstance(item, (list, tuple)):
        if words and all(isinstance(word, str) for word in item):
            return [checked_text(word, name) for word in item]
        if pairs and len(item) == 2:
            return (_row(item[0], name, words=words), _row(item[1], name, words=words))
    expected = "a list of words (is_split_into_words=True)" if words else "a string"
    raise ParamTypeError(f"{name} is {_kind(item)}", expected=expected, fix=_hint(item))


def _hint(item: Any) -> str | None:
    if isinstance(item, (bytes, bytearray)):
        return "Decode it first, for example item.decode('utf-8')"
    if isinstance(item, Sequence) and item and isinstance(item[0], str):
        return "Pass is_split_into_words=True for texts that are already cut into words"
    return None


def _kind(item: Any) -> str:
    return "None" if item is None else f"of type {type(item).__name__}"


def checked_text(text: str, name: str) -> str:
    """``text`` itself, or ``TokenizerError`` where it holds NUL or half a surrogate pair.

    Such text reaches us only by mistake or with intent: it cannot be written to a file, a tag or a reply.
    """
    if "\0" in text:
        raise TokenizerError(
            f"{name} holds the NUL character at position {text.index(chr(0))}",
            expected="text without NUL",
            fix="Remove it, for example text.replace('\\x00', '')",
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"{name} holds half a surrogate pair (U+{ord(text[error.start]):04X}) at position {error.start}",
            expected="text that can be written as UTF-8",
            fix="Decode the source with the right encoding, or text.encode('utf-8', 'replace').decode('utf-8')",
        ) from None
    return text
