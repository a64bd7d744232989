"""Slots of a form that a model fills in: which tokens it may choose next, and when a slot is filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from antiphon.tasks.token_texts import TokenTexts, beginnings


class Slot(Protocol):
    """Something to be filled in.

    Attributes:
        text: what was written so far. most_tokens: after which it is filled.
    """

    text: str
    most_tokens: int

    def allowed(self) -> Tensor:
        """(V,) bool: the tokens that may come next, at least one."""
        ...

    def take(self, token: int) -> bool:
        """Writes a token; whether the slot is filled by it."""
        ...

    def closes(self, token: int) -> bool:
        """Whether a token is no part of the slot and ends it."""
        ...


class StringSlot:
    """Words between quotation marks, which the model closes.

    Args:
        texts: of the vocabulary. most_characters: after which they are closed.
    """

    def __init__(self, texts: TokenTexts, *, most_characters: int) -> None:
        self.text = ""
        self.most_tokens = most_characters + 1
        self._most_characters = most_characters
        self._texts = texts

    def allowed(self) -> Tensor:
        if len(self.text) >= self._most_characters:
            return self._texts.starting('"')
        if self.text:
            return self._texts.plain | self._texts.starting('"')
        return self._texts.plain & ~self._texts.starting(" ")

    def take(self, token: int) -> bool:
        self.text += self._texts.texts[token]
        return False

    def closes(self, token: int) -> bool:
        return self._texts.texts[token].startswith('"')


class NumberSlot:
    """A whole number from ``low`` to ``high``, which ends where one of the characters of ``behind`` begins."""

    def __init__(self, texts: TokenTexts, low: int, high: int, *, behind: str) -> None:
        self.text = ""
        self.most_tokens = len(str(high)) + 1
        self._texts, self._low, self._high, self._behind = texts, low, high, behind

    def allowed(self) -> Tensor:
        room = len(str(self._high)) - len(self.text)
        digits = [f"{number:0{length}}" for length in range(1, min(room, 3) + 1) for number in range(10**length)]
        mask = self._texts.spelling(piece for piece in digits if self._may_become(self.text + piece))
        if self.text and self._low <= int(self.text):
            for character in self._behind:
                mask = mask | self._texts.starting(character)
        return mask

    def take(self, token: int) -> bool:
        self.text += self._texts.texts[token]
        return False

    def closes(self, token: int) -> bool:
        return self._texts.texts[token].startswith(tuple(self._behind))

    def _may_become(self, digits: str) -> bool:
        """Whether a number within the bounds begins with these digits."""
        if len(digits) > 1 and digits[0] == "0":
            return False
        value, room = int(digits), len(str(self._high)) - len(digits)
        tails = [10**length for length in range(room + 1)] if value else [1]
        return any(value * tail <= self._high and self._low <= value * tail + tail - 1 for tail in tails)


class ChoiceSlot:
    """One of several texts, of which none begins with another."""

    def __init__(self, texts: TokenTexts, options: Sequence[str]) -> None:
        self.text = ""
        self.most_tokens = max(len(option) for option in options)
        self._texts, self._options = texts, options

    def allowed(self) -> Tensor:
        return self._texts.spelling(beginnings(self._options, self.text))

    def take(self, token: int) -> bool:
        self.text += self._texts.texts[token]
        return self.text in self._options

    def closes(self, token: int) -> bool:
        return False
