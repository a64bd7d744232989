"""Tables of figures: how they are kept, written as JSON, and written as text."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from antiphon.evaluation.interval import Estimate

Unit = Literal["%", "dB", ""]


@dataclass(frozen=True)
class Row:
    """One figure, once for each column of its table; ``None`` where there is nothing to say."""

    name: str
    unit: Unit
    cells: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class Table:
    """Figures side by side.

    Attributes:
        title: what they are of. note: how to read them.
        columns: what the cells of each row stand for.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""

    def cell(self, row: str, column: str) -> Estimate | None:
        """The figure of a row and a column, by their names; ``None`` where there is none."""
        for one in self.rows:
            if one.name == row and column in self.columns:
                return one.cells[self.columns.index(column)]
        return None

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        rows = [
            {"name": row.name, "unit": row.unit, **dict(zip(self.columns, map(_plain, row.cells), strict=True))}
            for row in self.rows
        ]
        return {"title": self.title, "note": self.note, "rows": rows}

    def markdown(self) -> str:
        """The table as Markdown."""
        lines = ["| | " + " | ".join(self.columns) + " |", "|---" * (1 + len(self.columns)) + "|"]
        lines += [
            f"| {row.name} | " + " | ".join(shown(cell, row.unit) for cell in row.cells) + " |" for row in self.rows
        ]
        note = f"\n{self.note}\n" if self.note else ""
        return f"## {self.title}\n{note}\n" + "\n".join(lines) + "\n"


def shown(cell: Estimate | None, unit: Unit) -> str:
    """A figure as a person reads it: ``71 % (63 to 78)``."""
    if cell is None:
        return ""
    scale, digits = (100.0, 0) if unit == "%" else (1.0, 2)
    digits = 1 if unit == "%" and 0 < cell.value < 0.1 else digits
    value = f"{scale * cell.value:.{digits}f}{f' {unit}' if unit else ''}"
    if cell.low is None or cell.high is None:
        return value
    return f"{value} ({scale * cell.low:.{digits}f} to {scale * cell.high:.{digits}f})"


def _plain(cell: Estimate | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {
        name: value if value is None or math.isfinite(value) else str(value) for name, value in asdict(cell).items()
    }
