"""Passages of sounds with questions and answers about them, to train a listening model with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from antiphon.audio.passages import length_at, load_passage
from antiphon.errors import ConfigError, DataError, ParamError
from antiphon.training.inspection import Inspected, passage_of
from antiphon.training.objective import Batch
from antiphon.training.questions import Question, asked_of


def answered(inspected: Inspected) -> Inspected:
    """The sounds among inspected ones of which something is told; the others are skipped.

    Raises:
        DataError: too many are silent about themselves.
    """

    def check(place: int) -> None:
        item = inspected.item(place)
        if not asked_of(item.texts, item.questions):
            raise DataError("no questions with answers and no text", expected="one of them, in its row or beside it")

    return inspected.passing(check)


def asked_batch(processor: Any, examples: Sequence[dict[str, Any]], *, learn_questions: bool = False) -> Batch:
    """Examples as a batch for ``AnswerForcing``, with ``names``.

    Args:
        processor: of the model; its chat template writes the conversations.
        examples: each with ``samples`` (N,) float32 at the processor's rate, ``turns`` of questions and answers, and
            a ``name``.
        learn_questions: whether the questions are learnt too, as the documented labels have it; of what stands in the
            place of sounds and pads nothing is.

    Raises:
        ParamError, TokenizerError: a text or a sound that the processor refuses.
    """
    found = processor.apply_chat_template(
        [_conversation(example, processor.sampling_rate) for example in examples],
        tokenize=True,
        return_dict=True,
        output_labels=True,
        mask_user_text=not learn_questions,
        sanitize_control_tokens=True,
        strict=True,
    )
    return {**found, "names": [example["name"] for example in examples]}


def _conversation(example: dict[str, Any], rate_hz: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for turn in example["turns"]:
        parts: list[dict[str, Any]] = [{"type": "text", "text": turn.question}]
        if not messages:
            parts.insert(0, {"type": "audio", "audio": example["samples"], "sampling_rate": rate_hz})
        messages.append({"role": "user", "content": parts})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    return messages


class AskedSounds:
    """Passages of one length out of the files of a data set, each with some of the questions about its sound.

    A sound that is shorter is heard whole. Only the passage is read from a file.

    Args:
        inspected: the good items (see ``answered``). processor: of the model. seconds: of a passage.
        from_start: share of the examples that are the beginning of their item; the others lie anywhere.
        turns: questions of an example, each once, at most.
        learn_questions: whether the questions are learnt too.

    Raises:
        ParamError: an argument out of range. ConfigError: passages longer than the processor hears.
    """

    def __init__(
        self,
        inspected: Inspected,
        processor: Any,
        *,
        seconds: float,
        from_start: float = 0.0,
        turns: int = 1,
        learn_questions: bool = False,
    ) -> None:
        if not (0 < seconds < math.inf) or not 0 <= from_start <= 1 or not turns >= 1:
            raise ParamError(
                f"seconds={seconds!r}, from_start={from_start!r}, turns={turns!r}",
                expected="seconds above 0, a share, and 1 or more",
            )
        check_length(processor, seconds)
        self.inspected, self.processor = inspected, processor
        self._rate_hz: int = processor.sampling_rate
        self._samples = max(1, round(seconds * self._rate_hz))
        self._from_start, self._turns, self._learn_questions = from_start, turns, learn_questions

    def __len__(self) -> int:
        return len(self.inspected)

    def name(self, index: int) -> str:
        """What reports call an item."""
        return self.inspected.manifest.name(index)

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """A passage of one sound: ``samples`` (N,) float32, ``turns`` of questions and answers, and its ``name``.

        Raises:
            DataError, AudioError: a file that cannot be read any more, or of which nothing is told.
        """
        where = generator.random()  # drawn before anything can fail
        item, header = self.inspected.item(index), self.inspected.header(index)
        turns = drawn(asked_of(item.texts, item.questions), self._turns, generator)
        if not turns:
            raise DataError(f"nothing is told of {item.name}", expected="questions with answers, or a text")
        start_s, end_s = passage_of(item, header)
        first, last = (
            round(start_s * self._rate_hz),
            min(round(end_s * self._rate_hz), length_at(header, self._rate_hz)),
        )
        if not last > first:
            raise DataError(f"{item.name} has no sound", expected="at least a sample")
        start, count = cropped(last - first, self._samples, where, self._from_start)
        sound = load_passage(item.path, header, start=first + start, count=count, rate_hz=self._rate_hz, channels=1)
        return {"samples": sound[0], "turns": turns, "name": item.name}

    def collate(self, examples: Sequence[dict[str, Any]]) -> Batch:
        """Passages as a batch (see ``asked_batch``)."""
        return asked_batch(self.processor, examples, learn_questions=self._learn_questions)


def check_length(processor: Any, seconds: float) -> None:
    """Raises ``ConfigError`` where passages are longer than a processor hears."""
    chunk_s = processor.feature_extractor.chunk_length
    longest_s = processor.max_audio_len // chunk_s * chunk_s
    if not seconds <= longest_s:
        raise ConfigError(f"passages of {seconds:g} s", expected=f"at most {longest_s:g} s, which the processor hears")


def cropped(there: int, wanted: int, where: float, from_start: float) -> tuple[int, int]:
    """Gives where a passage of ``wanted`` samples out of ``there`` begins, and how many it has.

    Args:
        where: 0 to 1, drawn. from_start: the share of draws that give the beginning.
    """
    count = min(there, wanted)
    anywhere = (where - from_start) / (1 - from_start) if where > from_start else 0.0
    return min(int(anywhere * (there - count + 1)), there - count), count


def drawn(asked: Sequence[Question], turns: int, generator: np.random.Generator) -> list[Question]:
    """Gives up to ``turns`` of the questions, each once, in any order."""
    places = generator.permutation(len(asked))[:turns]
    return [asked[place] for place in places]
