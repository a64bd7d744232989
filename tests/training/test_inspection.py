"""The look at every file before training."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.audio import files
from antiphon.errors import DataError
from antiphon.training import inspection
from antiphon.training.inspection import inspect
from antiphon.training.manifest import Manifest

from .datasets import manifest, tone

GOOD = 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty good sounds."""
    for number in range(GOOD):
        tone(tmp_path / f"song{number:02}.wav", 0.3 + number / 100)
    return tmp_path


def bad_file(path: Path, kind: str) -> dict[str, Any]:
    """Makes a bad file, and gives its row."""
    row: dict[str, Any] = {"path": path.name}
    if kind == "missing":
        return row
    tone(path, 0.5)
    data = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "corrupt":
        path.write_bytes(b"<html>not found</html>" * 100)
    elif kind == "cut":
        path.write_bytes(data[: len(data) * 3 // 4])
    elif kind == "cut flac":
        flac = tone(path.with_suffix(".flac"), 2.0)
        flac.write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
        row["path"] = flac.name
    elif kind == "no samples":
        path.write_bytes(data[:40] + bytes(4))
    elif kind == "not finite":
        samples, rate_hz = files.load(path)
        files.save(path, samples, rate_hz, subtype="FLOAT")
        broken = bytearray(path.read_bytes())
        place = broken.index(b"data") + 8
        broken[place : place + 4] = np.float32(np.nan).tobytes()
        path.write_bytes(bytes(broken))
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "wrong rate":
        row["sample_rate"] = 44_100
    elif kind == "wrong length":
        row["duration"] = 2.0
    elif kind == "passage":
        row["start_s"] = 0.6
    elif kind == "passage's end":
        row["end_s"] = 0.9
    elif kind == "short":
        row["end_s"] = 0.2
    elif kind == "channels":
        tone(path, 0.5, channels=3)
    elif kind == "text":
        path.with_suffix(".txt").write_bytes(b"\xff\xfe\x00")
    elif kind == "melody":
        row["melody"] = "nowhere.wav"
    return row


KINDS = ["missing", "empty", "corrupt", "cut", "cut flac", "no samples", "not finite", "folder", "wrong rate"]
KINDS += ["wrong length", "passage", "passage's end", "short", "channels", "text", "melody"]


@pytest.mark.parametrize("kind", KINDS)
def test_F131_a_bad_file_is_skipped_counted_and_named(kind: str, folder: Path, caplog: Any) -> None:
    rows = [{"path": f"song{number:02}.wav"} for number in range(GOOD)]
    bad = bad_file(folder / "bad.wav", kind)
    source = Manifest.read(manifest(folder, [*rows[:20], bad, *rows[20:]]))
    with caplog.at_level(logging.WARNING):
        found = inspect(source, channels=2, least_s=0.25)
    assert [found.item(place).name for place in range(len(found))] == [row["path"] for row in rows]
    assert [found.header(place).samples for place in (0, 39)] == [4800, 11_040]
    assert (found.skipped.count, found.skipped.named[0][0]) == (1, bad["path"])
    assert "1 of 41 items are skipped" in caplog.text
    assert f"{bad['path']}: {found.skipped.named[0][1]}" in caplog.text


def test_F131_bad_rows_and_bad_files_count_together_and_more_than_a_twentieth_stops(folder: Path) -> None:
    rows: list[Any] = [{"path": f"song{number:02}.wav"} for number in range(GOOD)]
    with_two = Manifest.read(manifest(folder, [*rows, "{", {"path": "missing.wav"}]))
    assert inspect(with_two).skipped.count == 2
    with_three = Manifest.read(manifest(folder, [*rows, "{", {"path": "missing.wav"}, {"path": "gone.wav"}]))
    with pytest.raises(DataError, match=r"3 of 43 items.*line 41.*missing.wav.*gone.wav"):
        inspect(with_three)
    assert inspect(with_three, share=0.1).skipped.count == 3


def test_F131_a_data_set_that_is_not_there_stops_before_all_of_it_is_looked_at(tmp_path: Path) -> None:
    source = Manifest.read(manifest(tmp_path, [{"path": f"{number}.wav"} for number in range(5000)]))
    told: list[int] = []
    with pytest.raises(DataError, match="items of the data set cannot be used"):
        inspect(source, progress=lambda done, total: told.append(done))
    assert told == []


def test_a_second_look_opens_no_file_that_is_as_it_was(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    opened: list[str] = []
    read = files.read_header

    def counted(path: Path) -> Any:
        opened.append(path.name)
        return read(path)

    monkeypatch.setattr(inspection.files, "read_header", counted)
    cache = tmp_path / "cache" / "inspected.npy"
    first = inspect(Manifest.read(folder), cache=cache)
    assert len(opened) == GOOD
    opened.clear()
    again = inspect(Manifest.read(folder), cache=cache)
    assert opened == []
    assert (again.found == first.found).all()
    tone(folder / "song05.wav", 3.0)
    (folder / "song06.wav").unlink()
    tone(folder / "song99.wav")
    changed = inspect(Manifest.read(folder), cache=cache)
    assert sorted(opened) == ["song05.wav", "song99.wav"]
    assert changed.header(5).seconds == 3.0
    assert again.key(4) == changed.key(4)
    assert again.key(5) != changed.key(5)


def test_a_second_look_does_not_depend_on_where_the_data_lies(folder: Path, tmp_path: Path) -> None:
    first = inspect(Manifest.read(folder))
    os.rename(folder / "song00.wav", folder / "elsewhere.wav")
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    os.rename(tmp_path, moved)
    second = inspect(Manifest.read(moved))
    assert [second.key(place) for place in range(1, GOOD)] == [first.key(place) for place in range(1, GOOD)]


@pytest.mark.parametrize("content", [b"", b"junk", "another"])
def test_a_damaged_record_of_an_inspection_is_made_again(content: Any, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "inspected.npy"
    if content == "another":
        np.save(cache, np.zeros(3))
    else:
        cache.write_bytes(content)
    assert len(inspect(Manifest.read(folder), cache=cache)) == GOOD
    assert len(np.load(cache)) == GOOD


def test_texts_may_change_without_the_file_being_opened_again(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "inspected.npy"
    inspect(Manifest.read(folder), cache=cache)
    (folder / "song03.txt").write_text("new words")
    assert inspect(Manifest.read(folder), cache=cache).item(3).texts == ("new words",)


def test_some_of_the_items_are_a_data_set_of_their_own(folder: Path) -> None:
    found = inspect(Manifest.read(folder))
    some = found.chosen([7, 3])
    assert [some.item(place).name for place in range(len(some))] == ["song07.wav", "song03.wav"]
    assert [some.header(place) for place in range(2)] == [found.header(7), found.header(3)]
    assert [some.key(place) for place in range(2)] == [found.key(7), found.key(3)]
