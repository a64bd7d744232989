"""How long the rows of a batch become: padding and truncation of one call, and padding of rows encoded before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from antiphon.batch import BatchEncoding, to_array_type
from antiphon.errors import ParamError, ParamTypeError

logger = logging.getLogger(__name__)

PADDINGS = ("longest", "max_length", "do_not_pad")
TRUNCATIONS = ("longest_first", "only_first", "only_second", "do_not_truncate")
SIDES = ("right", "left")
# above this a model_max_length means "no limit was ever stated"
UNSTATED_LENGTH = int(1e20)
# what is written to files where no limit is known; other readers look for this very number
NO_MAX_LENGTH = int(1e30)


@dataclass(frozen=True)
class LengthPlan:
    """What one call does with the lengths of its rows; see ``LengthPlan.make``."""

    padding: str
    truncation: str
    max_length: int | None
    stride: int
    multiple: int | None
    side: str

    @classmethod
    def make(
        cls,
        *,
        padding: Any,
        truncation: Any,
        max_length: int | None,
        model_max_length: int,
        side: str,
        stride: int = 0,
        multiple: int | None = None,
    ) -> LengthPlan:
        """The plan for these arguments, with the reference's rules.

        ``padding``: ``True`` or ``"longest"`` pads to the longest row, ``"max_length"`` to ``max_length`` (or the
        model's), ``False`` not at all. ``truncation``: ``True`` or ``"longest_first"`` cuts to ``max_length`` (or the
        model's), ``False`` not at all; ``None`` cuts only if ``max_length`` is given without padding. Where neither
        states a length, neither happens. Raises ``ParamError``, ``ParamTypeError``.

        Source: transformers 5.23, ``PreTrainedTokenizerBase.__call__``.
        """
        _check_count("max_length", max_length, 0)
        _check_count("stride", stride, 0)
        _check_count("pad_to_multiple_of", multiple, 1)
        _check_choice("padding_side", side, SIDES)
        if max_length is not None and padding is False and truncation is None:
            truncation = "longest_first"
        pad = _strategy("padding", padding, PADDINGS, when_true="longest", when_false="do_not_pad")
        cut = _strategy("truncation", truncation, TRUNCATIONS, when_true="longest_first", when_false="do_not_truncate")
        if padding is True and max_length is not None and cut == "do_not_truncate":
            logger.warning(
                "max_length has no effect with padding=True alone; use padding='max_length' or truncation=True"
            )
        if max_length is None:
            stated = model_max_length <= UNSTATED_LENGTH
            if pad == "max_length" and not stated:
                pad = "do_not_pad"
            if cut != "do_not_truncate" and not stated:
                cut = "do_not_truncate"
            if pad == "max_length" or cut != "do_not_truncate":
                max_length = model_max_length
        if pad != "do_not_pad" and cut != "do_not_truncate" and multiple and max_length and max_length % multiple:
            raise ParamError(
                f"max_length={max_length} with pad_to_multiple_of={multiple}",
                expected="a max_length that is such a multiple when rows are both cut and padded",
            )
        return cls(pad, cut, max_length, stride, multiple, side)

    def target(self, lengths: list[int]) -> int:
        """The length to pad rows of these ``lengths`` to; longer rows stay as they are."""
        length = self.max_length if self.padding == "max_length" and self.max_length is not None else max(lengths)
        return -(-length // self.multiple) * self.multiple if self.multiple else length


def _strategy(name: str, value: Any, choices: tuple[str, ...], *, when_true: str, when_false: str) -> str:
    if value is True:
        return when_true
    if value is False or value is None:
        return when_false
    return _check_choice(name, getattr(value, "value", value), choices)  # enums of other libraries carry .value


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise ParamError(f"{name}={value!r}", expected=f"one of {', '.join(map(repr, choices))}")
    return str(value)


def _check_count(name: str, value: Any, least: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParamTypeError(f"{name}={value!r}", expected="an integer")
    if not value >= least:
        raise ParamError(f"{name}={value}", expected=f"an integer of at least {least}")


def pad_rows(
    rows: Mapping[str, list[list[int]]], plan: LengthPlan, *, pad_id: int, pad_type_id: int, with_mask: bool
) -> dict[str, list[list[int]]]:
    """``rows`` with every known entry padded; a missing ``attention_mask`` is made when ``with_mask``."""
    ids = rows["input_ids"]
    padded: dict[str, list[list[int]]] = {name: [list(row) for row in values] for name, values in rows.items()}
    if with_mask and "attention_mask" not in padded:
        padded["attention_mask"] = [[1] * len(row) for row in ids]
    if plan.padding == "do_not_pad":
        return padded
    fills = {"input_ids": pad_id, "attention_mask": 0, "token_type_ids": pad_type_id, "special_tokens_mask": 1}
    if not with_mask:
        del fills["attention_mask"]
    target = plan.target([len(row) for row in ids])
    for name, fill in fills.items():
        for index, row in enumerate(padded.get(name, ())):
            extra = [fill] * (target - len(ids[index]))
            padded[name][index] = row + extra if plan.side == "right" else extra + row
    return padded


def as_encoding(data: dict[str, Any], kind: str | None) -> BatchEncoding:
    """``data`` as a tokenizer returns it: lists as they are, or int64 arrays of ``kind``; ``ParamError`` if ragged."""
    if kind is None:
        return BatchEncoding(data)
    try:
        # int64 also for rows without any token, where nothing tells the type
        arrays = {name: np.asarray(value, dtype=np.int64) for name, value in data.items()}
    except ValueError as error:
        raise ParamError(
            "the texts have different numbers of tokens",
            expected="equal lengths when tensors are asked for",
            fix="Pass padding=True",
        ) from error
    return BatchEncoding({name: to_array_type(value, kind) for name, value in arrays.items()}, kind)


def collected(encoded: Any) -> tuple[dict[str, list[list[int]]], bool, str | None]:
    """What ``pad`` was given as rows, whether it was a batch, and the kind of arrays it held."""
    if isinstance(encoded, (list, tuple)) and encoded and all(isinstance(item, Mapping) for item in encoded):
        encoded = {name: [item[name] for item in encoded if name in item] for name in encoded[0]}
    if not isinstance(encoded, Mapping) or "input_ids" not in encoded:
        raise ParamError(f"pad got {type(encoded).__name__} without 'input_ids'", expected="encoded texts")
    kind = _array_kind(encoded["input_ids"])
    plain = {name: _lists(value) for name, value in encoded.items()}
    ids = plain["input_ids"]
    is_batch = bool(ids) and isinstance(ids[0], list)
    if is_batch and any(not isinstance(value, list) or len(value) != len(ids) for value in plain.values()):
        raise ParamError("the entries given to pad have different numbers of rows", expected=f"{len(ids)} rows in each")
    return (plain if is_batch else {name: [value] for name, value in plain.items()}), is_batch, kind


def _array_kind(value: Any) -> str | None:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return "pt" if isinstance(value, torch.Tensor) else "np" if isinstance(value, (np.ndarray, np.generic)) else None


def _lists(value: Any) -> Any:
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
        return value.tolist()
    return [_lists(item) for item in value] if isinstance(value, (list, tuple)) else value
