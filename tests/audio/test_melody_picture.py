"""The picture of a melody and of what was made of it."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from antiphon.audio.chroma import PITCH_NAMES
from antiphon.audio.figure import LIGHT, ORANGE, TEAL
from antiphon.audio.melody_agreement import MelodyAgreement
from antiphon.audio.melody_picture import draw_melody
from antiphon.errors import AudioError, MissingExtraError

AGREEMENT = MelodyAgreement(np.array([0, 4, 7, 11]), np.array([0, 4, 8, 2]), 0.128)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written."""
    kept: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: kept.append(self) or save(self, *a, **k))
    return kept


def test_the_picture_has_the_notes_that_were_heard_and_made_and_their_share(tmp_path: Path, figures: list) -> None:
    path = draw_melody(AGREEMENT, tmp_path / "x.png", title="a prompt")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    upper, lower = figures[0].axes
    for axes in (upper, lower):
        assert [label.get_text() for label in axes.get_yticklabels()] == list(PITCH_NAMES)
        assert axes.get_ylabel() == "pitch class"
    assert lower.get_xlabel() == "time in s"
    assert upper.get_xlim() == lower.get_xlim() == (0, pytest.approx(3.5 * 0.128))
    assert "heard" in upper.get_title(loc="left") and "made" in lower.get_title(loc="left")
    assert lower.get_legend().get_texts()[0].get_text() == "as heard: 50 % of the time (by chance: 12 %)"


def test_each_note_has_the_colour_of_what_became_of_it(tmp_path: Path, figures: list[Figure]) -> None:
    draw_melody(AGREEMENT, tmp_path / "x.png")
    (cells,) = figures[0].axes[1].collections
    colours = cells.to_rgba(cells.get_array())  # (12, 4, 4)
    shown = {
        (row, frame): matplotlib.colors.to_hex(colours[row, frame])
        for row, frame in np.ndindex(12, 4)
        if matplotlib.colors.to_hex(colours[row, frame]) != "#ffffff"
    }
    assert shown == {(0, 0): TEAL, (4, 1): TEAL, (8, 2): ORANGE, (7, 2): LIGHT, (2, 3): ORANGE, (11, 3): LIGHT}


@pytest.mark.parametrize("frames", [1, 28_000])
def test_one_frame_and_an_hour_can_be_drawn(frames: int, tmp_path: Path) -> None:
    classes = np.random.default_rng(0).integers(0, 12, (2, frames))
    assert draw_melody(MelodyAgreement(*classes, 0.128), tmp_path / "x.png").stat().st_size > 5000


def test_a_place_that_cannot_be_written_and_a_missing_extra_are_told(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(AudioError, match="cannot be written"):
        draw_melody(AGREEMENT, tmp_path / "none" / "x.png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'antiphon\[plot\]'"):
        draw_melody(AGREEMENT, tmp_path / "x.png")
