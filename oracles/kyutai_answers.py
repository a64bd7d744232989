"""What kyutai's models are asked, and what they answer. Imported by ``kyutai.py``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import tiny_kyutai as tiny
import torch
from moshi.models import LMGen
from moshi.modules import transformer
from torch import Tensor

ROWS, STEPS, FRAMES = 2, 220, 30
EVERY_CODE = 8  # of the logits of codes, one in so many is kept; of those of texts, six
# what happens to the rows: step of a model or frame of a codec -> the rows that begin anew, or stand still
RESETS = {100: [False, True]}
STILL = {50: [False, True], 51: [False, True], 130: [True, False]}
CODEC_RESETS = {17: [False, True]}
CODEC_STILL = {9: [False, True], 10: [False, True]}
ALL = [True, True]


def _random(seed: int, high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def columns(kind: tiny.Kind) -> Tensor:
    """Columns (B, 1 + K, T) to read, start tokens and places of nothing (-1) among them."""
    text = _random(1, kind.texts + 1, ROWS, 1, STEPS)
    audio = _random(2, tiny.CODES + 1, ROWS, 2 * kind.codebooks, STEPS)
    found = torch.cat([text, audio], dim=1)
    nothing = _random(3, 20, *found.shape) == 0
    return torch.where(nothing, -1, found)


@torch.no_grad()
def whole(model: Any, kind: tiny.Kind, steps: int = 24) -> tuple[Tensor, Tensor]:
    """Logits of texts (B, T, V) and of codes (B, T, K, C), thinned, of columns that are read at once."""
    read = columns(kind)[..., :steps]
    hidden, text = model.forward_text(read)
    forced = read[:, : kind.codebooks + 1].clamp(min=0)
    # the depth transformer takes what belongs to the column: its text, then its codes
    codes = model.forward_depformer_training(torch.cat([forced, read[:, kind.codebooks + 1 :]], dim=1), hidden)
    return text[:, 0, :, :: kind.texts // 6].contiguous(), codes.transpose(1, 2)[..., ::EVERY_CODE].contiguous()


@torch.no_grad()
def of_columns(model: Any, kind: tiny.Kind) -> dict[str, Tensor]:
    """The same read at once, and step by step past the ring's end, with a row that begins anew and some that stand."""
    read = columns(kind)
    forced = read[:, : kind.codebooks + 1].clamp(min=0)
    texts, codes = [], []
    with model.streaming(ROWS):
        for step in range(STEPS):
            _begin(model, step, RESETS, STILL)
            hidden, text = model.forward_text(read[..., step : step + 1])
            texts.append(text[:, 0, 0, :: kind.texts // 6])
            with model.depformer.streaming(ROWS):
                found = [
                    model.forward_depformer(book, forced[:, book, step][:, None, None], hidden)[:, 0, 0]
                    for book in range(kind.codebooks)
                ]
            codes.append(torch.stack(found, dim=1)[..., ::EVERY_CODE])
    text, code = whole(model, kind)
    return {
        "columns": read.short(),
        "text_logits": torch.stack(texts, dim=1),
        "code_logits": torch.stack(codes, dim=1),
        "text_logits_at_once": text,
        "code_logits_at_once": code,
    }


def _begin(module: Any, step: int, resets: dict[int, list[bool]], still: dict[int, list[bool]]) -> None:
    module.set_exec_mask(torch.tensor(still.get(step, ALL)))
    if step in resets:
        module.reset_streaming(torch.tensor(resets[step]))


@torch.no_grad()
def of_generation(model: Any, kind: tiny.Kind) -> tuple[dict[str, Tensor], float]:
    """What is read, chosen and put out step by step beside a user's codes, and the smallest margin of a choice."""
    user = _random(4, tiny.CODES, ROWS, kind.codebooks, STEPS)
    read: list[Tensor] = []
    texts: list[Tensor] = []
    margins: list[Tensor] = []
    out: list[Tensor] = []
    forward, choose = model.forward_text, transformer_choice(margins)

    def looked_at(sequence: Tensor, *conditions: Any) -> Any:
        read.append(sequence[..., 0])
        return forward(sequence, *conditions)

    with mock.patch.object(model, "forward_text", looked_at), mock.patch("moshi.models.lm.sample_token", choose):
        generation = LMGen(
            model,
            use_sampling=False,
            support_out_of_sync=True,
            on_text_logits_hook=lambda logits: texts.append(logits[:, 0, 0, :: kind.texts // 6].clone()),
        )
        with generation.streaming(ROWS):
            for step in range(STEPS):
                _begin(generation, step, RESETS, STILL)
                out.append(generation.step(user[..., step : step + 1])[..., 0])
    found = {
        "user": user.to(torch.uint8),
        "read": torch.stack(read, dim=-1).short(),
        "out": torch.stack(out, dim=-1).short(),
        "chosen_text_logits": torch.stack(texts, dim=1),
    }
    return found, float(torch.stack(margins).min())


def transformer_choice(margins: list[Tensor]) -> Any:
    """The package's greedy choice, which also notes by how much the chosen one led."""

    def choose(logits: Tensor, *settings: Any) -> Tensor:
        best = logits.topk(2, dim=-1).values
        margins.append((best[..., 0] - best[..., 1]).min())
        return logits.argmax(dim=-1)

    return choose


@contextmanager
def _one_slot_more() -> Iterator[None]:
    """Rings of the codec's attention with one slot more than the window.

    A frame is two columns there. The package writes both before it attends, so the second takes the slot of the oldest
    key that the first should still see; its streams then depart from its own whole. With one slot more they agree.
    """
    ring = transformer.RingKVCache

    def roomier(rows: int, heads: int, width: int, capacity: int, **options: Any) -> Any:
        return ring(rows, heads, width, capacity + 1, **options)

    with mock.patch.object(transformer, "RingKVCache", roomier):
        yield


@torch.no_grad()
def of_codec(codec: Any) -> tuple[dict[str, Tensor], float]:
    """Latents, codes and sound, of the whole and frame by frame, and the smallest lead of a codeword over the next."""
    frame = codec.frame_size
    generator = torch.Generator().manual_seed(5)
    sound = (torch.randn(ROWS, 1, FRAMES * frame, generator=generator) * 0.3).half().float()
    latents = codec._encode_to_unquantized_latent(sound)
    codes = codec.quantizer.encode(latents)
    found = {
        "sound": sound.half(),
        "latents": latents,
        "codes": codes.to(torch.uint8),
        "codes_of_a_part": codec.encode(sound[..., : 5 * frame + 7]).to(torch.uint8),
        "decoded": codec.decode(codes),
    }
    with _one_slot_more():
        found |= {f"streamed_{name}": tensor for name, tensor in _streamed(codec, sound, codes, stands=True).items()}
    found["published_latents"] = _streamed(codec, sound, codes, stands=False)["latents"]
    return found, _lead(codec, latents)


def _streamed(codec: Any, sound: Tensor, codes: Tensor, *, stands: bool) -> dict[str, Tensor]:
    frame = codec.frame_size
    latents, decoded = [], []
    resets, still = (CODEC_RESETS, CODEC_STILL) if stands else ({}, {})
    with codec.streaming(ROWS):
        for at in range(FRAMES):
            _begin(codec, at, resets, still)
            latents.append(codec._encode_to_unquantized_latent(sound[..., at * frame : (at + 1) * frame]))
            decoded.append(codec.decode(codes[..., at : at + 1]))
    whole = torch.cat(latents, dim=-1)
    return {
        "latents": whole,
        "codes": codec.quantizer.encode(whole).to(torch.uint8),
        "decoded": torch.cat(decoded, dim=-1),
    }


def _lead(codec: Any, latents: Tensor) -> float:
    """By how much less the nearest codeword is away than the next, at the least."""
    leads = []
    for side in (codec.quantizer.rvq_first, codec.quantizer.rvq_rest):
        points = side.input_proj(latents).transpose(1, 2).flatten(0, 1)
        for layer in side.vq.layers:
            words = layer._codebook.embedding
            apart = torch.cdist(points, words).topk(2, dim=-1, largest=False)
            leads.append((apart.values[:, 1] - apart.values[:, 0]).min())
            points = points - words[apart.indices[:, 0]]
    return float(torch.stack(leads).min())
