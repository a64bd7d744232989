"""Items that turn bad while a run goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from antiphon.errors import AudioError, DataError
from antiphon.training.replacement import Replaced


class Numbers:
    """A hundred items, of which some are bad; a bad one has drawn from the generator before it fails."""

    def __init__(self, *bad: int, items: int = 100) -> None:
        self.bad, self.items = set(bad), items

    def __len__(self) -> int:
        return self.items

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        drawn = generator.random(1 + index % 3)[0]
        if index in self.bad:
            raise AudioError(f"{index} is damaged")
        return {"index": index, "drawn": drawn}

    def name(self, index: int) -> str:
        return f"song{index}"

    def collate(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        assert all("skipped" not in example for example in examples)
        return {"indices": [example["index"] for example in examples]}


def generator(number: int = 0) -> np.random.Generator:
    return np.random.default_rng([3, number])


def test_F131_a_bad_item_is_replaced_counted_and_named(caplog: Any) -> None:
    examples = Replaced(Numbers(7, 8))
    with caplog.at_level(logging.WARNING):
        drawn = [examples.example(index, generator(index)) for index in (6, 7, 7, 8, 9)]
    batch = examples.collate(drawn)
    assert batch["indices"][0] == 6
    assert batch["indices"][4] == 9
    assert not {7, 8} & set(batch["indices"])
    assert [name for name, _ in batch["skipped"]] == ["song7", "song7", "song8"]
    assert examples.skipped.count == 2
    assert caplog.text.count("is replaced") == 2
    assert "song7 cannot be used any more and is replaced: 7 is damaged" in caplog.text


def test_F131_what_replaces_an_item_is_always_the_same() -> None:
    examples, others = Replaced(Numbers(7)), Replaced(Numbers(7, 30))
    others.example(30, generator(30))
    first, second = examples.example(7, generator(7)), others.example(7, generator(7))
    assert (first["index"], first["drawn"]) == (second["index"], second["drawn"])
    assert {examples.example(7, generator(number))["index"] for number in range(20)} > {first["index"]}


def test_a_good_item_draws_what_it_draws_beside_bad_ones() -> None:
    assert Replaced(Numbers()).example(5, generator())["drawn"] == Replaced(Numbers(1)).example(5, generator())["drawn"]


def test_F131_too_many_bad_items_stop_the_run() -> None:
    examples = Replaced(Numbers(*range(6)))
    for index in range(5):
        examples.example(index, generator(index + 50))
    with pytest.raises(DataError, match="6 of 100 items"):
        examples.example(5, generator())


def test_F131_one_bad_item_of_a_few_is_replaced_and_nothing_but_bad_ones_stops() -> None:
    assert Replaced(Numbers(0, items=2)).example(0, generator())["index"] == 1
    with pytest.raises(DataError, match="20 items in a row"):
        Replaced(Numbers(0, items=1)).example(0, generator())
