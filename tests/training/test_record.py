"""The record of a run."""

from __future__ import annotations

import json
import math
from pathlib import Path

from antiphon.training.record import RunRecord, read_record


def test_lines_are_written_as_they_come(tmp_path: Path) -> None:
    record = RunRecord(tmp_path, 0)
    record.write(1, "training", {"loss": 1.23456789e-5, "odd": math.nan})
    record.write(2, "held_out", {"loss": 2.0})
    record.close()
    assert read_record(tmp_path / "metrics.jsonl") == [
        {"step": 1, "kind": "training", "loss": 1.234568e-5, "odd": None},
        {"step": 2, "kind": "held_out", "loss": 2.0},
    ]


def test_a_run_that_goes_on_drops_what_it_will_do_again(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        RunRecord(tmp_path, step).write(step, "training", {"loss": float(step)})
    RunRecord(tmp_path, 2).close()
    assert [line["step"] for line in read_record(tmp_path / "metrics.jsonl")] == [1, 2]


def test_a_last_line_left_half_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + '\n{"step": 2, "lo')
    assert read_record(path) == [{"step": 1}]
