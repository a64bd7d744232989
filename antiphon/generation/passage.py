"""A piece as it grows: one generation for each window, each going on from the last frames of the one before."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing

import torch
from torch import Tensor

from antiphon.generation.engine import Generation, StepOutput
from antiphon.generation.windows import Window

Begin = Callable[[Window, Tensor], Generation]


class Passage:
    """Generations one after the other, told as one.

    Args:
        begin: makes the generation of a window behind its held frames (B, K, held).
        windows: at least one, in order. prompt: (B, K, F) int64, the frames that are there at the beginning.

    Attributes:
        scores, logits, states: kept per step over all windows, as ``Generation`` keeps them.
        stopped: ended before the last column of the last window.
    """

    def __init__(self, begin: Begin, windows: Sequence[Window], prompt: Tensor) -> None:
        self._begin = begin
        self._coming = list(windows)
        self.scores: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.states: list[StepOutput] = []
        self._known = prompt  # when the window that runs began
        self._enter(self._coming.pop(0))

    def _enter(self, window: Window) -> None:
        self._first = window.first
        self._generation = self._begin(window, self._known[..., window.first :])
        # what a step keeps is the whole piece's
        self._generation.scores, self._generation.logits = self.scores, self.logits
        self._generation.states = self.states

    @property
    def stopped(self) -> bool:
        return self._generation.stopped

    def columns(self) -> Generator[Tensor, None, None]:
        """Yields each new column (B, K) as soon as it is decided; closing it ends the work."""
        while True:
            # closed at once where the reader fails: a streamer must hear the end then, not when garbage is collected
            with closing(self._generation.steps()) as columns:
                yield from columns
            if self.stopped or not self._coming:
                return
            self._generation.release()
            self._known = self.codes()
            self._enter(self._coming.pop(0))

    def run(self) -> Passage:
        """Runs to the end."""
        for _ in self.columns():
            pass
        return self

    def release(self) -> None:
        """Lets go of the model and its state; codes and what was kept of the steps remain."""
        self._generation.release()
        self._coming.clear()

    def codes(self) -> Tensor:
        """The frames that are whole, (B, K, F)."""
        codes = torch.cat([self._known[..., : self._first], self._generation.codes()], dim=-1)
        # where a window begins, the delays hide the last of the frames that it goes on from
        return codes if codes.shape[-1] >= self._known.shape[-1] else self._known

    def frame_counts(self) -> list[int]:
        """How many frames of ``codes`` belong to each item: those before its end token."""
        total, seen = self.codes().shape[-1], self._generation.codes().shape[-1]
        return [self._first + count if count < seen else total for count in self._generation.frame_counts()]
