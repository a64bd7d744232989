"""Beam search: each item's best few beginnings go on side by side, and the best ended ones are what it returns.

A search is the state of one generation with a plan that asks for beams. The loop gives it the scores of a step; it says
which rows go on, with which token, and keeps what has ended.

Source: the rules of transformers 5.23's ``_beam_search``, whose tokens are matched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError

# Farther down than sums of log-probabilities come. Finite, as the reference's is, so that places that nothing has taken
# yet still have an order.
_FAR = 1e9


@dataclass(frozen=True)
class Beams:
    """How to search.

    Attributes:
        count: W, beginnings of an item that go on, and ended ones that are kept.
        returned: of these, the best, how many an item gives.
        filler: a token of each stream, which stands behind an end.
        length_penalty: what has ended is compared by its sum of log-probabilities over this power of its new columns.
        early_stopping: an item is finished with W ended ones when it is ``True``; when no open one does better at its
            length now if ``False``; when none could at its best length if ``"never"``.
    """

    count: int
    returned: int
    filler: Sequence[int]
    length_penalty: float = 1.0
    early_stopping: bool | str = False


@dataclass(frozen=True)
class Choice:
    """What a step decides, for R = B * W rows.

    Attributes:
        rows: (R,) int64, the row that each new row goes on from. tokens: (R,) int64, what it goes on with.
        fresh: (R,) bool, places of the ended whose text ends with this step, from the row ``ended_rows`` (R,) with the
            token ``ended_tokens`` (R,).
    """

    rows: Tensor
    tokens: Tensor
    fresh: Tensor
    ended_rows: Tensor
    ended_tokens: Tensor


class BeamSearch:
    """One search over B items.

    Args:
        beams: how. columns: (B * W, K, L) int64, the plan, equal in all rows of an item. start: columns of the prompt.
        eos: tokens that end a text. criteria: of the caller, over ids (R', L) and the scores so far.

    Attributes:
        over: nothing is left to decide.

    Raises:
        ParamError: the rows do not make whole items.
    """

    def __init__(
        self,
        beams: Beams,
        columns: Tensor,
        *,
        start: int,
        eos: Sequence[int] = (),
        criteria: Callable[[Tensor, Any], Tensor] | None = None,
    ) -> None:
        rows, streams, planned = columns.shape
        if rows % beams.count:
            raise ParamError(f"{rows} rows for {beams.count} beams", expected="as many rows for each item")
        items, device = rows // beams.count, columns.device
        self.over = False
        self._beams, self._start, self._planned = beams, start, planned
        self._eos = torch.tensor(list(eos), dtype=torch.int64, device=device)
        self._criteria = criteria
        # an item that begins has one beginning: the other rows, its equals, must not give the same tokens again
        self._open = torch.full((items, beams.count), -_FAR, device=device)
        self._open[:, 0] = 0
        self._scores = torch.full((items, beams.count), -_FAR, device=device)
        self._full = torch.zeros((items, beams.count), dtype=torch.bool, device=device)  # places that hold an ended one
        self._hopeful = torch.ones(items, dtype=torch.bool, device=device)  # items whose open ones may still do better
        filler = torch.tensor(list(beams.filler), device=device).view(1, streams, 1)
        self._blank = torch.where(columns < 0, filler, columns)
        self._ended = self._blank.clone()
        parents = torch.full((rows, planned - start), -1, dtype=torch.int64, device=device)
        self._parents, self._ended_parents = parents, parents.clone()

    @property
    def _kept(self) -> int:
        """How many candidates a step looks at: if the best W all end, each with another token, W others are left."""
        return max(2, 1 + len(self._eos)) * self._beams.count

    def choose(self, shown: Tensor, scores: Tensor, noise: Tensor | None, kept: Any) -> tuple[Choice, Tensor]:
        """Decides the next column.

        Args:
            shown: (B * W, length), the texts so far. scores: (B * W, V) log-probabilities, as processed.
            noise: (B, W, V) Gumbel noise, which makes the candidates a draw without replacement; or ``None``.
            kept: the scores so far, which the caller's criteria are given.

        Returns:
            The choice, and the value (B,) that each item's first candidate won with, for ``check_best``.
        """
        count, vocabulary = self._beams.count, scores.shape[-1]
        sums = (scores.view(-1, count, vocabulary) + self._open[..., None]).flatten(1)  # (B, W * V)
        drawn, taken = (sums if noise is None else sums + noise.flatten(1)).topk(min(self._kept, sums.shape[-1]))
        values, tokens = sums.gather(1, taken), taken % vocabulary
        first = torch.arange(len(sums), device=sums.device)[:, None] * count
        rows = taken // vocabulary + first  # (B, C) of C candidates, the rows that they go on from
        texts = torch.cat([shown[rows], tokens[..., None]], dim=-1)
        ends = self._ends(texts, kept)
        going = (values - _FAR * ends).topk(count).indices
        self._open = (values - _FAR * ends).gather(1, going)
        new_columns = texts.shape[-1] - self._start
        fresh, places = self._end(values, ends, new_columns)
        choice = Choice(
            rows=rows.gather(1, going).flatten(),
            tokens=tokens.gather(1, going).flatten(),
            fresh=fresh.flatten(),
            ended_rows=rows.gather(1, places).flatten(),
            ended_tokens=tokens.gather(1, places).flatten(),
        )
        self._track(choice, new_columns - 1)
        self.over = self._is_over(ends, new_columns)
        return choice, drawn[:, 0]

    def end(self, choice: Choice, columns: Tensor, last: Tensor) -> None:
        """Keeps what a choice ended: the rows of ``columns`` (B * W, K, length) with the column ``last`` (B * W, K)."""
        length = columns.shape[-1]
        texts = torch.cat([columns[choice.ended_rows], last[..., None], self._blank[..., length + 1 :]], dim=-1)
        self._ended = torch.where(choice.fresh[:, None, None], texts, self._ended)

    def best(self) -> tuple[Tensor, Tensor, Tensor]:
        """The best of each item: columns (B * n, K, L), scores (B * n,), and (B * n, L') which row each came from.

        L is the longest one's, L' are its new columns; rows are -1 behind an end.
        """
        count, returned = self._beams.count, self._beams.returned
        ended, parents = (x.unflatten(0, (-1, count))[:, :returned].flatten(0, 1) for x in self._both)
        new_columns = int((parents >= 0).sum(dim=1).max())
        return (
            ended[..., : self._start + new_columns],
            self._scores[:, :returned].flatten(),
            parents[:, :new_columns],
        )

    @property
    def _both(self) -> tuple[Tensor, Tensor]:
        return self._ended, self._ended_parents

    def _ends(self, texts: Tensor, kept: Any) -> Tensor:
        """(B, C) bool: the candidates (B, C, length) that end here."""
        if texts.shape[-1] >= self._planned:
            return torch.ones(texts.shape[:2], dtype=torch.bool, device=texts.device)
        ends = torch.isin(texts[..., -1], self._eos)
        if self._criteria is not None:
            ends = ends | self._criteria(texts.flatten(0, 1), kept).view(ends.shape)
        return ends

    def _end(self, values: Tensor, ends: Tensor, new_columns: int) -> tuple[Tensor, Tensor]:
        """Puts candidates that end among the ended ones.

        Returns:
            (B, W) bool, which places are new, and (B, W) int64, the candidates that they hold.
        """
        count = self._beams.count
        first = torch.arange(ends.shape[1], device=ends.device) < count  # those behind are there to go on with
        takes = self._hopeful
        if self._beams.early_stopping is True:
            takes = takes & ~self._full.all(dim=1)
        ending = ends & first & takes[:, None]
        scores = (values / new_columns**self._beams.length_penalty).masked_fill(~ending, -torch.inf)
        self._scores, places = torch.cat([self._scores, scores], dim=1).topk(count)
        self._full = torch.cat([self._full, ending], dim=1).gather(1, places)
        fresh = places >= count
        self._ended, self._ended_parents = (x[self._rows(places, fresh)] for x in self._both)
        return fresh, (places - count).clamp(min=0)

    def _rows(self, places: Tensor, fresh: Tensor) -> Tensor:
        """(B * W,): the rows of the ended that the places held so far; any row where the place is fresh."""
        first = torch.arange(len(places), device=places.device)[:, None] * self._beams.count
        return (places.masked_fill(fresh, 0) + first).flatten()

    def _track(self, choice: Choice, step: int) -> None:
        ended = self._parents[choice.ended_rows]
        ended[:, step] = choice.ended_rows
        self._ended_parents = torch.where(choice.fresh[:, None], ended, self._ended_parents)
        self._parents = self._parents[choice.rows]
        self._parents[:, step] = choice.rows

    def _is_over(self, ends: Tensor, new_columns: int) -> bool:
        """Whether nothing open can go on, or go on to something better."""
        stopping, penalty = self._beams.early_stopping, self._beams.length_penalty
        at_best = stopping == "never" and penalty > 0  # then what is longer may be better
        columns = self._planned - self._start if at_best else new_columns
        promised = self._open[:, 0] / columns**penalty
        worst = torch.where(self._full.all(dim=1), self._scores.amin(dim=1), -_FAR)
        self._hopeful = self._hopeful & (promised > worst)
        over = ~self._hopeful.any() | ends.all()
        if stopping is True:
            over = over | self._full.all()
        return bool(over)
