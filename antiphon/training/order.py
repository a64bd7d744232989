"""Which example comes when: a pure function of the run's seed and the example's number.

A resumed run therefore needs to know nothing but its step, and a run on other processes sees the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from torch.utils.data import DataLoader, Dataset

from antiphon.training.objective import Batch, Examples


class Order:
    """A new permutation of the items in every epoch.

    Args:
        items: how many there are, at least 1. seed: of the run.
    """

    def __init__(self, items: int, seed: int) -> None:
        self.items, self.seed = items, seed
        self._permutation = lru_cache(maxsize=2)(self._shuffled)

    def item(self, number: int) -> int:
        """The item that example ``number`` of the run (from 0) is taken from."""
        epoch, place = divmod(number, self.items)
        return int(self._permutation(epoch)[place])

    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, 1, epoch]).permutation(self.items).astype(np.int32)


def example_generator(seed: int, number: int) -> np.random.Generator:
    """The randomness of example ``number`` of a run."""
    return np.random.default_rng([seed, 2, number])


class _Numbered(Dataset[dict[str, object]]):
    """Examples by their number in the run."""

    def __init__(self, examples: Examples, seed: int) -> None:
        self.examples, self.seed = examples, seed
        self.order = Order(len(examples), seed)

    def __getitem__(self, number: int) -> dict[str, object]:
        return self.examples.example(self.order.item(number), example_generator(self.seed, number))


def batches(
    examples: Examples, *, seed: int, rows: range, batch: int, micro_batch: int, steps: range, workers: int
) -> Iterator[Batch]:
    """The batches of some steps, in order, each step's in as many pieces as accumulation asks for.

    Args:
        rows: this process's rows of every step, of the ``batch`` rows over all processes.
        micro_batch: rows of a piece; the last of a step may have fewer.
        workers: processes that draw examples in advance; 0: in this one.
    """
    pieces = [
        [step * batch + row for row in rows[first : first + micro_batch]]
        for step in steps
        for first in range(0, len(rows), micro_batch)
    ]
    yield from DataLoader(
        _Numbered(examples, seed),
        batch_sampler=pieces,
        collate_fn=examples.collate,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
