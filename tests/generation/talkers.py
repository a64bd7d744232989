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


@functools.cache
def small() -> Any:
    """A model of one layer wherever there are layers, with two codebooks, for thousands of steps."""
    torch.manual_seed(0)
    codec = {
        **{"model_type": "mimi", "upsampling_ratios": [2, 2], "num_filters": 2, "hidden_size": 8, "kernel_size": 3},
        **{"codebook_dim": 4, "vector_quantization_hidden_dimension": 4, "codebook_size": 8, "num_quantizers": 2},
        **{"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8},
        **{"intermediate_size": 8, "upsample_groups": 8, "sliding_window": 20, "sampling_rate": 100},
    }
    one = {"num_hidden_layers": 1, "num_attention_heads": 1, "ffn_dim": 16}
    config = antiphon.MoshiConfig(
        **one,
        vocab_size=16,
        hidden_size=16,
        num_codebooks=2,
        sliding_window=40,
        audio_encoder_config=codec,
        depth_decoder_config={**one, "hidden_size": 16},
    )
    made = antiphon.MoshiForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.dim() > 1 and not name.startswith("audio_encoder."):
                weight.normal_(std=1.0 if "embed_tokens" in name else 1.5 * weight.shape[-1] ** -0.5)
        for name, buffer in made.named_buffers():
            if name.endswith(("vector_sums", "cluster_size")):
                buffer.normal_() if name.endswith("sums") else buffer.fill_(1.0)
    return made


SMALL_FRAME = 8  # samples


def small_duplex(**asked: Any) -> Duplex:
    streams = Streams(DelayPattern((0, 0, 1, 0, 1)), 16, 8)
    return Duplex(small().lm, small().audio_encoder.codec, streams, **asked)


def speech(rows: int, frames: int, *, seed: int = 0, frame: int = FRAME) -> Tensor:
    """Noise (rows, samples) that swells and fades."""
    generator = torch.Generator().manual_seed(seed)
    swell = torch.rand(rows, frames, 1, generator=generator)
    return (torch.randn(rows, frames, frame, generator=generator) * swell).flatten(1)


def small_speech(rows: int, frames: int, *, seed: int = 0) -> Tensor:
    return speech(rows, frames, seed=seed, frame=SMALL_FRAME)


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
