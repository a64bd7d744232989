"""The page of documented behaviours and the tests' marks say the same."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
ALL_ROWS = {f"R{n}" for n in range(1, 216)} | {f"E{n}" for n in range(1, 8)}
LINE = re.compile(r"^\| ([RE]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def page() -> str:
    return (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")


def marked() -> dict[str, set[str]]:
    """Row -> the test files that hold a test of it."""
    rows: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.row":
                for argument in node.args:
                    assert isinstance(argument, ast.Constant), f"{path}: marks name rows as plain strings"
                    rows[str(argument.value)].add(path.relative_to(ROOT / "tests").as_posix())
    return rows


def covered() -> dict[str, set[str]]:
    """Row -> the test files that the page names."""
    rows: dict[str, set[str]] = {}
    for row, _, tests, _ in LINE.findall(page().split("## To come")[0]):
        assert row not in rows, f"{row} stands twice"
        rows[row] = set(re.findall(r"`([^`]+)`", tests))
    return rows


def to_come() -> set[str]:
    """The rows that the page leaves to later families, ranges spelled out."""
    rows = set()
    for line in page().split("## To come")[1].split("## Differences")[0].splitlines():
        for letter, first, last in re.findall(r"([RE])(\d+)(?:-[RE](\d+))?", line.rpartition(" | ")[0]):
            rows |= {f"{letter}{n}" for n in range(int(first), int(last or first) + 1)}
    return rows


def test_every_row_called_covered_has_its_tests_where_the_page_says_and_the_reverse() -> None:
    assert covered() == dict(marked())


def test_every_row_is_covered_or_to_come_and_none_is_both() -> None:
    assert covered().keys() | to_come() == ALL_ROWS
    assert not covered().keys() & to_come()


def test_every_line_says_how_it_compares() -> None:
    for row, says, _, verdict in LINE.findall(page()):
        assert re.match(r"(same|better|different)\b", verdict), row
        assert len(says) > 15, row
