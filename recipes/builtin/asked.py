"""Conversations about the rendered pieces, and both together as what the listening model learns from."""

from __future__ import annotations

import copy
import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from antiphon.audio.resampling import resample
from antiphon.training.asked_sounds import asked_batch, check_length, cropped
from antiphon.training.lines import Lines
from antiphon.training.objective import Batch
from antiphon.training.questions import Question, questions_of
from recipes.builtin.pieces import facts_of
from recipes.builtin.questions import conversation
from recipes.builtin.rendered import PIECE_S, RATE_HZ
from recipes.builtin.songs.composer import compose
from recipes.builtin.through_codec import ThroughCodec

log = logging.getLogger(__name__)

CONVERSATIONS = 12
_PIECE_SAMPLES = round(PIECE_S * RATE_HZ)


def write_conversations(pieces: Path, folder: Path, *, workers: int = 1) -> None:
    """Writes ``CONVERSATIONS`` about each rendered piece, a file a shard and a line a piece; files that are there stay.

    The pieces are composed again, because a render's facts do not name all of its instruments.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = [path for path in sorted(pieces.glob("facts-*.jsonl")) if not _asked_file(folder, path).exists()]
    if workers == 1:
        for shard in shards:
            _write_shard(shard, folder)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(_write_shard, shards, [folder] * len(shards)):
            pass


def _write_shard(facts_file: Path, folder: Path) -> None:
    lines = []
    for row in facts_file.read_text(encoding="utf-8").splitlines():
        facts = json.loads(row)
        facts.pop("texts")
        piece = compose(facts["seed"], seconds=PIECE_S)
        if facts_of(piece) != facts:
            raise ValueError(f"seed {facts['seed']} composes another piece now than was rendered: render them again")
        rng = Random(piece.seed)
        told = [[vars(one) for one in conversation(piece, rng)] for _ in range(CONVERSATIONS)]
        lines.append(json.dumps({"seed": piece.seed, "conversations": told}))
    file = _asked_file(folder, facts_file)
    file.with_suffix(".part").write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(file.with_suffix(".part"), file)
    log.info("%s written", file.name)


def _asked_file(folder: Path, facts_file: Path) -> Path:
    return folder / facts_file.name.replace("facts-", "asked-")


def conversations_in(folder: Path) -> Iterator[list[list[Question]]]:
    """The conversations about each piece, in the order of the shards."""
    for row in _rows(folder):
        yield _conversations(json.loads(row))


def _rows(folder: Path) -> Iterator[bytes]:
    for file in sorted(folder.glob("asked-*.jsonl")):
        yield from file.read_bytes().splitlines()


def _conversations(row: dict[str, Any]) -> list[list[Question]]:
    return [list(questions_of({"questions": turns})) for turns in row["conversations"]]


class AskedPieces:
    """Passages of rendered pieces, each with a conversation about it.

    Args:
        pieces: what ``render_shards`` wrote. asked: what ``write_conversations`` wrote. processor: of the model.
        seconds: of a passage.
        through_codec: half of the passages are heard as it gives them back, where there is one.

    Raises:
        ConfigError: passages longer than the processor hears. ValueError: there is nothing.
    """

    def __init__(
        self,
        pieces: Path,
        asked: Path,
        processor: Any,
        *,
        seconds: float,
        through_codec: ThroughCodec | None = None,
    ) -> None:
        check_length(processor, seconds)
        self.processor, self._through_codec = processor, through_codec
        self._rate_hz: int = processor.sampling_rate
        self._samples = round(seconds * RATE_HZ)
        self._rows = Lines(_rows(asked))
        files = [pieces / file.name.replace("asked-", "mix-") for file in sorted(asked.glob("asked-*.jsonl"))]
        self._shards = [file.with_suffix(".bin") for file in files]
        counts = [file.stat().st_size // (2 * _PIECE_SAMPLES) for file in self._shards]
        self._firsts = np.concatenate([[0], np.cumsum(counts)])
        if not len(self._rows) or len(self._rows) != self._firsts[-1]:
            raise ValueError(f"{len(self._rows)} rows of conversations about {self._firsts[-1]} pieces")
        self._places = np.arange(len(self._rows))

    def divided(self, share: float) -> tuple[AskedPieces, AskedPieces]:
        """Gives the pieces to learn from and the last ones, a share of them and at least one, to measure on."""
        learnt, kept = copy.copy(self), copy.copy(self)
        count = max(1, round(share * len(self)))
        learnt._places, kept._places = self._places[:-count], self._places[-count:]
        return learnt, kept

    def __len__(self) -> int:
        return len(self._places)

    def name(self, index: int) -> str:
        """What reports call a piece: its seed."""
        return str(self._row(int(self._places[index]))["seed"])

    def _row(self, place: int) -> dict[str, Any]:
        row: dict[str, Any] = json.loads(self._rows[place])
        return row

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """A passage of one piece, with the piece's name.

        Returns:
            ``samples`` (N,) float32 at the processor's rate, ``turns`` of questions and answers, ``name``, and
            ``start_s``, where in its piece the passage begins.
        """
        where, which, through = generator.random(3)
        place = int(self._places[index])
        row = self._row(place)
        name, told = str(row["seed"]), _conversations(row)
        start, count = cropped(_PIECE_SAMPLES, self._samples, where, 0.0)
        if self._through_codec is not None and through < 0.5:
            sound, start = self._through_codec.sound(name, start, count)
        else:
            sound = self._rendered(place, start, count)
        return {
            "samples": resample(sound[None], RATE_HZ, self._rate_hz)[0],
            "turns": told[int(which * len(told))],
            "name": name,
            "start_s": start / RATE_HZ,
        }

    def _rendered(self, place: int, start: int, count: int) -> np.ndarray:
        """A passage (N,) float32 of a piece in its shard."""
        shard = int(np.searchsorted(self._firsts, place, side="right")) - 1
        first = int(place - self._firsts[shard]) * _PIECE_SAMPLES + start
        mix = np.fromfile(self._shards[shard], dtype="<i2", count=count, offset=2 * first)
        return mix.astype(np.float32) / 32768

    def collate(self, examples: Sequence[dict[str, Any]]) -> Batch:
        """Passages as a batch (see ``asked_batch``), with ``start_s`` (B,)."""
        starts = torch.tensor([example["start_s"] for example in examples])
        return {**asked_batch(self.processor, examples), "start_s": starts}
