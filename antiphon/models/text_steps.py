"""A documented model of text as the step model of the loop: its prompt, its mask, its positions, its cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.errors import ParamError
from antiphon.generation.engine import StepOutput
from antiphon.models.musicgen_generation import expanded
from antiphon.models.text_model import check_cache
from antiphon.nn.kv_cache import KVCache

# Columns of a prompt from which on rows of different lengths are computed by themselves: that reads the weights once
# for each length, and saves the padding and a mask that grows with the square of the columns.
_LONG = 512


@dataclass
class TextPrompt:
    """What a text goes on from.

    Attributes:
        ids: (B, L0) int64; where there are only embeddings, an id that no text has. embedded: (B, L0, D) or ``None``.
        mask: (B, L0), 1 for real columns. positions: (B, L0) int64. hidden: leading columns that are not returned.
    """

    ids: Tensor
    embedded: Tensor | None
    mask: Tensor
    positions: Tensor
    hidden: int = 0

    def repeated(self, times: int) -> TextPrompt:
        """Every row ``times`` times, neighbours together."""
        ids, mask, positions = (part.repeat_interleave(times, dim=0) for part in (self.ids, self.mask, self.positions))
        return TextPrompt(ids, expanded(self.embedded, times), mask, positions, self.hidden)


class TextSteps:
    """A documented model of text as the loop's step model: every step is one call of it.

    Args:
        model: anything with the call of ``MoshiForCausalLM``. cache: the caller's own, or ``None``.
        copies: neighbouring rows that begin with one prompt, which is then computed once for all of them.
        states: ask for hidden states and for attentions.
    """

    def __init__(
        self,
        model: Any,
        prompt: TextPrompt,
        *,
        capacity: int,
        use_cache: bool,
        cache: Any = None,
        cache_dtype: str | None = None,
        copies: int = 1,
        states: tuple[bool, bool] = (False, False),
    ) -> None:
        self.model, self.prompt, self.use_cache = model, prompt, use_cache
        self.cache = KVCache(capacity, dtype=cache_dtype) if cache is None and use_cache else cache
        self._held = held_columns(cache, prompt.ids.shape[1], use_cache=use_cache)
        self._mask = prompt.mask if bool((prompt.mask == 0).any()) else None  # one that hides nothing is not passed
        # a cache of the caller's has its rows already, and what is recorded is recorded of every row
        self._owns = cache is None and use_cache and not any(states)
        self._copies = copies
        self._states = {"output_hidden_states": True} if states[0] else {}
        self._states |= {"output_attentions": True} if states[1] else {}

    def __call__(self, columns: Tensor, first: int) -> StepOutput:
        """One call over ``columns`` (B, 1, T) from ``first`` on, or over those that a caller's cache has not."""
        ids = columns[:, 0]
        if first == 0 and self._held:  # a cache of the caller's holds the beginning of the prompt
            ids, first = ids[:, self._held :], self._held
        if first == 0 and self._owns:
            return self._begun(ids)
        output = self._called(ids, first, slice(None), self.cache, self._mask)
        return StepOutput(output.logits[:, -1].to(columns.device), output.hidden_states, output.attentions)

    def _called(self, ids: Tensor, first: int, rows: slice | Tensor, cache: Any, mask: Tensor | None) -> Any:
        """One call of the model over ``rows`` of the columns ``ids`` (B, T), of which the first is number ``first``."""
        mask = self._up_to(mask, first + ids.shape[1])
        return self.model(
            **self._inputs(ids[rows], first, rows),
            attention_mask=mask if mask is None else mask[rows],
            position_ids=self._places(first, ids.shape[1])[rows],
            past_key_values=cache,
            use_cache=self.use_cache,
            logits_to_keep=1,
            return_dict=True,
            **self._states,
        )

    def _begun(self, ids: Tensor) -> StepOutput:
        """The first call of a cache of our own: each prompt once, long ones of different lengths without padding."""
        rows = slice(None, None, self._copies)
        pads = self._pads(ids.shape[1])
        if pads is None:
            logits = self._called(ids, 0, rows, self.cache, self._mask).logits[:, -1].to(ids.device)
        else:
            logits = self._by_length(ids, pads[rows])
        if self._copies > 1:
            self.cache.batch_repeat_interleave(self._copies)
            logits = logits.repeat_interleave(self._copies, dim=0)
        return StepOutput(logits)

    def _pads(self, columns: int) -> Tensor | None:
        """How many columns of padding each row (B,) of a long prompt begins with; ``None`` for any other prompt."""
        if self._mask is None or columns < _LONG:
            return None
        pads = (self._mask == 0).sum(dim=1)
        on_the_left = torch.arange(columns, device=pads.device) >= pads[:, None]
        plain = torch.equal(on_the_left, self._mask != 0) and int(pads.max()) < columns
        return pads if plain else None

    def _by_length(self, ids: Tensor, pads: Tensor) -> Tensor:
        """Logits (R, V) behind the prompts of every ``copies``-th row, those of one length by a call of their own."""
        parts: list[tuple[Tensor, int, KVCache]] = []
        logits: dict[int, Tensor] = {}
        for count in pads.unique().tolist():
            own = (pads == count).nonzero()[:, 0]
            cache = KVCache()
            output = self._called(ids[:, count:], count, own * self._copies, cache, None)
            logits |= zip(own.tolist(), output.logits[:, -1].to(ids.device), strict=True)
            parts.append((own, count, cache))
        for index in range(len(parts[0][2])):
            self.cache.layer(index).write(*_joined(parts, index, rows=len(pads), columns=ids.shape[1]))
        return torch.stack([logits[row] for row in range(len(pads))])

    def _inputs(self, ids: Tensor, first: int, rows: slice | Tensor) -> dict[str, Tensor]:
        embedded = self.prompt.embedded
        if embedded is None or first >= embedded.shape[1]:
            return {"input_ids": ids}
        new = ids[:, embedded.shape[1] - first :]
        own = embedded[rows, first:]
        return {"inputs_embeds": torch.cat([own, self.model.get_input_embeddings()(new).to(own)], dim=1)}

    def _places(self, first: int, count: int) -> Tensor:
        held = self.prompt.positions
        later = torch.arange(1, max(0, first + count - held.shape[1]) + 1, device=held.device)
        return torch.cat([held, held[:, -1:] + later], dim=1)[:, first : first + count]

    def reorder(self, rows: Tensor) -> None:
        """Row r goes on from what was row ``rows[r]``, (R,) int64, of the same prompt."""
        self.cache.reorder_cache(rows)

    @staticmethod
    def _up_to(mask: Tensor | None, columns: int) -> Tensor | None:
        # negative padding cuts
        return mask if mask is None else functional.pad(mask, (0, columns - mask.shape[1]), value=1)


def _joined(parts: list[tuple[Tensor, int, KVCache]], index: int, *, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Keys and values (R, H, T, D) of a layer, from caches that hold some rows each without the columns before them."""
    joined = []
    for which in range(2):
        like = parts[0][2].layer(index).floats()[which]
        # what no query looks at is multiplied by nothing, which has to be nothing
        whole = like.new_zeros((rows, like.shape[1], columns, like.shape[3]))
        for own, before, cache in parts:
            whole[own, :, before:] = cache.layer(index).floats()[which]
        joined.append(whole)
    return joined[0], joined[1]


def held_columns(cache: Any, columns: int, *, use_cache: bool) -> int:
    """How many of a prompt's columns a caller's cache holds: it is taken for the beginning of this very prompt.

    Raises:
        ParamError: it holds all of them or more, or is given to a call that uses none. ParamTypeError: it is no cache.
    """
    if cache is None:
        return 0
    check_cache(cache)
    if not use_cache:
        raise ParamError("past_key_values with use_cache=False", expected="one of them")
    held: int = cache.get_seq_length()
    if held and not held < columns:
        raise ParamError(
            f"past_key_values with {held} columns before a prompt of {columns}",
            expected="a cache that holds the beginning of this prompt, and not all of it",
            fix="Give the whole prompt again, with what is new at its end, or a new cache",
        )
    return held
