"""Evaluations from beginning to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from antiphon import Audio
from antiphon.errors import MissingExtraError
from antiphon.evaluation import examination
from antiphon.evaluation.asked import Asked
from antiphon.evaluation.copies import TrainingCodes
from antiphon.evaluation.examination import Examination
from antiphon.evaluation.hearing import Ear
from antiphon.evaluation.report import Report
from antiphon.tasks.transcoder import Transcoder

from .songs import RATE_HZ, chords, clicks

SOUNDS = [Audio(clicks(bpm, seconds=3), RATE_HZ) for bpm in (90, 110, 130, 150)]


@pytest.fixture
def asked(tmp_path: Path) -> list[Asked]:
    """Prompts whose real pieces are a second longer than what is made."""
    rows = []
    for number, bpm in enumerate((90, 110, 130, 150)):
        reference = Audio(clicks(bpm, seconds=4, seed=1), RATE_HZ).save(tmp_path / f"{number}.wav")
        rows.append(Asked(f"piece {number}", tempo_bpm=bpm, reference=reference))
    return rows


def _report(asked: list[Asked], folder: Path, sounds: list[Audio] = SOUNDS, **at_hand: object) -> Report:
    whole = Examination(asked=asked, ear=Ear(), **at_hand)
    return whole.report(sounds, folder, title="t", facts={})


def _titles(report: Report) -> list[str]:
    return [table.title for table in report.tables]


def test_without_a_model_pieces_stand_beside_renders(asked: list[Asked], tmp_path: Path) -> None:
    report = _report(asked, tmp_path / "out")
    assert _titles(report) == ["What was asked for", "What is wrong with the sound", "Fréchet distance"]
    requests = report.tables[0]
    assert requests.columns == ("pieces", "by chance", "renders", "goal")
    assert [requests.cell("tempo right", name).value for name in ("pieces", "by chance", "renders")] == [1, 0, 1]
    assert list(report.pictures) == ["Tempo"]
    assert report.shown[0].sounds["renders"].seconds == 3.0


def test_a_piece_that_goes_on_is_judged_from_where_it_is_new(tmp_path: Path) -> None:
    slow, fast = clicks(80, seconds=3), clicks(140, seconds=5)
    recording = Audio(slow, RATE_HZ).save(tmp_path / "slow.wav")
    asked = [Asked("on", tempo_bpm=140, continue_from=recording)]
    report = _report(asked, tmp_path / "out", [Audio(np.concatenate([slow, fast]), RATE_HZ)], prompt_s=3.0)
    assert _titles(report)[0] == "Going on from a recording"
    assert report.tables[0].cell("tempo right", "pieces").value == 1


def test_copies_are_looked_for_among_the_training_codes(checkpoint: Path, asked: list[Asked], tmp_path: Path) -> None:
    transcoder = Transcoder.load(checkpoint, device="cpu")
    training = TrainingCodes([transcoder.encode(SOUNDS[2]).codes[0]])
    report = _report(asked, tmp_path / "out", transcoder=transcoder, training=training)
    copies = next(table for table in report.tables if table.title == "The nearest training passage")
    assert copies.cell("equal codes, most", "pieces").value == 1.0
    assert copies.cell("equal codes, most", "renders").value < 1.0


def test_the_pieces_themselves_are_nearest_to_the_renders_when_they_are_them(
    asked: list[Asked], tmp_path: Path
) -> None:
    same = [Audio.load(one.reference, first_s=3.0) for one in asked]
    others = [Audio(chords([0, 3, 4], tonic, "minor"), RATE_HZ) for tonic in range(4)]
    near, far = (
        _report(asked, tmp_path / "out", [Audio(one.samples[:, : 3 * RATE_HZ], RATE_HZ) for one in sounds])
        for sounds in (same, others)
    )
    distances = [report.tables[-1].cell("distance", "pieces").value for report in (near, far)]
    assert distances[0] < 1e-3 < distances[1]


def test_equal_pieces_are_counted(asked: list[Asked], tmp_path: Path) -> None:
    report = _report(asked, tmp_path / "out", [SOUNDS[0], SOUNDS[1], SOUNDS[1], SOUNDS[3]])
    assert (report.facts["prompts"], report.facts["pieces that differ from all others"]) == (4, 2)


def test_without_matplotlib_there_are_no_pictures_and_a_warning(
    asked: list[Asked], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing() -> None:
        raise MissingExtraError("no matplotlib")

    monkeypatch.setattr(examination, "check_can_draw", missing)
    assert _report(asked, tmp_path / "out").pictures == {}
    assert "no pictures: no matplotlib" in caplog.text
