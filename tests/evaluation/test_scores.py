"""Scores beside chance."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from antiphon.evaluation import scores
from antiphon.evaluation.asked import Asked
from antiphon.evaluation.codec import Loss
from antiphon.evaluation.defects import Defects
from antiphon.evaluation.hearing import Heard
from antiphon.evaluation.key import Key
from antiphon.evaluation.table import Table
from antiphon.evaluation.tempo import Tempo


def _heard(bpm: float = 100.0, key: tuple[int, Any] = (0, "major"), style: str | None = None) -> Heard:
    return Heard(Tempo(bpm, 0.5), Key(*key, 0.8), style, None, Defects(-20.0, 0.0, 0.25, 0.5), torch.zeros(3))


ASKED = [
    Asked("a", style="rock", tempo_bpm=100, tonic=0, mode="major"),
    Asked("b", style="jazz", tempo_bpm=120, tonic=9, mode="minor"),
    Asked("c", style="rock", tempo_bpm=100),
    Asked("d"),
]
HEARD = [
    _heard(100, (0, "major"), "rock"),
    _heard(60, (0, "major"), "rock"),
    _heard(101, style="rock"),
    _heard(120, style="jazz"),
]


def _table(**columns: Any) -> Table:
    return scores.requests_table("asked", ASKED, {scores.PIECES: HEARD, **columns})


def _value(table: Table, row: str, column: str) -> float | None:
    cell = table.cell(row, column)
    return None if cell is None else cell.value


def test_what_was_asked_is_counted_and_nearly_right_is_counted_apart() -> None:
    table = _table()
    assert _value(table, "tempo right", "pieces") == pytest.approx(2 / 3)
    assert _value(table, "another metrical level", "pieces") == pytest.approx(1 / 3)
    assert _value(table, "key right", "pieces") == 0.5
    assert _value(table, "relative, fifth or parallel key", "pieces") == 0.5
    assert _value(table, "mode right", "pieces") == 0.5
    assert _value(table, "style right", "pieces") == pytest.approx(2 / 3)
    assert table.cell("style right", "pieces").clips == 3


def test_chance_is_what_pieces_score_against_the_others_prompts() -> None:
    # styles: heard rock, rock, rock, jazz against those asked of the others: rock, jazz, rock
    assert _value(_table(), "style right", "by chance") == pytest.approx((1 + 2 + 1 + 1) / (2 + 2 + 2 + 3))


def test_the_goal_is_a_share_of_what_renders_score_where_that_is_lower() -> None:
    assert _value(_table(), "tempo right", scores.GOAL) == 0.6
    coded = _table(**{scores.CODED: [HEARD[0], HEARD[1], None, None]})
    assert _value(coded, "tempo right", scores.CODED) == 0.5
    assert _value(coded, "tempo right", scores.GOAL) == pytest.approx(0.75 * 0.5)
    assert _value(coded, "mode right", scores.GOAL) is None


def test_what_nobody_asks_or_tells_has_no_row() -> None:
    assert [row.name for row in _table().rows if row.name == "lead right"] == []


def test_defects_are_averaged_over_the_sounds_that_are_there() -> None:
    table = scores.defects_table({"pieces": HEARD, "renders": [None, HEARD[0], None, None]})
    assert _value(table, "clipped samples", "pieces") == 0.25
    assert table.cell("level (RMS) in dBFS", "renders").clips == 1


def test_a_figure_that_is_not_finite_is_left_out() -> None:
    losses = [{"all codebooks": Loss(2.0, 5.0), "silence": Loss(18.0, float("-inf"))}] * 2
    table = scores.codec_table(losses)
    assert _value(table, "SI-SDR", "all codebooks") == 5.0
    assert table.cell("SI-SDR", "silence") is None


def test_of_copies_the_most_is_told_beside_the_average() -> None:
    table = scores.copies_table({"pieces": [0.1, 0.5], "renders": []})
    assert _value(table, "equal codes, on average", "pieces") == pytest.approx(0.3)
    assert _value(table, "equal codes, most", "pieces") == 0.5
    assert table.cell("equal codes, most", "renders") is None
