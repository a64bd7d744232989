"""Which example comes when."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from antiphon.training.order import Order, batches, example_generator
from antiphon.training.processes import Processes

from .jobs import Points


def drawn(*, rows: range = range(6), micro_batch: int = 6, steps: range = range(5), workers: int = 0) -> list[Any]:
    return [
        batch["place"]
        for batch in batches(
            Points(), seed=4, rows=rows, batch=6, micro_batch=micro_batch, steps=steps, workers=workers
        )
    ]


def test_every_epoch_holds_every_item_once_in_another_order() -> None:
    order = Order(20, seed=1)
    epochs = [[order.item(number) for number in range(first, first + 20)] for first in (0, 20, 40)]
    assert all(Counter(epoch) == Counter(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] == [Order(20, seed=1).item(number) for number in range(20)]
    assert epochs[0] != [Order(20, seed=2).item(number) for number in range(20)]


def test_the_randomness_of_an_example_is_its_own() -> None:
    first = example_generator(1, 7).random(3).tolist()
    assert first == example_generator(1, 7).random(3).tolist()
    assert first != example_generator(1, 8).random(3).tolist() and first != example_generator(2, 7).random(3).tolist()


def test_a_run_that_goes_on_sees_what_it_would_have_seen() -> None:
    whole = drawn()
    assert all(torch.equal(a, b) for a, b in zip(whole[3:], drawn(steps=range(3, 5)), strict=True))


def test_any_number_of_processes_sees_the_same_batches() -> None:
    whole = drawn()
    for count in (2, 3):
        each = [drawn(rows=Processes(rank, count).rows(6)) for rank in range(count)]
        for step, batch in enumerate(whole):
            assert torch.equal(torch.cat([own[step] for own in each]), batch)


def test_accumulated_pieces_are_the_batch_in_order() -> None:
    pieces = drawn(micro_batch=4)
    assert [len(piece) for piece in pieces] == [4, 2] * 5
    assert torch.equal(torch.cat(pieces), torch.cat(drawn()))


def test_workers_draw_the_same_examples() -> None:
    assert torch.equal(torch.cat(drawn(workers=1)), torch.cat(drawn()))
