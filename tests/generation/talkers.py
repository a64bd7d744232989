"""Tiny Moshis that kyutai's package saved, opened by us, and sessions with them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import antiphon
from antiphon.generation.delays import DelayPattern
from antiphon.generation.dialogue import Dialogue, Streams
from antiphon.generation.duplex import Duplex
from antiphon.generation.duplex_settings import DuplexSettings

GOLDENS = Path(__file__).parents[2] / "oracles" / "goldens"
KINDS = ("moshi", "grouped")
GREEDY = DuplexSettings(text_temperature=0, audio_temperature=0)
FRAME = 48  # samples


@functools.cache
def model(kind: str = "moshi") -> Any:
    """The whole model. Shared by all tests of a process: leave it as it is."""
    folder = GOLDENS / f"kyutai_{kind}"
    return antiphon.MoshiForConditionalGeneration.from_pretrained(folder, dtype="float32").eval()


def streams(kind: str = "moshi") -> Streams:
    config = model(kind).config
    return Streams(DelayPattern(tuple(config.delays)), config.vocab_size, config.audio_vocab_size)


def dialogue(kind: str = "moshi", **asked: Any) -> Dialogue:
    return Dialogue(model(kind).lm, streams(kind), **asked)


def duplex(kind: str = "moshi", **asked: Any) -> Duplex:
    return Duplex(model(kind).lm, model(kind).audio_encoder.codec, streams(kind), **asked)


def speech(rows: int, frames: int, *, seed: int = 0) -> Tensor:
    """Noise (rows, samples) that swells and fades."""
    generator = torch.Generator().manual_seed(seed)
    swell = torch.rand(rows, frames, 1, generator=generator)
    return (torch.randn(rows, frames, FRAME, generator=generator) * swell).flatten(1)


def sound(frames: list[Any]) -> Tensor:
    """(rows, samples) of what came out."""
    return torch.cat([frame.samples for frame in frames], dim=1)


def tokens(frames: list[Any], row: int = 0) -> list[list[int]]:
    """Text and codes of the whole frames of a row."""
    own = [frame.own if hasattr(frame, "own") else frame for frame in frames]
    return [[int(o.text[row]), *o.codes[row].tolist()] for o in own if o.whole[row]]


def same(one: list[Any], other: list[Any], rows: tuple[int, ...] = (0,)) -> bool:
    """Whether what came out is the same bit by bit: sound, text, codes and entropies."""
    return len(one) == len(other) and all(
        torch.equal(a.samples[row], b.samples[row])
        and a.own.whole[row] == b.own.whole[row]
        and (
            not a.own.whole[row]
            or (
                torch.equal(a.own.text[row], b.own.text[row])
                and torch.equal(a.own.codes[row], b.own.codes[row])
                and torch.equal(a.own.entropy[row], b.own.entropy[row])
            )
        )
        for a, b in zip(one, other, strict=True)
        for row in rows
    )
