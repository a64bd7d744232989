"""The stages of the built-in models, in their order: ``python -m recipes.builtin STAGE``. README.md tells of each."""

from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Callable
from pathlib import Path

import torch

from antiphon import EncodecModel
from antiphon.checkpoints.built_in import LISTENER, MELODY, MUSIC, PLACE
from antiphon.training.loop import Progress
from recipes.builtin.asked import write_conversations
from recipes.builtin.averaging import write_mean
from recipes.builtin.beginnings import begin_melody, begin_musicgen
from recipes.builtin.coding import code_pieces
from recipes.builtin.counting import JOBS, train_counting
from recipes.builtin.ear_lessons import train_listener
from recipes.builtin.handing_out import hand_out, hand_out_listener
from recipes.builtin.listener import begin_listener
from recipes.builtin.pieces import render_shards
from recipes.builtin.rendered import render_sounds
from recipes.builtin.text_lessons import lessons_of
from recipes.builtin.through_codec import ThroughCodec

_MUSICGEN, _DECODER = "musicgen-mean", "decoder-mean"
_WHOLE_SHARE = 0.75
_CODEC_PIECES, _HELD_OUT_PIECES, _PIECES = 1500, 64, 18000


def sounds(runs: Path, workers: int) -> None:
    """What the codec learns from, and what it is measured on."""
    render_sounds(runs / "sounds", range(_CODEC_PIECES))
    render_sounds(runs / "held-out-sounds", range(_HELD_OUT_PIECES), held_out=True)


def freeze(runs: Path, workers: int) -> None:
    """The codec in 16 bits, as it is handed out: from here on codes mean what they mean."""
    EncodecModel.from_pretrained(runs / "codec" / "best", dtype=torch.float16).save_pretrained(runs / "codec-frozen")


def decoder_mean(runs: Path, workers: int) -> None:
    """The codec halfway to the decoder that was trained on: nearer to the ear, and still as near to the waveform."""
    write_mean(runs / _DECODER, runs / "codec-frozen", runs / "decoder" / "best", kind=EncodecModel)


def pieces(runs: Path, workers: int) -> None:
    """What the language models learn from."""
    render_shards(runs / "pieces", _PIECES, workers=workers)


def codes(runs: Path, workers: int) -> None:
    """The same as codes."""
    code_pieces(runs / "pieces", runs / "codes", runs / "codec-frozen", workers=workers)


def begin(runs: Path, workers: int) -> None:
    """A MusicGen whose decoder knows nothing, with the codec."""
    begin_musicgen(runs / "musicgen-begin", _codec(runs), lessons_of(runs / "pieces"))


def _codec(runs: Path) -> EncodecModel:
    """The frozen codec, in the numbers that it is handed out in."""
    return EncodecModel.from_pretrained(runs / "codec-frozen", dtype=torch.float32)


def counting(runs: Path, workers: int, *, job: str) -> None:
    """A stage of a model that counts while it learns; a run that was stopped goes on."""
    train_counting(JOBS / job, runs / "pieces", report=_told)


def _told(how: Progress) -> None:
    logging.info("%d %s %s", how.step, how.kind, how.figures)


def mean(runs: Path, workers: int) -> None:
    """MusicGen between the openings, where it has the tempo most often, and the whole pieces, where it keeps it."""
    write_mean(runs / _MUSICGEN, runs / "openings" / "best", runs / "musicgen" / "best", share=_WHOLE_SHARE)


def begin_following(runs: Path, workers: int) -> None:
    """A Melody that knows what MusicGen has learnt."""
    begin_melody(runs / "melody-begin", runs / _MUSICGEN)


def questions(runs: Path, workers: int) -> None:
    """Questions about the pieces, with their answers."""
    write_conversations(runs / "pieces", runs / "asked", workers=workers)


def begin_hearing(runs: Path, workers: int) -> None:
    """A Music Flamingo that knows nothing but its vocabulary."""
    begin_listener(runs / "listener-begin", runs / "asked")


def listening(runs: Path, workers: int, *, job: str) -> None:
    """A stage of the listener, from the pieces as they lie in their shards, half of them heard after the codec where
    there are codes; a run that was stopped goes on."""
    codes, codec = runs / "codes", runs / _DECODER
    through_codec = ThroughCodec(codes, codec) if codes.is_dir() and codec.is_dir() else None
    train_listener(JOBS / job, runs, through_codec=through_codec, report=_told)


def install_listener(runs: Path, workers: int) -> None:
    """What it has learnt, as a part of the package."""
    size = hand_out_listener(runs / "listener" / "best", PLACE / LISTENER.rpartition("/")[2])
    logging.info("%s: %.1f MB", LISTENER, size / 1e6)


def install(runs: Path, workers: int) -> None:
    """What was learnt, as a part of the package."""
    for name, run in ((MUSIC, _MUSICGEN), (MELODY, "melody/best")):
        folder = PLACE / name.rpartition("/")[2]
        logging.info("%s: %.1f MB", name, hand_out(runs / run, folder, codec=runs / _DECODER) / 1e6)


STAGES: dict[str, Callable[[Path, int], None]] = {
    "sounds": sounds,
    "freeze": freeze,
    "decoder-mean": decoder_mean,
    "pieces": pieces,
    "codes": codes,
    "begin": begin,
    "passages": functools.partial(counting, job="passages.toml"),
    "openings": functools.partial(counting, job="openings.toml"),
    "musicgen": functools.partial(counting, job="musicgen.toml"),
    "mean": mean,
    "begin-melody": begin_following,
    "following": functools.partial(counting, job="following.toml"),
    "melody": functools.partial(counting, job="melody.toml"),
    "install": install,
    "questions": questions,
    "begin-listener": begin_hearing,
    "listener-passages": functools.partial(listening, job="listener-passages.toml"),
    "listener": functools.partial(listening, job="listener.toml"),
    "install-listener": install_listener,
}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split(":")[0])
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--runs", type=Path, default=Path("runs/builtin"))
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    STAGES[given.stage](given.runs, given.workers)


if __name__ == "__main__":
    main()
