"""What was said in a conversation, and when: pieces, words, events, and how sure the model was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.generation.speech_events import Change

Speaker = Literal["user", "moshi"]


@dataclass(frozen=True)
class TextPiece:
    """A piece of the reply's text, with the space in front of a word.

    Attributes:
        text: of it. time_s: when its sound begins, on the clock of its conversation. row: of the session.
    """

    text: str
    time_s: float
    row: int = 0


@dataclass(frozen=True)
class SpeechEvent:
    """Somebody begins or ceases to speak.

    Attributes:
        who: ``"user"`` or ``"moshi"``. change: ``"start"`` or ``"stop"``. time_s, row: as of ``TextPiece``.
    """

    who: Speaker
    change: Change
    time_s: float
    row: int = 0


@dataclass(frozen=True)
class Entropy:
    """How open the choice of a frame was, in bits; 0 is certain.

    Attributes:
        time_s: when the frame begins to be heard. text: of its text token. audio: of each of its codebooks.
    """

    time_s: float
    text: float
    audio: tuple[float, ...]


@dataclass
class Transcript:
    """The text of a reply with its times.

    Attributes:
        seconds: how long the conversation is. pieces, events, entropies: in the order of their times.
    """

    seconds: float
    pieces: list[TextPiece] = field(default_factory=list)
    events: list[SpeechEvent] = field(default_factory=list)
    entropies: list[Entropy] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it, without the spaces around it."""
        return "".join(piece.text for piece in self.pieces).strip()

    @property
    def words(self) -> list[tuple[str, float]]:
        """Each word and when it begins."""
        return list(_words(self.pieces))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON has it, times in seconds to the millisecond."""
        return {
            "text": self.text,
            "seconds": round(self.seconds, 3),
            "words": [{"time_s": round(time_s, 3), "word": word} for word, time_s in self.words],
            "pieces": [{"time_s": round(piece.time_s, 3), "text": piece.text} for piece in self.pieces],
            "events": [
                {"time_s": round(event.time_s, 3), "who": event.who, "what": event.change} for event in self.events
            ],
            "entropy_bits": [
                {"time_s": round(e.time_s, 3), "text": round(e.text, 4), "audio": [round(bits, 4) for bits in e.audio]}
                for e in self.entropies
            ],
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes it as JSON, whole or not at all.

        Raises:
            CheckpointError: the file cannot be written.
        """
        path = Path(path)
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=1)
        with atomic_write(path) as part:
            part.write_bytes((text + "\n").encode("utf-8", "replace"))
        return path


def _words(pieces: Iterable[TextPiece]) -> Iterable[tuple[str, float]]:
    word, begun = "", 0.0
    for piece in pieces:
        for character in piece.text:
            if character.isspace():
                if word:
                    yield word, begun
                word = ""
            else:
                begun = begun if word else piece.time_s
                word += character
    if word:
        yield word, begun
