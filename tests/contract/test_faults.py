"""The page of faults and the tests that carry their numbers say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "faults.md").read_text(encoding="utf-8")
COVERED, _, NOT_YET = PAGE.partition("## Not yet")
ROWS = {
    number: [file.strip("` ") for file in files.split(",")]
    for number, files in re.findall(r"^\| (F\d{3}) \|.*\| ([^|]+) \|$", COVERED, re.MULTILINE)
}
_NAME = re.compile(r"^\s*(?:async )?def (test\w*_F\d{3}\w*|test_F\d{3}\w*)\(", re.MULTILINE)


def numbers_in(path: Path) -> set[str]:
    """The numbers in the names of a file's tests."""
    return {
        number for name in _NAME.findall(path.read_text(encoding="utf-8")) for number in re.findall(r"F\d{3}", name)
    }


def not_yet() -> set[str]:
    """The numbers that the page says come later, ranges written out."""
    found: set[str] = set()
    for cell in re.findall(r"^\| (F[^|]*) \|", NOT_YET, re.MULTILINE):
        for first, last in re.findall(r"F(\d{3})(?:-F(\d{3}))?", cell):
            found |= {f"F{number:03}" for number in range(int(first), int(last or first) + 1)}
    return found


def test_the_page_has_rows() -> None:
    assert len(ROWS) >= 60
    assert list(ROWS) == sorted(ROWS)
    assert len(re.findall(r"^\| F\d{3} \|", COVERED, re.MULTILINE)) == len(ROWS)


@pytest.mark.parametrize("number", ROWS)
def test_a_covered_fault_has_a_test_in_every_file_its_row_names(number: str) -> None:
    assert ROWS[number]
    for file in ROWS[number]:
        assert number in numbers_in(TESTS / file), f"{file} has no test named after {number}"


def test_every_number_that_a_test_carries_is_covered_by_the_page() -> None:
    carried = {number for path in TESTS.rglob("test_*.py") for number in numbers_in(path)}
    assert carried - set(ROWS) == set()


def test_no_fault_is_both_covered_and_still_to_come() -> None:
    assert not_yet() & set(ROWS) == set()


def test_every_fault_of_the_list_is_somewhere() -> None:
    """The list runs from 1 to 136 with gaps where its parts end."""
    parts = [(1, 29), (30, 44), (50, 69), (70, 81), (85, 110), (115, 128), (130, 136)]
    wanted = {f"F{number:03}" for first, last in parts for number in range(first, last + 1)}
    assert set(ROWS) | not_yet() == wanted
