"""Reports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from antiphon import Audio
from antiphon.evaluation.interval import Estimate
from antiphon.evaluation.plots import draw_confusion, draw_tempos
from antiphon.evaluation.report import Report, Shown
from antiphon.evaluation.table import Row, Table, shown

TABLE = Table(
    "Figures & more",
    ("pieces", "by chance"),
    (
        Row("tempo <right>", "%", (Estimate(0.7123, 0.63, 0.78, 100), Estimate(0.04, None, None, 100))),
        Row("mel distance", "dB", (Estimate(2.345, 2.0, 2.5, 9), None)),
    ),
    "How to read it.",
)


def _report(folder: Path) -> Report:
    sound = Audio(np.sin(np.arange(16_000) / 20) * 0.3, 32_000)
    picture = draw_tempos([100.0, 160.0, 90.0], [100.0, 80.0, 120.0], folder / "tempo.png")
    clips = [Shown("a <loud> song", ("asked: rock",), {"piece": sound, "render": sound})]
    return Report("Evaluation of x", {"model": "x", "seed": 1}, [TABLE], [{"text": "a"}], clips, {"Tempo": picture})


@pytest.mark.parametrize(
    ("cell", "unit", "text"),
    [
        (Estimate(0.7123, 0.63, 0.78, 100), "%", "71 % (63 to 78)"),
        (Estimate(0.042, None, None, 100), "%", "4.2 %"),
        (Estimate(0.0, 0.0, 0.03, 100), "%", "0 % (0 to 3)"),
        (Estimate(2.345, 2.0, 2.5, 9), "dB", "2.35 dB (2.00 to 2.50)"),
        (Estimate(0.5, None, None, 9), "", "0.50"),
        (None, "%", ""),
    ],
)
def test_a_figure_is_shown_with_its_interval(cell: Estimate | None, unit: str, text: str) -> None:
    assert shown(cell, unit) == text


def test_json_holds_values_intervals_and_clips(tmp_path: Path) -> None:
    _report(tmp_path).write(tmp_path / "out")
    told = json.loads((tmp_path / "out" / "report.json").read_text())
    row = told["tables"][0]["rows"][0]
    assert row["pieces"] == {"value": 0.7123, "low": 0.63, "high": 0.78, "clips": 100}
    assert told["tables"][0]["rows"][1]["by chance"] is None
    assert (told["facts"], told["clips"]) == ({"model": "x", "seed": 1}, [{"text": "a"}])


def test_numbers_that_json_lacks_become_text() -> None:
    table = Table("t", ("a",), (Row("r", "", (Estimate(float("inf"), None, None, 1),)),))
    assert json.loads(json.dumps(table.to_dict(), allow_nan=False))["rows"][0]["a"]["value"] == "inf"


def test_the_text_is_a_table_of_markdown(tmp_path: Path) -> None:
    lines = _report(tmp_path).markdown().splitlines()
    assert "| | pieces | by chance |" in lines
    assert "|---|---|---|" in lines
    assert "| tempo <right> | 71 % (63 to 78) | 4.0 % |" in lines
    assert "| mel distance | 2.35 dB (2.00 to 2.50) |  |" in lines


def test_the_page_holds_everything_it_shows(tmp_path: Path) -> None:
    page = _report(tmp_path).write(tmp_path / "out").read_text()
    assert page.count("<audio controls") == 2
    assert page.count("data:audio/mpeg;base64,") == 2
    assert page.count("data:image/png;base64,") == 1
    assert "http" not in page
    assert "a &lt;loud&gt; song" in page
    assert "<loud>" not in page
    assert "<td>71 % <small>(63 to 78)</small></td>" in page


def test_a_confusion_is_drawn_for_labels_of_either_side(tmp_path: Path) -> None:
    path = draw_confusion(["rock", "jazz"], ["rock", "waltz"], tmp_path / "style.png", title="Style")
    assert path.read_bytes().startswith(b"\x89PNG")
