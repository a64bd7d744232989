"""The captioner: many recordings to a text about each; a bad one is named and stops no other."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, Unpack

import torch

from antiphon.audio.formats import SUFFIXES
from antiphon.errors import AntiphonError, ParamError
from antiphon.tasks.ahead import ahead
from antiphon.tasks.answer import Answer
from antiphon.tasks.heard_sound import HeardSound, Listened
from antiphon.tasks.listener import Listener
from antiphon.tasks.listening_request import Asking
from antiphon.tasks.listening_settings import checked_question

S = TypeVar("S")
T = TypeVar("T")

QUESTION = (
    "Describe this recording: its genre, tempo and key, the instruments, how it was produced, how it unfolds, and the "
    "mood that it is in."
)


@dataclass(frozen=True)
class Caption:
    """The text about a recording.

    Attributes:
        path: of the file. told: the text under ``text``, and what else is known, as JSON has it.
    """

    path: Path
    told: dict[str, Any]

    @classmethod
    def of(cls, path: Path, answer: Answer) -> Caption:
        """That of an answer; the names are those that data sets have, so that a file of captions is one."""
        told = {
            "text": answer.text,
            "duration": round(answer.heard_s + answer.cut_s, 3),
            "finish": answer.finish,
            "question": answer.question,
            "model": answer.model,
        }
        if answer.cut_s:
            told["heard_s"] = round(answer.heard_s, 3)
        if answer.seed is not None:
            told["seed"] = answer.seed
        return cls(path, told)


@dataclass(frozen=True)
class Failure:
    """A file that has no caption, and why."""

    path: Path
    reason: str


class Captioner:
    """Describes recordings, the windows of several encoded together, and the next ones while texts are written.

    Args:
        listener: that hears them. question: that is asked about each. together: recordings that are one batch.
        asked: as for ``Listener.ask_each``, beside ``together``.

    Raises:
        ParamError, ParamTypeError: a value out of range.
    """

    def __init__(
        self, listener: Listener, *, question: str = QUESTION, together: int = 4, **asked: Unpack[Asking]
    ) -> None:
        if isinstance(together, bool) or not isinstance(together, int) or not together >= 1:
            raise ParamError(f"together={together!r}", expected="1 or more")
        self.listener = listener
        self.question = checked_question(question)
        self.together = together
        self._asked = asked
        listener.ask_each([], question, **asked)  # finds values out of range before anything is read

    def captions(self, files: Sequence[Path]) -> Generator[Caption | Failure, None, None]:
        """What is said of each file, in their order. Where ``stop_when`` has said so, the rest is left out."""
        with closing(ahead(self._heard(files))) as groups:
            for group in groups:
                made = self._told(group)
                stop_when = self._asked.get("stop_when")
                if stop_when is not None and stop_when():
                    return
                yield from made

    def _heard(self, files: Sequence[Path]) -> Iterator[list[tuple[Path, Listened | str]]]:
        """The recordings of each batch, or why there is none."""
        for first in range(0, len(files), self.together):
            with _beside(self.listener.model.device):
                group = self._heard_together(files[first : first + self.together])
            yield group

    def _heard_together(self, files: Sequence[Path]) -> list[tuple[Path, Listened | str]]:
        read = [(file, _or_reason(self._read, file)) for file in files]
        sounds = [sound for _, sound in read if not isinstance(sound, str)]
        left = _each(self._encoded, sounds)
        return [(file, sound if isinstance(sound, str) else next(left)) for file, sound in read]

    def _read(self, file: Path) -> HeardSound:
        return self.listener.read(file, strict=self._asked.get("strict", False))

    def _encoded(self, sounds: Sequence[HeardSound]) -> list[Listened]:
        listened = self.listener.listen(sounds)
        for one in listened:
            if one.features.is_cuda:  # its memory must not go to others while the reader's stream reads it
                one.features.record_stream(torch.cuda.default_stream(one.features.device))
        return listened

    def _told(self, group: Sequence[tuple[Path, Listened | str]]) -> list[Caption | Failure]:
        sounds = [sound for _, sound in group if not isinstance(sound, str)]
        left = _each(self._answers, sounds)
        told = [(file, sound if isinstance(sound, str) else next(left)) for file, sound in group]
        return [Failure(file, one) if isinstance(one, str) else Caption.of(file, one) for file, one in told]

    def _answers(self, sounds: Sequence[Listened]) -> list[Answer]:
        return self.listener.ask_each(sounds, self.question, together=self.together, **self._asked)


def sound_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The sound files in a folder and those below it, told by their suffixes, sorted; hidden ones are left out.

    Raises:
        ParamError: no such folder.
    """
    if not os.path.isdir(folder):
        raise ParamError(f"{os.fspath(folder)[:200]!r} is no folder", expected="a folder with sound files")
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names = [name for name in files if not name.startswith(".")]
        found += [Path(where, name) for name in names if os.path.splitext(name)[1].lower() in SUFFIXES]
    return sorted(found)


def _or_reason(work: Callable[[S], T], given: S) -> T | str:
    """What the work makes of what is given, or why it could not be done."""
    try:
        return work(given)
    except AntiphonError as error:
        return str(error)


def _each(work: Callable[[Sequence[S]], Sequence[T]], given: Sequence[S]) -> Iterator[T | str]:
    """What the work makes of each. Where together it cannot be done, because of one of them, each is done alone."""
    made = _or_reason(work, given)
    if not isinstance(made, str):
        return iter(made)
    alone = [_or_reason(work, [one]) for one in given]
    return (one if isinstance(one, str) else one[0] for one in alone)


@contextlib.contextmanager
def _beside(device: torch.device) -> Iterator[None]:
    """On a GPU, work that runs beside that of another thread, and is done when the block ends."""
    if device.type != "cuda":
        yield
        return
    own = torch.cuda.Stream(device)
    with torch.cuda.stream(own):
        yield
    own.synchronize()
