"""What a music decoder is given to generate: conditions, prompts, callables, and itself as the loop's step model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.errors import ParamError
from antiphon.generation import precedence
from antiphon.generation.config import GenerationConfig
from antiphon.generation.engine import StepOutput
from antiphon.generation.passage import Passage
from antiphon.generation.windows import Window
from antiphon.nn.kv_cache import EncoderDecoderCache, KVCache


@dataclass
class Callers:
    """What the caller of ``generate`` put in."""

    logits_processor: Any = None
    stopping_criteria: Any = None
    streamer: Any = None


@dataclass
class Conditions:
    """What the decoder hears, one row an item; with guidance the unconditional rows follow.

    Attributes:
        states: (R, M, D) or ``None``. mask: (R, M), 0 where a place is padding.
        in_front: the states come before the columns; otherwise the columns attend to them.
        own_places: in front of the columns, each row counts its places without its padding.
    """

    states: Tensor | None = None
    mask: Tensor | None = None
    in_front: bool = False
    own_places: bool = False

    @property
    def front(self) -> int:
        """Places in front of the columns."""
        return self.states.shape[1] if self.in_front and self.states is not None else 0

    def repeated(self, times: int) -> Conditions:
        """Every row ``times`` times, neighbours together."""
        return replace(self, states=expanded(self.states, times), mask=expanded(self.mask, times))


# The conditions of the window with that number among the windows of a piece.
Hearing = Callable[[Sequence[Window], int], Conditions]


class DecoderSteps:
    """A documented decoder as the loop's step model: every step is one call of the decoder.

    Args:
        columns_mask: (B, L0), 0 where a prompt column is padding, or ``None``. own_columns: rows count their columns
            without that padding.
        passes: 2 with guidance: each item's row is computed with and without the condition.
        capacity: columns the cache is made for. cache: the caller's own. cache_dtype: what a cache made here keeps.
        states: ask the decoder for hidden states and for attentions.
    """

    def __init__(
        self,
        decoder: Any,
        conditions: Conditions,
        *,
        columns_mask: Tensor | None,
        own_columns: bool,
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
            places = 0 if conditions.states is None or conditions.in_front else conditions.states.shape[1]
            own = KVCache(capacity + conditions.front, dtype=cache_dtype)
            cache = EncoderDecoderCache(own, KVCache(places, dtype=cache_dtype))
        self.cache = cache
        self._states = {"output_hidden_states": True} if states[0] else {}
        self._states |= {"output_attentions": True} if states[1] else {}
        heard, weight = conditions.states, next(decoder.parameters())
        self._heard = None if heard is None else heard.to(device=weight.device, dtype=decoder.dtype)
        self._device = weight.device
        self._columns_mask = None if columns_mask is None else columns_mask.repeat(passes, 1).to(self._device)
        self._mask = conditions.mask
        if conditions.front and self._mask is None and self._columns_mask is not None:
            self._mask = self._columns_mask.new_ones(len(self._columns_mask), conditions.front)
        self._places = self._own_places(capacity) if own_columns or conditions.own_places else None

    def __call__(self, columns: Tensor, first: int) -> StepOutput:
        """One call of the decoder over ``columns`` (B, K, T) from ``first`` on."""
        last, front = first + columns.shape[-1], self.conditions.front
        rows = columns.repeat(self.passes, 1, 1).to(self._device)  # (P * B, K, T)
        heard_before = self.conditions.in_front and first > 0
        begin = first + front if heard_before else first
        output = self.decoder(
            input_ids=rows.reshape(-1, rows.shape[-1]),
            attention_mask=self._column_mask(last),
            encoder_hidden_states=None if heard_before else self._heard,
            encoder_attention_mask=self._mask,
            past_key_values=self.cache,
            use_cache=self.use_cache,
            return_dict=True,
            **({} if self._places is None else {"position_ids": self._places[:, begin : last + front]}),
            **self._states,
        )
        return StepOutput(
            output.logits[:, -1].to(columns.device),
            output.hidden_states,
            output.attentions,
            getattr(output, "cross_attentions", None),
        )

    def _column_mask(self, last: int) -> Tensor | None:
        mask = self._columns_mask
        return None if mask is None else functional.pad(mask, (0, last - mask.shape[1]), value=1)[:, :last]

    def _own_places(self, capacity: int) -> Tensor | None:
        """Positions (R, P + capacity) of rows with padding: each counts its own places and columns only."""
        in_front = self._mask if self.conditions.in_front else None
        masks = [mask for mask in (in_front, self._column_mask(capacity)) if mask is not None]
        if all(bool(mask.all()) for mask in masks):
            return None
        shown = torch.cat(masks, dim=1)
        shown = functional.pad(shown, (0, self.conditions.front + capacity - shown.shape[1]), value=1)
        return (shown.to(torch.long).cumsum(dim=1) - 1).clamp(min=0)


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


def guided(
    states: Tensor | None, mask: Tensor | None, *, in_front: bool = False
) -> tuple[Tensor | None, Tensor | None]:
    """Conditions followed by as many unconditional rows: zeros, which nothing attends to.

    In front of the columns there have to be places; there the zeros are seen, as many as of the condition.
    """
    if mask is not None:
        mask = torch.cat([mask, mask if in_front else torch.zeros_like(mask)])
    return None if states is None else torch.cat([states, torch.zeros_like(states)]), mask


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
