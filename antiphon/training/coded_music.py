"""Random passages of coded music with their texts and melodies, to train a language model with."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antiphon.errors import DataError, ParamError
from antiphon.training.coded_folder import CodedFolder
from antiphon.training.coded_format import CodedFormat, CodedItem
from antiphon.training.coded_writer import CodedWriter


class CodedMusic:
    """Passages of codes, each with one of its texts and the melody of the same place.

    Args:
        folder: of coded music. seconds: of a passage; a shorter item is taken whole.
        from_start: how often a passage is the item's beginning; otherwise it lies anywhere.
        keep_places: a passage keeps its columns' places in the item; otherwise it is learnt as a beginning.
        tokenizer: turns texts into ``input_ids``; needed unless the folder holds states of texts.
        condition_dropout: how often a row has neither text nor melody, which guidance needs. melody_dropout: how often
            it has no melody. word_dropout: how often each word of a text is left out; with a tokenizer only.
        keys: the items that count, by their keys; all unless told.

    Raises:
        DataError: no such folder, a damaged one, or an item that is not in it. ParamError: an argument out of range.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | CodedFolder,
        *,
        seconds: float,
        from_start: float = 0.0,
        keep_places: bool = False,
        tokenizer: Any = None,
        condition_dropout: float = 0.1,
        melody_dropout: float = 0.0,
        word_dropout: float = 0.0,
        keys: Iterable[str] | None = None,
    ) -> None:
        self.folder = folder if isinstance(folder, CodedFolder) else CodedFolder(folder)
        self.format = self.folder.format
        if not (0 < seconds < math.inf):
            raise ParamError(f"seconds={seconds!r}", expected="a number of seconds above 0")
        self.frames = max(1, round(seconds * self.format.frame_rate_hz))
        for name, value in (("condition", condition_dropout), ("melody", melody_dropout), ("word", word_dropout)):
            if not (0 <= value < 1):
                raise ParamError(f"{name}_dropout={value!r}", expected="0 or more, and less than 1")
        if not (0 <= from_start <= 1):
            raise ParamError(f"from_start={from_start!r}", expected="0 to 1")
        self._from_start, self._keep_places = from_start, keep_places
        self._check_texts(tokenizer, word_dropout)
        self._tokenizer = tokenizer
        self._dropouts = condition_dropout, melody_dropout, word_dropout
        self._places = np.arange(len(self.folder)) if keys is None else self._found(keys)
        if not len(self._places):
            raise DataError(f"{self.folder.folder} holds no coded music", fix="Write some first")

    @classmethod
    def write(cls, folder: str | os.PathLike[str], items: Iterable[CodedItem], *, format: CodedFormat) -> int:
        """Writes items into a folder of coded music, behind those that are there, and gives how many.

        Raises:
            DataError: the folder holds codes of another format, or an item does not fit it.
        """
        count = 0
        with CodedWriter(Path(folder), format) as writer:
            for item in items:
                writer.write(item)
                count += 1
        return count

    def _check_texts(self, tokenizer: Any, word_dropout: float) -> None:
        if self.format.text_width and (tokenizer is not None or word_dropout):
            raise ParamError(
                "a tokenizer or word_dropout for texts that are cached as states",
                expected="neither",
                fix="Cache the texts without states to train the text encoder along",
            )
        if not self.format.text_width and tokenizer is None:
            raise ParamError("no tokenizer", expected="that of the model, since the texts are cached as texts")

    def _found(self, keys: Iterable[str]) -> np.ndarray:
        there = {key: place for place, key in enumerate(self.folder.keys())}  # of several the newest
        wanted = list(keys)
        missing = [key for key in wanted if key not in there]
        if missing:
            raise DataError(f"{len(missing)} of {len(wanted)} items are not in {self.folder.folder}", fix="Encode them")
        return np.array([there[key] for key in wanted], np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def name(self, index: int) -> str:
        """What reports call an item."""
        return self.folder.name(int(self._places[index]))

    @property
    def seconds(self) -> float:
        """Of music, all items together."""
        return float(self.folder.frames[self._places].sum() / self.format.frame_rate_hz)

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """A passage of one item: ``codes`` (K, T), ``text`` or ``states``, ``chroma`` (F,), and what is dropped.

        Raises:
            DataError: what the files should hold is not there.
        """
        place = int(self._places[index])
        # drawn first, and always as many, so that no choice moves another
        where, which, drop, drop_melody = generator.random(4)
        frames = int(self.folder.frames[place])
        count = min(self.frames, frames)
        anywhere = (where - self._from_start) / (1 - self._from_start) if where > self._from_start else 0.0
        start = int(anywhere * (frames - count + 1))
        texts = self.folder.texts(place)
        text = int(which * len(texts))
        example: dict[str, Any] = {
            "codes": self.folder.codes(place, start, count),
            "first": start,
            "name": self.name(index),
            "dropped": drop < self._dropouts[0],
        }
        if self.format.text_width:
            example["states"] = self.folder.states(place, text) if texts else np.zeros((1, self.format.text_width))
            example["dropped"] = example["dropped"] or not texts
        else:
            example["text"] = self._with_words_left_out(texts[text], generator) if texts else ""
        if self.format.chroma_classes:
            example["chroma"] = self._melody(place, start, count)
            example["melody_dropped"] = drop_melody < self._dropouts[1] or example["chroma"] is None
        return example

    def _melody(self, place: int, start: int, count: int) -> np.ndarray | None:
        """The pitch classes of a passage of codes, as many as a sound of its length has; ``None`` without a melody."""
        hop, there = self.format.chroma_hop_samples, self.folder.chroma_frames(place)
        first = round(start * self.format.hop_samples / hop)
        wanted = count * self.format.hop_samples // hop + 1
        if not first < there:
            return None
        return self.folder.chroma(place, first, min(wanted, there - first))

    def _with_words_left_out(self, text: str, generator: np.random.Generator) -> str:
        share = self._dropouts[2]
        if not share:
            return text
        words = text.split()
        kept = [word for word, drawn in zip(words, generator.random(len(words)), strict=True) if drawn >= share]
        return " ".join(kept or words)

    def collate(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Passages as a batch.

        Returns:
            ``codes`` (B, K, T) int64, of which ``frames`` (B,) are a row's own; with ``keep_places`` the number in its
            item of each row's ``first`` (B,) frame; ``input_ids`` (B, M) or ``text_states`` (B, M, D) float32, with
            ``attention_mask`` (B, M); ``dropped`` (B,) bool, the rows without conditions; with
            melodies ``input_features`` (B, F, C) float32, one-hot, ``input_features_mask`` (B, F) and
            ``melody_dropped`` (B,) bool; ``names``, and ``texts`` where there are ids.
        """
        frames = [example["codes"].shape[1] for example in examples]
        codes = np.zeros((len(examples), self.format.codebooks, max(frames)), np.int64)
        for row, example in zip(codes, examples, strict=True):
            row[:, : example["codes"].shape[1]] = example["codes"]
        batch: dict[str, Any] = {
            "codes": torch.from_numpy(codes),
            "frames": torch.tensor(frames),
            "dropped": torch.tensor([example["dropped"] for example in examples]),
            "names": [example["name"] for example in examples],
        }
        if self._keep_places:
            batch["first"] = torch.tensor([example["first"] for example in examples])
        batch |= self._texts(examples)
        if self.format.chroma_classes:
            batch |= self._melodies(examples)
        return batch

    def _texts(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if not self.format.text_width:
            texts = [example["text"] for example in examples]
            ids = self._tokenizer(texts, padding=True, return_tensors="pt")
            return {"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"], "texts": texts}
        found = [torch.from_numpy(example["states"].astype(np.float32)) for example in examples]
        places = max(len(states) for states in found)
        states = torch.zeros(len(found), places, self.format.text_width)
        mask = torch.zeros(len(found), places, dtype=torch.int64)
        for row, own in enumerate(found):
            where = slice(places - len(own), None) if self.format.text_padding == "left" else slice(len(own))
            states[row, where], mask[row, where] = own, 1
        return {"text_states": states, "attention_mask": mask}

    def _melodies(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        found = [example["chroma"] if example["chroma"] is not None else np.zeros(1, np.uint8) for example in examples]
        classes = np.zeros((len(found), max(len(own) for own in found)), np.int64)  # class 0 is silence
        mask = torch.zeros(classes.shape, dtype=torch.int64)
        for row, own in enumerate(found):
            classes[row, : len(own)], mask[row, : len(own)] = own, 1
        features = torch.nn.functional.one_hot(torch.from_numpy(classes), self.format.chroma_classes).float()
        dropped = torch.tensor([example["melody_dropped"] for example in examples])
        return {"input_features": features, "input_features_mask": mask, "melody_dropped": dropped}
