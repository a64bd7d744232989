"""An answer while it is given: its text piece by piece, and at the end the whole with all that is known of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Self

from antiphon.errors import SessionError
from antiphon.tasks.answer import Answer


class AnswerStream:
    """Texts, which together are the answer. The model works while the next one is asked for.

    Args:
        pieces: the texts; what it returns is the answer.

    Closing it ends the work and frees its memory.
    """

    def __init__(self, pieces: Generator[str, None, Answer]) -> None:
        self._pieces = pieces
        self._answer: Answer | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except StopIteration as end:
            if end.value is not None:
                self._answer = end.value
            raise StopIteration from None

    @property
    def answer(self) -> Answer:
        """The whole answer.

        Raises:
            SessionError: there is still something to come, or the stream was closed before its end.
        """
        if self._answer is None:
            raise SessionError("the answer has not come to its end", fix="Read the stream to its end first")
        return self._answer

    def read(self) -> Answer:
        """The whole answer, after what is left of it was computed."""
        for _ in self:
            pass
        return self.answer

    def close(self) -> None:
        """Ends the work."""
        self._pieces.close()
