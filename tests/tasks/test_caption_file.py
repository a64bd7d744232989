"""A file of captions outlives its writer: no line is lost, none is there twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import DataError, ParamError
from antiphon.tasks.caption_file import CaptionFile


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_lines_are_appended_and_known_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    with CaptionFile(path) as captions:
        captions.add({"path": "a.wav", "text": "eins"})
    with CaptionFile(path, resume=True) as captions:
        assert (captions.done, captions.first) == ({"a.wav"}, {"path": "a.wav", "text": "eins"})
        captions.add({"path": "b.wav", "text": "zwei"})
    assert [line["path"] for line in lines(path)] == ["a.wav", "b.wav"]


def test_a_line_is_there_once(tmp_path: Path) -> None:
    with CaptionFile(tmp_path / "captions.jsonl") as captions:
        captions.add({"path": "a.wav"})
        with pytest.raises(ParamError, match=r"a\.wav"):
            captions.add({"path": "a.wav"})


def test_a_line_torn_anywhere_is_removed_and_the_others_stay(tmp_path: Path) -> None:
    whole = b'{"path": "a.wav", "text": "\\u266f"}\n'
    torn = b'{"path": "b.wav", "text": "zwei"}\n'
    for cut in range(len(torn)):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(whole + torn[:cut])
        with CaptionFile(path, resume=True) as captions:
            assert captions.done == {"a.wav"}
            captions.add({"path": "b.wav", "text": "zwei"})
        assert path.read_bytes() == whole + torn


def test_a_file_that_is_there_is_only_continued_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    path.write_bytes(b'{"path": "a.wav"}\n')
    with pytest.raises(ParamError, match="resume"):
        CaptionFile(path)
    assert path.read_bytes() == b'{"path": "a.wav"}\n'


@pytest.mark.parametrize("line", [b"nonsense", b"[1]", b"{}", b'{"path": 5}', b"[" * 100_000, b"\xff\x00"])
def test_a_line_in_the_midst_that_is_no_caption_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "captions.jsonl"
    held = b'{"path": "a.wav"}\n' + line + b'\n{"path": "b.wav"}\n'
    path.write_bytes(held)
    with pytest.raises(DataError, match="line 2"):
        CaptionFile(path, resume=True)
    assert path.read_bytes() == held


def test_two_writers_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "captions.jsonl"
    with CaptionFile(path), pytest.raises(ParamError, match="another process"):
        CaptionFile(path, resume=True)
    CaptionFile(path, resume=True).close()


def test_names_that_are_no_text_survive(tmp_path: Path) -> None:
    path, name = tmp_path / "captions.jsonl", "a\udcff.wav"
    with CaptionFile(path) as captions:
        captions.add({"path": name})
    with CaptionFile(path, resume=True) as captions:
        assert captions.done == {name}


def test_a_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        CaptionFile(tmp_path / "nowhere" / "captions.jsonl")
