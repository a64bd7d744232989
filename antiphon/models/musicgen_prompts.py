"""What a piece goes on from: codes, or a sound as its codec encodes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.generation.config import GenerationConfig
from antiphon.models.musicgen_generation import expanded, prompt_codes
from antiphon.models.musicgen_sound import encode


@dataclass
class Prompt:
    """Codes to go on from.

    Attributes:
        columns: (B, K, L0) int64, the start column first; shorter rows begin with start tokens.
        mask: (B, L0), 0 where a row begins late; ``None`` when none does. offsets: by how many columns.
        scales: volumes for codecs that keep them. pad_samples: silence before each item's own sound.
    """

    columns: Tensor
    mask: Tensor | None = None
    offsets: list[int] | None = None
    scales: Any = None
    pad_samples: list[int] | None = None


def prompt_of(model: Any, config: GenerationConfig, given: dict[str, Any], items: int, start: int) -> Prompt:
    """What the call ``given`` goes on from, behind a column of the token ``start``; that column alone if nothing."""
    codebooks, device = model.decoder.num_codebooks, model.decoder.device
    first = torch.full((items, codebooks, 1), start, dtype=torch.long, device=device)
    mask = given.get("decoder_attention_mask")
    if "decoder_input_ids" in given:
        vocabulary = model.decoder.config.vocab_size
        codes = prompt_codes(given["decoder_input_ids"], codebooks, vocabulary, name="decoder_input_ids").to(device)
        if codes.shape[0] != items:
            raise ParamError(f"{items} texts and decoder_input_ids of {len(codes)} items", expected="equal numbers")
        if bool((codes[..., 0] == start).any()):
            return Prompt(codes, mask)
        if mask is not None:
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=-1)
        return Prompt(torch.cat([first, codes], dim=-1), mask)
    if "input_values" not in given:
        return Prompt(first, mask)
    values, padding = given["input_values"], given.get("padding_mask")
    if values.shape[0] != items:
        raise ParamError(f"{items} texts and {values.shape[0]} sounds", expected="as many of one as of the other")
    if config.independent_rows and padding is not None:
        return _independent_prompt(model, values, padding, first)
    codes, scales = encode(model, values, padding)
    return Prompt(torch.cat([first, codes.to(device)], dim=-1), mask, scales=scales)


def item_count(given: dict[str, Any], encoder_outputs: Any, codebooks: int) -> int:
    """How many items a call is about.

    Raises:
        ParamError: an input that is no tensor with a row an item.
    """
    if encoder_outputs is not None:
        return int(encoder_outputs.last_hidden_state.shape[0])
    for name in ("input_ids", "inputs_embeds", "input_features", "input_values"):
        if name in given:
            shape = getattr(given[name], "shape", ())
            if not shape:
                raise ParamError(f"{name} of type {type(given[name]).__name__}", expected="a tensor with a row an item")
            return int(shape[0])
    codes = given.get("decoder_input_ids")
    if isinstance(codes, Tensor) and codes.dim() > 1:
        return max(1, codes.shape[0] if codes.dim() == 3 else codes.shape[0] // codebooks)
    return 1


def _independent_prompt(model: Any, values: Tensor, padding: Tensor, first: Tensor) -> Prompt:
    """Each sound encoded without its padding, so that it is what it would be alone; rows end together."""
    rows = []
    for value, mask in zip(values, padding.view(padding.shape[0], -1, padding.shape[-1])[:, 0], strict=True):
        real = mask.bool().nonzero().flatten()
        if not len(real):
            raise ParamError("a sound that is padding throughout", expected="at least one sample")
        sound = value[:, int(real[0]) : int(real[-1]) + 1]
        rows.append(encode(model, sound[None], None)[0][0].to(first.device))  # (K, T_i)
    longest = max(row.shape[-1] for row in rows)
    columns = first.repeat(1, 1, longest + 1)
    mask = torch.ones(len(rows), longest + 1, dtype=torch.long, device=first.device)
    offsets = [longest - row.shape[-1] for row in rows]
    for number, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
        columns[number, :, offset + 1 :] = row
        mask[number, :offset] = 0
    silence = [int(values.shape[-1] - n) for n in padding.view(padding.shape[0], -1, padding.shape[-1])[:, 0].sum(-1)]
    return Prompt(columns, mask if any(offsets) else None, offsets, pad_samples=silence)


def repeated(prompt: Prompt, times: int) -> Prompt:
    """Every item ``times`` times, neighbours together."""
    if times == 1:
        return prompt

    def each(values: list[int] | None) -> list[int] | None:
        return None if values is None else [v for v in values for _ in range(times)]

    columns = prompt.columns.repeat_interleave(times, dim=0)
    scales = expanded(prompt.scales, times) if isinstance(prompt.scales, Tensor) else prompt.scales
    return Prompt(columns, expanded(prompt.mask, times), each(prompt.offsets), scales, each(prompt.pad_samples))
