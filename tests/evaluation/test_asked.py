"""Files of held-out prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.errors import DataError, ParamTypeError
from antiphon.evaluation.asked import Asked, read_asked


def _file(folder: Path, *lines: str) -> Path:
    path = folder / "held_out.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    return path


def test_a_line_says_what_is_asked_and_its_files_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "tune.wav").touch()
    given = {"text": "waltz", "style": "waltz", "tempo_bpm": 84, "tonic": 9, "mode": "minor", "melody": "tune.wav"}
    rows = read_asked(_file(tmp_path, json.dumps(given), "", '{"text": "", "lead": null}'))
    assert rows == [
        Asked("waltz", style="waltz", tempo_bpm=84, tonic=9, mode="minor", melody=tmp_path / "tune.wav"),
        Asked(""),
    ]


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("piano", "line 2 of held_out.jsonl is no JSON"),
        ("[1]", "type list"),
        ("{}", "text=None"),
        ('{"text": 3}', "text=3"),
        ('{"text": "x", "style": 4}', "style=4"),
        ('{"text": "x", "tempo_bpm": 0}', "tempo_bpm=0"),
        ('{"text": "x", "tempo_bpm": NaN}', "tempo_bpm=nan"),
        ('{"text": "x", "tempo_bpm": true}', "tempo_bpm=True"),
        ('{"text": "x", "tonic": 12, "mode": "major"}', "tonic=12"),
        ('{"text": "x", "tonic": true, "mode": "major"}', "tonic=True"),
        ('{"text": "x", "tonic": 1, "mode": "dorian"}', "mode='dorian'"),
        ('{"text": "x", "tonic": 1}', "alone"),
        ('{"text": "x", "reference": "none.wav"}', "none.wav"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(line: str, hint: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_asked(_file(tmp_path, '{"text": "good"}', line))
    assert hint in str(caught.value)
    assert "line 2" in str(caught.value)


def test_an_unknown_name_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(ParamTypeError, match="tempo_bpm"):
        read_asked(_file(tmp_path, '{"text": "x", "tempo": 3}'))


def test_a_file_without_prompts_or_none_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no prompt"):
        read_asked(_file(tmp_path, "", " "))
    with pytest.raises(DataError, match="cannot be read"):
        read_asked(tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_asked(tmp_path)
