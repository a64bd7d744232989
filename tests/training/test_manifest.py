"""Manifests: which sounds there are."""

from __future__ import annotations

import gzip
import json
import logging
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import DataError
from antiphon.training.manifest import Item, Manifest

from .datasets import manifest, tone


def test_a_folder_gives_its_sounds_in_order_with_the_texts_beside_them(tmp_path: Path) -> None:
    for name in ("b.wav", "deep/er/a.flac", "hum.wav", ".hidden/c.wav", ".d.wav"):
        tone(tmp_path / name, 0.1)
    (tmp_path / "b.txt").write_text("a tone")
    (tmp_path / "deep/er/a.json").write_text('{"text": ["one", "two"], "melody": "../../hum.wav"}')
    (tmp_path / "notes.md").write_text("no sound")
    found = Manifest.read(tmp_path)
    items = [found.item(place) for place in range(len(found))]
    assert items == [
        Item("b.wav", tmp_path / "b.wav", ("a tone",)),
        Item("deep/er/a.flac", tmp_path / "deep/er/a.flac", ("one", "two"), melody=tmp_path / "deep/er/../../hum.wav"),
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_a_manifest_gives_its_rows(packed: bool, tmp_path: Path) -> None:
    rows: list[Any] = [
        {"path": "a.wav", "text": ["one", "two"], "start_s": 1, "end_s": 2.5, "melody": "m/a.wav"},
        "",
        {"path": str(tmp_path / "b.wav"), "duration": 12.5, "sample_rate": 44100, "caption": "three"},
    ]
    path = manifest(tmp_path, rows)
    if packed:
        path = tmp_path / "data.jsonl.gz"
        path.write_bytes(gzip.compress((tmp_path / "data.jsonl").read_bytes()))
    found = Manifest.read(path)
    assert [found.item(place) for place in range(len(found))] == [
        Item("a.wav", tmp_path / "a.wav", ("one", "two"), 1.0, 2.5, tmp_path / "m/a.wav"),
        Item(str(tmp_path / "b.wav"), tmp_path / "b.wav", ("three",), stated_s=12.5, stated_hz=44100),
    ]
    assert found.skipped.count == 0


def test_audiocrafts_manifest_finds_its_records_and_says_what_is_not_read(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "a.json").write_text('{"title": "A", "genre": "jazz", "description": null}')
    (tmp_path / "elsewhere.json").write_text('{"description": "a description"}')
    nothing = {"amplitude": None, "info_path": None}
    rows = [
        {"path": "a.wav", "duration": 3.0, "sample_rate": 32000, "weight": 0.5, **nothing},
        {"path": "b.wav", "duration": 3.0, "sample_rate": 32000, **nothing, "info_path": "elsewhere.json"},
    ]
    with caplog.at_level(logging.WARNING):
        found = Manifest.read(manifest(tmp_path, rows))
    assert [found.item(place).texts for place in range(2)] == [("jazz",), ("a description",)]
    assert "does not read: weight" in caplog.text
    assert "amplitude" not in caplog.text


BAD_ROWS = [
    "{",
    "[]",
    "null",
    "[" * 5000,
    "{}",
    '{"path": ""}',
    '{"path": 3}',
    '{"path": "a\\u0000b"}',
    '{"path": "x", "duration": NaN}',
    '{"path": "x", "duration": -1}',
    '{"path": "x", "duration": 0}',
    '{"path": "x", "duration": "3"}',
    '{"path": "x", "sample_rate": 0}',
    '{"path": "x", "sample_rate": 44100.5}',
    '{"path": "x", "start_s": 3, "end_s": 3}',
    '{"path": "x", "start_s": Infinity}',
    '{"path": "x", "text": 5}',
    '{"path": "x", "melody": ["a"]}',
    '{"path": "song00.wav"}',
    '{"path": "./song00.wav"}',
    "x" * 3_000_000,
]


@pytest.mark.parametrize("bad", BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_F131_a_bad_row_is_skipped_counted_and_named(bad: str, tmp_path: Path) -> None:
    rows: list[Any] = [{"path": f"song{n:02}.wav"} for n in range(80)]
    found = Manifest.read(manifest(tmp_path, [*rows[:50], bad, *rows[50:]]))
    assert len(found) == 80
    assert found.skipped.count == len(bad) // (1 << 20) + 1
    assert found.skipped.named[0][0] == "line 51"
    assert found.skipped.named[0][1]


def test_the_same_file_may_be_there_twice_with_two_passages(tmp_path: Path) -> None:
    rows = [{"path": "a.wav", "end_s": 5}, {"path": "a.wav", "start_s": 5}, {"path": "a.wav", "start_s": 6}]
    assert len(Manifest.read(manifest(tmp_path, rows))) == 3


def test_F131_more_than_a_twentieth_of_bad_rows_stops(tmp_path: Path) -> None:
    good: list[Any] = [{"path": f"song{n}.wav"} for n in range(95)]
    assert Manifest.read(manifest(tmp_path, [*good, *["bad"] * 5])).skipped.count == 5
    with pytest.raises(DataError, match=r"6 of 101 items .*line 96.*line 100.*; and 1 more"):
        Manifest.read(manifest(tmp_path, [*good, *["bad"] * 6]))


@pytest.mark.parametrize("kind", ["nothing", "empty folder", "empty file", "sound", "damaged", "cut"])
def test_F131_what_is_no_data_set_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    if kind == "empty folder":
        path = tmp_path / "folder"
        path.mkdir()
    elif kind == "empty file":
        path.write_bytes(b"")
    elif kind == "sound":
        path = tone(tmp_path / "a.wav")
    elif kind in ("damaged", "cut"):
        path = tmp_path / "data.jsonl.gz"
        path.write_bytes(gzip.compress(b'{"path": "a.wav"}\n' * 9)[:-9] if kind == "cut" else b"junk")
    with pytest.raises(DataError):
        Manifest.read(path)


def test_F131_a_million_rows_fit_into_bounded_memory(tmp_path: Path) -> None:
    """A hundredth of them: little more than the rows themselves, where objects would take twenty times as much."""
    rows = 10_000
    lines = [json.dumps({"path": f"music/{n:07}.flac", "duration": 183.2, "text": f"a song {n}"}) for n in range(rows)]
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join(lines))
    del lines
    tracemalloc.start()
    found = Manifest.read(path)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == rows
    assert found.item(rows - 1).texts == (f"a song {rows - 1}",)
    assert kept < 1.2 * path.stat().st_size + 10 * rows
    assert peak < 1.2 * path.stat().st_size + 150 * rows
