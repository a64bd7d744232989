"""What MusicGen's decoder is given to generate: conditions, prompts, callables, and itself as the loop's step model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.generation import precedence
from antiphon.generation.config import GenerationConfig
from antiphon.generation.engine import StepOutput
from antiphon.generation.passage import Passage
from antiphon.nn.kv_cache import EncoderDecoderCache, KVCache


@dataclass
class Callers:
    """What the caller of ``generate`` put in."""

    logits_processor: Any = None
    stopping_criteria: Any = None
    streamer: Any = None


@dataclass
class Conditions:
    """What the decoder attends to, one row an item; with guidance the unconditional rows follow.

    Attributes:
        memory: (R, M, D) or ``None``. padding: (R, M).
        columns: (B, L0), 0 where a prompt column is padding, or ``None``. offsets: padding columns before each item.
    """

    memory: Tensor | None = None
    padding: Tensor | None = None
    columns: Tensor | None = None
    offsets: Sequence[int] | None = None


class DecoderSteps:
    """A documented decoder as the loop's step model: every step is one call of the decoder.

    Args:
        passes: 2 with guidance: each item's row is computed with and without the condition.
        capacity: columns the cache is made for. cache: the caller's own. cache_dtype: what a cache made here keeps.
        states: ask the decoder for hidden states and for attentions.
    """

    def __init__(
        self,
        decoder: Any,
        conditions: Conditions,
        *,
        passes: int,
        capacity: int,
        use_cache: bool,
        cache: Any = None,
        cache_dtype: str | None = None,
        states: tuple[bool, bool] = (False, False),
    ) -> None:
        self.decoder = decoder
        self.conditions = conditions
        self.passes = passes
        self.use_cache = use_cache
        if cache is None and use_cache:
            rows = 0 if conditions.memory is None else conditions.memory.shape[1]
            cache = EncoderDecoderCache(KVCache(capacity, dtype=cache_dtype), KVCache(rows, dtype=cache_dtype))
        self.cache = cache
        self._states = {"output_hidden_states": True} if states[0] else {}
        self._states |= {"output_attentions": True} if states[1] else {}
        memory, weight = conditions.memory, next(decoder.parameters())
        self._memory = None if memory is None else memory.to(device=weight.device, dtype=decoder.dtype)
        self._device = weight.device

    def __call__(self, columns: Tensor, first: int) -> StepOutput:
        """One call of the decoder over ``columns`` (B, K, T) from ``first`` on."""
        last = first + columns.shape[-1]
        rows = columns.repeat(self.passes, 1, 1).to(self._device)  # (P * B, K, T)
        output = self.decoder(
            input_ids=rows.reshape(-1, rows.shape[-1]),
            attention_mask=self._column_mask(last),
            encoder_hidden_states=self._memory,
            encoder_attention_mask=self.conditions.padding,
            past_key_values=self.cache,
            use_cache=self.use_cache,
            return_dict=True,
            **self._positions(first, last),
            **self._states,
        )
        return StepOutput(
            output.logits[:, -1].to(columns.device), output.hidden_states, output.attentions, output.cross_attentions
        )

    def _column_mask(self, last: int) -> Tensor | None:
        mask = self.conditions.columns
        if mask is None:
            return None
        mask = torch.nn.functional.pad(mask, (0, last - mask.shape[1]), value=1)[:, :last]
        return mask.repeat(self.passes, 1).to(self._device)

    def _positions(self, first: int, last: int) -> dict[str, Tensor]:
        """Positions of rows that begin with padding: each counts from its own first column."""
        offsets = self.conditions.offsets
        if offsets is None or not any(offsets):
            return {}
        start = torch.tensor(offsets, device=self._device)[:, None]
        positions = (torch.arange(first, last, device=self._device)[None] - start).clamp(min=0)
        return {"position_ids": positions.repeat(self.passes, 1)}


def resolved(
    model_config: GenerationConfig,
    call_config: GenerationConfig | None,
    kwargs: dict[str, Any],
    *,
    accepted: Sequence[str],
) -> tuple[GenerationConfig, dict[str, Any], bool]:
    """The configuration of a call, the keywords that are the model's, and whether ``max_length`` was left open."""
    left_open = kwargs.get("max_length") is None
    config, leftover = precedence.resolve(call_config, model_config, kwargs)
    precedence.refuse_unknown(leftover, accepted)
    precedence.require_single_beam(config)
    if config.stop_strings is not None:
        raise ParamError(f"stop_strings={config.stop_strings!r}", expected="it unset: codes are not text")
    return config, leftover, left_open


def special_tokens(config: GenerationConfig, vocabulary: int) -> tuple[int, int]:
    """The start and the pad token, each falling back on the other, on bos, and on the row after the codes.

    Raises:
        ParamError: a start token without an embedding.
    """
    start, pad, bos = config.decoder_start_token_id, config.pad_token_id, config.bos_token_id
    start = next(t for t in (start, bos, pad, vocabulary) if t is not None)
    if not 0 <= start <= vocabulary:  # no embedding: looking it up would end a process's use of a GPU
        raise ParamError(
            f"the start token {start} (decoder_start_token_id, else bos_token_id)", expected=f"0 to {vocabulary}"
        )
    return start, pad if pad is not None else start


def state_tuples(passage: Passage) -> tuple[Any, Any, Any]:
    """Hidden states, attentions and memory attentions, one entry a step, ``None`` where they were not kept."""
    kept = passage.states

    def column(name: str) -> Any:
        values = tuple(getattr(state, name) for state in kept)
        return values if values and values[0] is not None else None

    return column("hidden_states"), column("attentions"), column("memory_attentions")


def per_step(kept: list[Tensor]) -> tuple[Tensor, ...] | None:
    """The list as a tuple; ``None`` when nothing was kept."""
    return tuple(kept) or None


def expanded(tensor: Tensor | None, times: int) -> Tensor | None:
    """Every row ``times`` times, neighbours together."""
    return tensor if tensor is None or times == 1 else tensor.repeat_interleave(times, dim=0)


def guided(memory: Tensor | None, padding: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Conditions followed by as many unconditional rows: zeros, which nothing attends to."""
    doubled = [None if t is None else torch.cat([t, torch.zeros_like(t)]) for t in (memory, padding)]
    return doubled[0], doubled[1]


def prompt_codes(codes: Any, codebooks: int, vocabulary: int, *, name: str) -> Tensor:
    """Flattened codes (B * K, L0), or (B, K, L0), as (B, K, L0), seen to be codes or the token after them.

    Raises:
        ParamError: another shape or type, or a code without an embedding, which would end a process's use of a GPU.
    """
    shape = tuple(getattr(codes, "shape", ()))
    kind = codes.dtype if isinstance(codes, Tensor) else type(codes).__name__
    whole = isinstance(codes, Tensor) and codes.dtype in (
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
    )
    if not whole or len(shape) not in (2, 3) or shape[-2] % codebooks or not shape[-1]:
        raise ParamError(
            f"{name} of shape {shape} and type {kind}",
            expected=f"int64 (batch * {codebooks}, columns), 1 or more of them",
        )
    low, high = (int(codes.min()), int(codes.max())) if codes.numel() else (0, 0)
    if not (low >= 0 and high <= vocabulary):
        raise ParamError(f"{name} between {low} and {high}", expected=f"0 to {vocabulary}")
    flat: Tensor = codes.reshape(-1, codebooks, shape[-1]).to(torch.int64)
    return flat
