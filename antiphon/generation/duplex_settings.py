"""How a model that listens and speaks chooses its tokens, and what it is made to say first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.generation.delays import UNDECIDED, DelayPattern
from antiphon.generation.sampling import RepetitionPenalty, Temperature, TopK

_LONGEST_CONTEXT = 4096


@dataclass(frozen=True)
class DuplexSettings:
    """How tokens are chosen.

    Args:
        text_temperature, audio_temperature: of the text and of the codes; 0 always takes the likeliest.
        text_top_k, audio_top_k: choose among the k likeliest; 0 is off.
        repetition_penalty: above 1 makes words that were said unlikely, 1 is off.
        repetition_context: how many of the last text tokens count for it, those of silence left out.

    Raises:
        ParamError: a value out of range.

    Source: the defaults are those of kyutai's package.
    """

    text_temperature: float = 0.7
    text_top_k: int = 25
    audio_temperature: float = 0.8
    audio_top_k: int = 250
    repetition_penalty: float = 1.0
    repetition_context: int = 64

    def __post_init__(self) -> None:
        for name in ("text_temperature", "audio_temperature"):
            self._check(name, self._is_number(name) and 0 <= getattr(self, name) < math.inf, "a number from 0 on")
        for name in ("text_top_k", "audio_top_k"):
            self._check(name, self._is_count(name) and getattr(self, name) >= 0, "a whole number from 0 on")
        self._check(
            "repetition_penalty",
            self._is_number("repetition_penalty") and 0 < self.repetition_penalty < math.inf,
            "a number above 0",
        )
        self._check(
            "repetition_context",
            self._is_count("repetition_context") and 1 <= self.repetition_context <= _LONGEST_CONTEXT,
            f"a whole number from 1 to {_LONGEST_CONTEXT}",
        )

    def _is_number(self, name: str) -> bool:
        return isinstance(getattr(self, name), int | float) and not isinstance(getattr(self, name), bool)

    def _is_count(self, name: str) -> bool:
        return self._is_number(name) and isinstance(getattr(self, name), int)

    def _check(self, name: str, fits: bool, expected: str) -> None:
        if not fits:
            raise ParamError(f"{name}={getattr(self, name)!r}", expected=expected)

    def text_processors(self) -> list[Any]:
        """What shapes the scores of texts."""
        penalty = [] if self.repetition_penalty == 1 else [RepetitionPenalty(self.repetition_penalty)]
        return [*penalty, *_shaping(self.text_temperature, self.text_top_k)]

    def audio_processors(self) -> list[Any]:
        """What shapes the scores of codes."""
        return _shaping(self.audio_temperature, self.audio_top_k)


def _shaping(temperature: float, top_k: int) -> list[Any]:
    if temperature == 0:
        return []
    return [Temperature(temperature), *([TopK(top_k)] if top_k else [])]


@dataclass(frozen=True, eq=False)
class Opening:
    """What a model says first, whatever it would have said.

    Args:
        text: (F,) int64, a token of each frame; -1 leaves it to the model.
        codes: (K, F) int64 likewise, or ``None``: all of them are left to the model.
        heard: whether its sound and its words come out; otherwise the row is silent as long as it lasts.

    Raises:
        ParamError: other shapes or dtypes, no frames, or tokens below -1.
    """

    text: Tensor
    codes: Tensor | None = None
    heard: bool = True

    def __post_init__(self) -> None:
        fits = self.text.dim() == 1 and len(self.text) > 0 and self.text.dtype is torch.int64
        if self.codes is not None:
            fits = fits and self.codes.dim() == 2 and self.codes.dtype is torch.int64
            fits = fits and self.codes.shape[1] == len(self.text)
        if not fits or any(int(part.min()) < UNDECIDED for part in (self.text, self.codes) if part is not None):
            shapes = [None if part is None else tuple(part.shape) for part in (self.text, self.codes)]
            raise ParamError(
                f"an opening of shapes {shapes}", expected="(F,) and (K, F) of int64, F from 1, -1 or more"
            )

    @property
    def frames(self) -> int:
        """F."""
        return len(self.text)

    def columns(self, own: DelayPattern, highest: tuple[int, int]) -> Tensor:
        """(1 + K, F + 1 + longest delay) int64: what each column is made to hold, -1 where the model decides.

        Args:
            own: the delays of the text and the model's own codes. highest: tokens of the text and of a codebook.

        Raises:
            ParamError: another number of codebooks, or tokens that there are not.
        """
        books = own.streams - 1
        if self.codes is not None and len(self.codes) != books:
            raise ParamError(f"an opening of {len(self.codes)} codebooks", expected=f"{books}")
        for part, size in zip((self.text, self.codes), highest, strict=True):
            if part is not None and int(part.max()) >= size:
                raise ParamError(f"an opening with the token {int(part.max())}", expected=f"tokens below {size}")
        codes = torch.full((books, self.frames), UNDECIDED) if self.codes is None else self.codes.cpu()
        plan = torch.full((own.streams, own.columns(self.frames)), UNDECIDED)
        for k, (delay, tokens) in enumerate(zip(own.delays, [self.text.cpu(), *codes], strict=True)):
            plan[k, delay + 1 : delay + 1 + self.frames] = tokens
        return plan


def forced_columns(
    openings: Sequence[Opening | None], own: DelayPattern, highest: tuple[int, int], device: torch.device | str
) -> Tensor | None:
    """(B, 1 + K, L) int64 of the rows' openings, whose last column forces nothing; ``None`` where no row has one."""
    plans = [None if opening is None else opening.columns(own, highest) for opening in openings]
    longest = max((plan.shape[1] for plan in plans if plan is not None), default=0)
    if not longest:
        return None
    forced = torch.full((len(plans), own.streams, longest + 1), UNDECIDED)
    for row, plan in zip(forced, plans, strict=True):
        if plan is not None:
            row[:, : plan.shape[1]] = plan
    return forced.to(device)
