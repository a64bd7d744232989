"""Passages of coded conversations with the words of one of the two speakers, to train a speech model with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from antiphon.errors import DataError, ParamError
from antiphon.training.coded_folder import CodedFolder
from antiphon.training.inspection import Inspected
from antiphon.training.words import PADDING, Word, text_of_frames, words_beside

_CHANNELS = 2
_KEPT = 256  # conversations whose words are kept in memory


def usable(inspected: Inspected) -> Inspected:
    """The conversations among inspected sounds: two channels, and words beside them; the others are skipped.

    Raises:
        DataError: too many are no conversations.
    """

    def check(place: int) -> None:
        channels = inspected.header(place).channels
        if channels != _CHANNELS:
            raise DataError(f"a sound of {channels} channels", expected="2: the model's voice, and the user's")
        words_beside(inspected.item(place).path)

    return inspected.passing(check)


class Conversations:
    """Passages of conversations: the codes of both speakers, and the text of one on the frames on which it is said.

    Args:
        folder: the codes of both, the model's voice first. root: what the names of its items are relative to.
        keys: of the items that count. seconds: of a passage; a shorter item is taken whole.
        tokenizer: of the model. speaker: whose words the model thinks, as the alignments name it.

    Raises:
        ParamError: ``seconds`` is no length. DataError: an item is not in the folder, or there is none.
    """

    def __init__(
        self,
        folder: CodedFolder,
        *,
        root: Path,
        keys: Sequence[str],
        seconds: float,
        tokenizer: Any,
        speaker: str = "SPEAKER_MAIN",
    ) -> None:
        if not (0 < seconds < math.inf):
            raise ParamError(f"seconds={seconds!r}", expected="a number of seconds above 0")
        self.folder, self.root = folder, root
        self.format = folder.format
        self.frames = max(1, round(seconds * self.format.frame_rate_hz))
        there = {key: place for place, key in enumerate(folder.keys())}  # of several the newest
        missing = [key for key in keys if key not in there]
        if missing or not keys:
            raise DataError(f"{len(missing)} of {len(keys)} items are not in {folder.folder}", fix="Encode them")
        self._places = [there[key] for key in keys]
        self._tokenizer, self._speaker = tokenizer, speaker
        self._words = lru_cache(_KEPT)(self._read)

    def __len__(self) -> int:
        return len(self._places)

    def name(self, index: int) -> str:
        """What reports call an item."""
        return self.folder.name(self._places[index])

    def _read(self, index: int) -> tuple[Word, ...]:
        words = words_beside(self.root / self.name(index))
        return tuple(word for word in words if word.speaker == self._speaker)

    def _tokens(self, word: str) -> list[int]:
        ids: list[int] = self._tokenizer(word, add_special_tokens=False)["input_ids"]
        return ids

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """A passage of one item: ``codes`` (2 K, T), ``text`` (T,) and its ``name``.

        Raises:
            DataError: what the files should hold is not there any more.
        """
        where = generator.random()  # drawn before anything can fail
        place = self._places[index]
        frames = int(self.folder.frames[place])
        count = min(self.frames, frames)
        start = int(where * (frames - count + 1))
        text = text_of_frames(
            self._words(index), self._tokens, first=start, count=count, frame_rate_hz=self.format.frame_rate_hz
        )
        return {"codes": self.folder.codes(place, start, count), "text": text, "name": self.name(index)}

    def collate(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Passages as a batch: ``codes`` (B, 2 K, T) and ``text`` (B, T) int64, ``frames`` (B,), ``names``."""
        frames = [len(example["text"]) for example in examples]
        codes = np.zeros((len(examples), self.format.codebooks, max(frames)), np.int64)
        text = np.full((len(examples), max(frames)), PADDING, np.int64)
        for row, (example, count) in enumerate(zip(examples, frames, strict=True)):
            codes[row, :, :count], text[row, :count] = example["codes"], example["text"]
        return {
            "codes": torch.from_numpy(codes),
            "text": torch.from_numpy(text),
            "frames": torch.tensor(frames),
            "names": [example["name"] for example in examples],
        }

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_words"}  # to a process that reads ahead

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._words = lru_cache(_KEPT)(self._read)
