"""Text from byte-level tokens that come one by one: what is shown is never taken back, and no character is cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

_CUT = "\ufffd"


class Decoder(Protocol):
    """What turns ids into text, leaving out those that stand for none."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = False) -> str: ...


class TokenStream:
    """Texts token by token, which together are what the tokens decode to at once.

    A token of a byte-level vocabulary may end within a character; it is held until the character is whole.

    Args:
        decoder: a tokenizer whose tokens are bytes of UTF-8, as Qwen2's are.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._held: list[int] = []

    def push(self, token: int) -> str:
        """The text that ``token`` completes, often a word and its space; none for a special one."""
        self._held.append(token)
        text = self._decoder.decode(self._held, skip_special_tokens=True)
        if text.endswith(_CUT):
            return ""
        self._held.clear()
        return text

    def flush(self) -> str:
        """What is held, as U+FFFD where it is no whole character; then begins anew."""
        text = self._decoder.decode(self._held, skip_special_tokens=True) if self._held else ""
        self._held.clear()
        return text
