"""Text from tokens that come one by one: what is shown is never taken back, and no character is cut."""

from __future__ import annotations

import codecs
import re
from typing import Protocol

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"  # SentencePiece's mark


class Pieces(Protocol):
    """A vocabulary of SentencePiece pieces."""

    @property
    def all_special_ids(self) -> list[int]:
        """Ids that stand for no text."""
        ...

    def convert_ids_to_tokens(self, ids: int) -> str | None:
        """The piece of an id."""
        ...


class PieceStream:
    """Texts piece by piece, with the space before a word where the vocabulary has one.

    Characters that the vocabulary lacks come byte by byte: their bytes are held until the character is whole. Bytes
    that no character begins with, or that are followed by something else, become U+FFFD.

    Args:
        vocabulary: of the tokens. quiet: ids that stand for no text, beside the special ones.
    """

    def __init__(self, vocabulary: Pieces, *, quiet: tuple[int, ...] = ()) -> None:
        self._vocabulary = vocabulary
        self._silent = {*vocabulary.all_special_ids, *quiet}
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The text that ``token`` completes, often none; an id that the vocabulary lacks has none."""
        if token in self._silent:
            return ""
        piece = self._vocabulary.convert_ids_to_tokens(token)
        if piece is None:
            return ""
        byte = _BYTE.fullmatch(piece)
        content = bytes([int(byte[1], 16)]) if byte else piece.replace(_SPACE, " ").encode("utf-8", "replace")
        return self._decoder.decode(content)

    def flush(self) -> str:
        """What is held, as U+FFFD where it is no whole character; then begins anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest
