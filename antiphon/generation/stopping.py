"""When to stop before the last column: criteria that see the tokens so far and answer for each row."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch

from antiphon.errors import ParamError, ParamTypeError

_MOST_STRINGS = 1024
_MOST_CHARACTERS = 1_000_000


@runtime_checkable
class StoppingCriterion(Protocol):
    """Answers, for (R, L) int64 ids and the scores so far, which rows are done: (R,) bool, or one bool for all."""

    def __call__(self, input_ids: torch.Tensor, scores: Any, /) -> torch.Tensor | bool: ...


class StoppingCriteria:
    """What a caller's own criterion subclasses: ``__call__(self, input_ids, scores, **kwargs)``."""

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor | bool:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(self, input_ids, scores, **kwargs)")


class LogitsProcessor:
    """What a caller's own processor subclasses: ``__call__(self, input_ids, scores)`` gives the new (R, V) scores."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(self, input_ids, scores)")


class LogitsProcessorList(list[Any]):
    """Processors applied one after the other."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """The (R, V) scores after every processor; keywords go to those whose ``__call__`` names more arguments.

        Raises:
            ParamTypeError: a processor names an argument that was not given.
        """
        for processor in self:
            scores = processor(input_ids, scores, **_wanted(processor, kwargs))
        return scores


def _wanted(processor: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    further = list(inspect.signature(processor.__call__).parameters.values())[2:]
    missing = [p.name for p in further if p.kind is not p.VAR_KEYWORD and p.default is p.empty and p.name not in kwargs]
    if missing:
        raise ParamTypeError(
            f"{type(processor).__name__} needs the arguments {missing}", expected="them to be passed to the list's call"
        )
    if any(p.kind is p.VAR_KEYWORD for p in further):
        return kwargs
    return {p.name: kwargs[p.name] for p in further if p.name in kwargs}


class StoppingCriteriaList(list[Any]):
    """Criteria of which any one ends a row."""

    def __call__(self, input_ids: torch.Tensor, scores: Any = None, **kwargs: Any) -> torch.Tensor:
        """(R,) bool, on the ids' device: the rows that are done.

        Raises:
            ParamTypeError: a criterion answered with something else than a bool or a tensor of R bools.
        """
        rows = input_ids.shape[0]
        done = torch.zeros(rows, dtype=torch.bool, device=input_ids.device)
        for criterion in self:
            done |= answer(criterion, criterion(input_ids, scores, **kwargs), rows, input_ids.device)
        return done


def answer(criterion: Any, given: Any, rows: int, device: torch.device) -> torch.Tensor:
    """What a criterion ``given`` for ``rows`` rows, as (R,) bool or a scalar bool that stands for all of them."""
    if isinstance(given, bool):
        return torch.tensor(given, device=device)
    if isinstance(given, torch.Tensor) and given.dtype == torch.bool and given.numel() in (1, rows):
        return (given.reshape(()) if given.numel() == 1 else given.reshape(rows)).to(device)
    came = f"{given.dtype} of shape {tuple(given.shape)}" if isinstance(given, torch.Tensor) else repr(given)
    raise ParamTypeError(
        f"the stopping criterion {type(criterion).__name__} answered {came}",
        expected=f"a bool, or a bool tensor of shape ({rows},)",
    )


class MaxTime(StoppingCriteria):
    """Ends every row once more than ``seconds`` have passed since this object was made (monotonic clock).

    The step in which the time runs out is still finished.

    Raises:
        ParamError: ``seconds`` is not a finite number above 0.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds < math.inf:
            raise ParamError(f"max_time={seconds!r}", expected="a finite number of seconds above 0")
        self.seconds = seconds
        self._clock = clock
        self._start_s = clock()

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> bool:
        return self._clock() - self._start_s > self.seconds


class StopStrings(StoppingCriteria):
    """Ends a row once its generated text holds one of ``strings``.

    Args:
        strings: one string or several, none empty; at most 1024 of them with 1 000 000 characters in all.
        decode: gives the text of a list of token ids.
        prompt_columns: leading columns that are not searched, so that a stop string in a prompt ends nothing.

    The text is decoded from the end only, as far back as the longest string can reach, and a string that ended up
    inside a longer last token counts too.

    Raises:
        ParamError: a string is empty, or there is no string or too much of them.
    """

    def __init__(
        self, strings: str | Sequence[str], decode: Callable[[list[int]], str], *, prompt_columns: int = 0
    ) -> None:
        self.strings = check_stop_strings(strings)
        self.prompt_columns = prompt_columns
        self._decode = decode
        # a token may give no character at all (byte fallback: up to 4 tokens a character), hence four a character
        self._reach = 4 * max(len(text) for text in self.strings) + 8

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        generated = input_ids[:, self.prompt_columns :][:, -self._reach :].tolist()
        found = [any(text in self._decode(ids) for text in self.strings) if ids else False for ids in generated]
        return torch.tensor(found, dtype=torch.bool, device=input_ids.device)


def check_stop_strings(strings: Any) -> tuple[str, ...]:
    """``stop_strings`` as a tuple; ``ParamError`` when empty, not text, or more than the documented bounds."""
    several = (strings,) if isinstance(strings, str) else strings
    if not isinstance(several, (list, tuple)) or not several or not all(isinstance(s, str) and s for s in several):
        raise ParamError(
            f"stop_strings={str(strings)[:80]!r}", expected="a string or a list of strings, none of them empty"
        )
    characters = sum(len(text) for text in several)
    if len(several) > _MOST_STRINGS or characters > _MOST_CHARACTERS:
        raise ParamError(
            f"stop_strings holds {len(several)} strings with {characters} characters",
            expected=f"at most {_MOST_STRINGS} strings and {_MOST_CHARACTERS} characters in all",
        )
    return tuple(several)
