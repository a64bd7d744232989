"""The record of a run: one JSON line for every look at it, and TensorBoard's files where that is installed."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any


class RunRecord:
    """Lines of figures in ``metrics.jsonl``.

    Args:
        folder: of the run. step: what a resumed run has taken; lines of later steps, which it will take again, go.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.path = folder / "metrics.jsonl"
        kept = [line for line in read_record(self.path) if line["step"] <= step]
        part = self.path.with_suffix(".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        os.replace(part, self.path)
        self._board = _tensorboard(folder, step)

    def write(self, step: int, kind: str, figures: dict[str, float]) -> None:
        """Adds a line: ``kind`` is ``training`` or ``held_out``; ``step`` counts the steps taken."""
        shown = {name: float(f"{value:.7g}") if math.isfinite(value) else None for name, value in figures.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "kind": kind, **shown}) + "\n")
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        """Ends TensorBoard's files."""
        if self._board is not None:
            self._board.close()


def read_record(path: Path) -> list[dict[str, Any]]:
    """The lines of a record; a last line that a killed run left half is dropped."""
    lines = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
    return lines


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
