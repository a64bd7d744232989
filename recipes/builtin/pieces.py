"""The pieces that the language models learn from: their sound, the melody that is heard with them, and their texts."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from antiphon.audio.chroma import HOP_SAMPLES, N_FFT, chroma
from recipes.builtin.rendered import HELD_OUT_SEED, PIECE_S, RATE_HZ
from recipes.builtin.songs.captions import captions, full_caption
from recipes.builtin.songs.composer import compose
from recipes.builtin.songs.piece import Piece
from recipes.builtin.songs.rendering import Renderer

log = logging.getLogger(__name__)

SHARD_PIECES = 250
TEXTS_A_PIECE = 12
# the melody alone is rendered at half the rate, where its chroma is the same and takes half the time
_MELODY_RATE_HZ = RATE_HZ // 2
# how often a melody is heard from the whole mix, and how often from another instrument than its own
_FROM_MIX, _FROM_OTHER = 0.3, 0.35
_OTHER_PROGRAMS = (
    0,
    4,
    40,
    52,
    56,
    65,
    73,
    80,
)  # piano, electric piano, violin, voices, trumpet, saxophone, flute, lead


@dataclass(frozen=True, eq=False)
class Rendered:
    """A piece as it was rendered.

    Attributes:
        mix: (N,) int16 at 32 kHz. melody: (F,) uint8, the strongest pitch class of each frame of chroma.
        facts: what was composed. texts: phrasings of it, the full one first.
    """

    mix: np.ndarray
    melody: np.ndarray
    facts: dict[str, Any]
    texts: list[str]


def facts_of(piece: Piece) -> dict[str, Any]:
    """What a text or a measurement may ask of a piece."""
    lead = next(part.instrument for part in piece.parts if part.role == "melody")
    return {
        "seed": piece.seed,
        "style": piece.style,
        "lead": lead,
        "tempo_bpm": piece.tempo_bpm,
        "tonic": piece.tonic,
        "mode": piece.mode,
    }


def render_shards(folder: Path, pieces: int, *, workers: int = 1) -> None:
    """Renders pieces into shards of ``SHARD_PIECES``; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = [number for number in range(-(-pieces // SHARD_PIECES)) if not _facts_file(folder, number).exists()]
    if workers == 1:
        for number in shards:
            _render_shard(folder, number)
        return
    # new processes: a synthesizer does not survive a fork
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(_render_shard, [folder] * len(shards), shards):
            pass


def _render_shard(folder: Path, number: int) -> None:
    torch.set_num_threads(1)
    mixer, soloist = Renderer(RATE_HZ), Renderer(_MELODY_RATE_HZ)
    lines = []
    with (
        open(folder / f"mix-{number:05d}.part", "wb") as mixes,
        open(folder / f"melody-{number:05d}.part", "wb") as melodies,
    ):
        for seed in range(number * SHARD_PIECES, (number + 1) * SHARD_PIECES):
            rendered = render_piece(compose(seed, seconds=PIECE_S), mixer, soloist)
            mixes.write(rendered.mix.tobytes())
            melodies.write(rendered.melody.tobytes())
            lines.append(json.dumps({**rendered.facts, "texts": rendered.texts}))
    for name in ("mix", "melody"):
        os.replace(folder / f"{name}-{number:05d}.part", folder / f"{name}-{number:05d}.bin")
    # the shard counts from here on
    part = _facts_file(folder, number).with_suffix(".part")
    part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(part, _facts_file(folder, number))
    log.info("shard %d rendered", number)


def render_piece(piece: Piece, mixer: Renderer, soloist: Renderer) -> Rendered:
    """Renders a piece, and the melody in one of the ways in which it may be given to a model."""
    rng = Random(piece.seed)
    mix = mixer.render(piece, seconds=PIECE_S)
    draw = rng.random()
    if draw < _FROM_MIX:
        melody = strongest_classes(mix, RATE_HZ)
    else:
        other = rng.choice(_OTHER_PROGRAMS) if draw < _FROM_MIX + _FROM_OTHER else None
        solo = soloist.render(piece, roles={"melody"}, program=other, seconds=PIECE_S)
        melody = strongest_classes(solo, _MELODY_RATE_HZ)
    texts = list(dict.fromkeys([full_caption(piece), *(captions(piece, rng) for _ in range(TEXTS_A_PIECE - 1))]))
    return Rendered((mix * 32767).astype("<i2"), melody, facts_of(piece), texts)


def strongest_classes(sound: np.ndarray, rate_hz: int) -> np.ndarray:
    """The strongest pitch class (F,) uint8 of each frame of a sound (N,), frames as MusicGen Melody has them."""
    shorter = RATE_HZ // rate_hz
    frames = chroma(torch.from_numpy(sound), rate_hz, n_fft=N_FFT // shorter, hop_samples=HOP_SAMPLES // shorter)
    return frames.argmax(dim=-1).numpy().astype(np.uint8)


def facts_in(folder: Path) -> Iterator[dict[str, Any]]:
    """The facts of every piece in the finished shards, with its texts, in order."""
    for file in sorted(folder.glob("facts-*.jsonl")):
        yield from map(json.loads, file.read_text(encoding="utf-8").splitlines())


def facts_by_name(folder: Path) -> dict[str, dict[str, Any]]:
    """The same by the name that data sets have for each piece: its seed."""
    return {str(facts["seed"]): facts for facts in facts_in(folder)}


def rendered_shards(folder: Path) -> Iterator[list[Rendered]]:
    """The pieces of every finished shard, in order."""
    for facts_file in sorted(folder.glob("facts-*.jsonl")):
        number = facts_file.stem.removeprefix("facts-")
        facts = [json.loads(line) for line in facts_file.read_text(encoding="utf-8").splitlines()]
        mixes = np.memmap(folder / f"mix-{number}.bin", dtype="<i2", mode="r").reshape(len(facts), -1)
        melodies = np.fromfile(folder / f"melody-{number}.bin", dtype=np.uint8).reshape(len(facts), -1)
        yield [
            Rendered(mix, melody, fact, fact.pop("texts"))
            for mix, melody, fact in zip(mixes, melodies, facts, strict=True)
        ]


def held_out_piece(number: int, *, seconds: float = PIECE_S) -> Piece:
    """A piece of a combination that no model has learnt from."""
    return compose(HELD_OUT_SEED + number, held_out=True, seconds=seconds)


def _facts_file(folder: Path, number: int) -> Path:
    return folder / f"facts-{number:05d}.jsonl"
