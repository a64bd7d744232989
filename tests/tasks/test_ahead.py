"""Work ahead of its reader: in order, bounded, ended with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from antiphon.tasks.ahead import ahead


def test_items_come_in_their_order_from_another_thread() -> None:
    threads = set()

    def items() -> Iterator[int]:
        for number in range(20):
            threads.add(threading.current_thread())
            yield number

    assert list(ahead(items())) == list(range(20))
    assert threads and threading.current_thread() not in threads


def test_no_more_than_asked_are_computed_before_the_reader_wants_them() -> None:
    begun: list[int] = []
    two_are_there = threading.Event()

    def items() -> Iterator[int]:
        for number in range(10):
            begun.append(number)
            if number == 1:
                two_are_there.set()
            yield number

    reading = ahead(items(), most=1)
    assert next(reading) == 0
    assert two_are_there.wait(10)
    assert len(begun) <= 3  # the one that is read, one that waits, and one in work
    reading.close()
    assert len(begun) <= 3


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    reading = ahead(items())
    assert next(reading) == 1
    with pytest.raises(ValueError, match="two"):
        next(reading)


def test_closing_ends_the_thread() -> None:
    before = threading.active_count()
    reading = ahead(iter(range(1000)))
    next(reading)
    assert threading.active_count() == before + 1
    reading.close()
    assert threading.active_count() == before
