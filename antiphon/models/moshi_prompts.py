"""What was said before Moshi goes on: three inputs of one length, as columns."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.generation.delays import DelayPattern
from antiphon.models.text_generation import check_ids, inferred_mask


@dataclass
class Said:
    """The documented inputs of ``MoshiForConditionalGeneration.generate``."""

    input_ids: Tensor | None = None
    user_input_values: Tensor | None = None
    user_audio_codes: Tensor | None = None
    moshi_input_values: Tensor | None = None
    moshi_audio_codes: Tensor | None = None
    inputs_embeds: Tensor | None = None


@dataclass
class SpokenPrompt:
    """The columns so far, without delays.

    Attributes:
        text: (B, L) int64. own: (B, K, L) codes. user: (B, K, L or more) codes.
        mask: (B, L), 1 for real columns. embedded: (B, L, D) in place of what is embedded, or ``None``.
        has_text: the text is what was given, and is returned.
        empty: leading columns in which Moshi has no codes yet, but initial tokens.
    """

    text: Tensor
    own: Tensor
    user: Tensor
    mask: Tensor
    embedded: Tensor | None
    has_text: bool
    empty: int

    @property
    def columns(self) -> int:
        """L."""
        return self.text.shape[1]


def own_delays(codebooks: int) -> DelayPattern:
    """The delays of one speaker's codebooks: the first has none, the others one column."""
    return DelayPattern((0, *(1 for _ in range(codebooks - 1))))


def delayed(codes: Tensor, columns: int, initial: int) -> Tensor:
    """The plan (B, K, columns) of one speaker's codes (B, K, L): delayed, with -1 where nothing is decided yet.

    The first codebook has no token in the last column, the others none in the first: these hold the ``initial`` token.
    """
    before = codes.new_full((*codes.shape[:2], 1), initial)
    plan = own_delays(codes.shape[1]).build(torch.cat([before, codes], dim=-1), columns + 1, initial)
    return plan[..., 1:]


def aligned(columns: Tensor) -> Tensor:
    """The frames (B, K, T - 1) of one speaker's columns (B, K, T): the way back."""
    pattern = own_delays(columns.shape[1])
    before = columns.new_zeros((*columns.shape[:2], 1))
    return pattern.revert(torch.cat([before, columns], dim=-1))


def encoded(model: Any, values: Tensor | None, codes: Tensor | None, kwargs: dict[str, Any]) -> Tensor | None:
    """The codes (B, K, L) of one speaker: as given, or of the samples (B, 1, N); ``None`` without either."""
    if codes is None and values is None:
        return None
    if codes is None:
        codec = model.audio_encoder
        values = _samples(values).to(device=codec.device, dtype=codec.dtype)
        made: Tensor = codec.encode(values, num_quantizers=model.num_codebooks, **kwargs)[0]
        return made
    return check_codes(codes, model.num_codebooks, model.config.audio_vocab_size).to(model.device)


def check_codes(codes: Any, codebooks: int, highest: int) -> Tensor:
    """Codes as int64; raises ``ParamError`` unless they are (B, K, L) whole numbers from 0 to ``highest``."""
    whole = isinstance(codes, Tensor) and not codes.is_floating_point() and codes.dtype is not torch.bool
    if not whole or codes.dim() != 3 or codes.shape[1] != codebooks or not codes.numel():
        shape = tuple(getattr(codes, "shape", ()))
        raise ParamError(f"audio codes of shape {shape}", expected=f"int64 (batch, {codebooks}, columns)")
    low, high = int(codes.min()), int(codes.max())
    if not (low >= 0 and high <= highest):
        raise ParamError(f"audio codes between {low} and {high}", expected=f"0 to {highest}")
    kept: Tensor = codes
    return kept.to(torch.int64)


def _samples(values: Any) -> Tensor:
    if not isinstance(values, Tensor) or values.dim() != 3 or not values.is_floating_point():
        shape = tuple(getattr(values, "shape", ()))
        raise ParamError(f"input values of shape {shape}", expected="(batch, 1, samples) of floating point")
    return values


def spoken_prompt(
    model: Any, said: Said, mask: Tensor | None, config: Any, *, initial: bool, goes_on: bool
) -> SpokenPrompt:
    """The prompt of a call.

    Args:
        mask: (B, L) of the caller, or ``None``: then pads are told by their token, as the reference does.
        initial: put a column of initial tokens in front, where there is a prompt of tokens.
        goes_on: the user's input may be longer than the others.

    Raises:
        ParamError: an input is missing, or they are of different lengths.
    """
    _check_present(said)
    if all(part is None for part in vars(said).values()):
        start, initial = model.get_unconditional_inputs(), False
        said = Said(start.input_ids, user_audio_codes=start.user_audio_codes, moshi_audio_codes=start.moshi_audio_codes)
    _check_lengths(model, said, goes_on)
    own = encoded(model, said.moshi_input_values, said.moshi_audio_codes, {})
    user = encoded(model, said.user_input_values, said.user_audio_codes, {})
    if own is None or user is None:  # both are there, or the check above has raised
        raise ParamError("inputs without audio", expected="audio of the user and of Moshi")
    text = said.input_ids
    if text is None:  # what the embeddings stand for has no ids
        text = torch.full((len(own), own.shape[-1]), model.config.vocab_size)
    check_ids(text, model.config.vocab_size)
    text = text.to(model.device, torch.int64)
    if len({len(text), len(own), len(user)}) > 1:
        raise ParamError(f"{len(text)}, {len(own)} and {len(user)} rows of text, Moshi and user", expected="as many")
    if mask is None:
        mask = torch.ones_like(text) if said.input_ids is None else inferred_mask(text, config)
    if tuple(mask.shape) != tuple(text.shape):
        raise ParamError(f"attention_mask of shape {tuple(mask.shape)}", expected=f"{tuple(text.shape)}")
    mask = mask.to(text)
    if initial and said.inputs_embeds is None:
        start = model.get_unconditional_inputs(len(text))
        text = torch.cat([start.input_ids, text], dim=1)
        own = torch.cat([start.moshi_audio_codes, own.to(text)], dim=2)
        user = torch.cat([start.user_audio_codes, user.to(text)], dim=2)
        mask = torch.cat([start.attention_mask, mask], dim=1)
    empty = _empty_columns(own, model.config.audio_vocab_size)
    return SpokenPrompt(text, own, user, mask, said.inputs_embeds, said.input_ids is not None, empty)


def _empty_columns(own: Tensor, initial: int) -> int:
    """How many columns (B, K, L) begin with initial tokens, in all rows and codebooks.

    Raises:
        ParamError: they stand elsewhere too, where no sound can be made of them.
    """
    is_initial = own == initial
    leading = int(is_initial.flatten(0, 1).all(dim=0).to(torch.int64).cumprod(dim=0).sum())
    if bool(is_initial[..., leading:].any()):
        raise ParamError(
            f"Moshi's codes hold the initial token {initial} inside a prompt",
            expected="it in leading columns only, the same in all rows",
        )
    return leading


def _check_present(said: Said) -> None:
    inputs = {
        "no user audio: user_input_values or user_audio_codes": (said.user_input_values, said.user_audio_codes),
        "no Moshi audio: moshi_input_values or moshi_audio_codes": (said.moshi_input_values, said.moshi_audio_codes),
        "no text: input_ids or inputs_embeds": (said.input_ids, said.inputs_embeds),
    }
    missing = [name for name, given in inputs.items() if all(part is None for part in given)]
    if missing and len(missing) < len(inputs):
        raise ParamError(
            f"inputs came with {missing[0]}",
            expected="all three inputs, or none of them",
            fix="Give it, or begin with get_unconditional_inputs()",
        )


def _check_lengths(model: Any, said: Said, goes_on: bool) -> None:
    ratio = model.config.audio_encoder_config.frame_rate / model.config.sampling_rate

    def columns(codes: Tensor | None, values: Tensor | None) -> int:
        if codes is not None:
            return int(codes.shape[-1])
        return 0 if values is None else math.ceil(values.shape[-1] * ratio)

    text = said.input_ids if said.inputs_embeds is None else said.inputs_embeds
    lengths = (
        0 if text is None else int(text.shape[1]),
        columns(said.moshi_audio_codes, said.moshi_input_values),
        columns(said.user_audio_codes, said.user_input_values),
    )
    fits = lengths[0] == lengths[1] and (lengths[2] >= lengths[0] if goes_on else lengths[2] == lengths[0])
    if not fits:
        raise ParamError(
            f"{lengths[0]} columns of text, {lengths[1]} of Moshi's audio and {lengths[2]} of the user's",
            expected="the same sequence length in all three" + (", or more of the user's" if goes_on else ""),
            fix=None if goes_on or lengths[0] != lengths[1] else "A user who speaks on needs user_goes_on=True",
        )
