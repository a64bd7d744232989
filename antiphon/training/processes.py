"""Which of how many processes this one is, and what they sum up together."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """The processes of a run; one alone by default.

    Attributes:
        rank: this one's number, from 0. count: how many there are.
    """

    rank: int = 0
    count: int = 1

    def rows(self, batch: int) -> range:
        """This process's rows of a batch of all processes."""
        share = batch // self.count
        return range(self.rank * share, (self.rank + 1) * share)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        return values

    def from_first(self, values: Tensor) -> Tensor:
        """What the first process has, in all of them."""
        return values
