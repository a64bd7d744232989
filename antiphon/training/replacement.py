"""What happens when an item turns bad while a run goes on: another one takes its place, always the same."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from antiphon.errors import AntiphonError, DataError
from antiphon.training.objective import Batch, Examples
from antiphon.training.skipped import MOST_SHARE, Skipped

logger = logging.getLogger(__name__)

_TRIES = 20


class NamedExamples(Examples, Protocol):
    """Examples of items that reports can name."""

    def name(self, index: int) -> str:
        """What reports call an item."""


class Replaced:
    """Examples of which a bad one is replaced by one of another item, drawn from the same generator.

    So a run that is resumed sees the same examples as long as the same items are bad. Each bad item is named in the log
    once by each process that meets it, and a batch carries ``skipped``, the pairs of name and reason met for it.

    Args:
        examples: to draw from. share: of the items that may turn bad in the eyes of one process.
    """

    def __init__(self, examples: NamedExamples, *, share: float = MOST_SHARE) -> None:
        self.examples = examples
        self.skipped = Skipped()
        self._share = share
        self._bad: set[int] = set()

    def __len__(self) -> int:
        return len(self.examples)

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """An example of the item, or of another one.

        Raises:
            DataError: more items are bad than may be, or 20 in a row.
        """
        met: list[tuple[str, str]] = []
        for _ in range(_TRIES):
            # a child, so that what is drawn instead does not depend on how far the bad one got
            child = generator.spawn(1)[0]
            try:
                return {**self.examples.example(index, child), "skipped": met}
            except (AntiphonError, OSError) as error:
                met.append((self._note(index, error), str(error)))
            index = int(generator.integers(len(self.examples)))
        raise DataError(
            f"{_TRIES} items in a row cannot be used, the last because of: {met[-1][1]}", fix="Inspect the data again"
        )

    def _note(self, index: int, error: Exception) -> str:
        """Counts an item the first time that it is bad; gives its name."""
        name = self.examples.name(index)
        if index not in self._bad:
            self._bad.add(index)
            self.skipped.add(name, error)
            logger.warning("%s cannot be used any more and is replaced: %s", name, error)
            if len(self._bad) > 1:  # one bad file is no reason to stop, however few there are
                self.skipped.check(len(self.examples), share=self._share)
        return name

    def collate(self, examples: Sequence[dict[str, Any]]) -> Batch:
        """Examples as a batch, with ``skipped`` for all of them."""
        skipped = [pair for example in examples for pair in example["skipped"]]
        inner = [{name: value for name, value in example.items() if name != "skipped"} for example in examples]
        return {**self.examples.collate(inner), "skipped": skipped}
