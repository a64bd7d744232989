"""Texts beside sounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import DataError
from antiphon.training.captions import Caption, caption_beside, described


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return tmp_path / "song.wav"


def test_each_line_of_a_text_beside_a_sound_is_a_text(sound: Path) -> None:
    sound.with_suffix(".txt").write_text("\ufeffslow blues\n\n  a sad guitar  \r\nslow blues\n", encoding="utf-8")
    assert caption_beside(sound) == Caption(("slow blues", "a sad guitar"))


@pytest.mark.parametrize("key", ["text", "description", "caption"])
@pytest.mark.parametrize("value", ["slow blues", ["slow blues", " ", "a sad guitar"]])
def test_a_record_states_one_text_or_several(sound: Path, key: str, value: Any) -> None:
    sound.with_suffix(".json").write_text(json.dumps({key: value, "bpm": 80, "melody": "hum.wav"}))
    sound.with_suffix(".txt").write_text("a third")
    texts = ("slow blues",) if isinstance(value, str) else ("slow blues", "a sad guitar")
    assert caption_beside(sound) == Caption((*texts, "a third"), sound.with_name("hum.wav"))


@pytest.mark.parametrize(
    ("tags", "text"),
    [
        (
            {"genre": "blues", "moods": ["calm"], "instruments": ["guitar", "drums"], "bpm": 80.0, "key": "A minor"},
            "blues, calm, with guitar and drums, 80 bpm, in A minor",
        ),
        ({"genre": "", "instrument": "piano", "bpm": 97.5, "title": "One"}, "with piano, 97.5 bpm"),
        ({"genre": "rock, pop", "instruments": "a, b, c"}, "rock, pop, with a, b and c"),
        ({"title": "Morning", "keywords": ["soft", None], "artist": "someone"}, "Morning, soft"),
    ],
)
def test_tags_make_a_text_where_there_is_none(tags: dict[str, Any], text: str) -> None:
    assert described(tags) == (text,)


def test_no_tags_make_no_text(sound: Path) -> None:
    assert described({"artist": "someone", "genre": None}) == ()
    assert caption_beside(sound) == Caption()


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b'{"text": 3}', b'{"text": ["a", {}]}', b'{"melody": 3}', b"\xff\xfe", b'{"text": "a"']
)
def test_F131_a_damaged_record_is_an_error_that_names_it(sound: Path, content: bytes) -> None:
    sound.with_suffix(".json").write_bytes(content)
    with pytest.raises(DataError):
        caption_beside(sound)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a" * 10_001, b"a\n" * 600_000, b"a\n" * 1001])
def test_F131_a_text_that_is_none_is_an_error(sound: Path, content: bytes) -> None:
    sound.with_suffix(".txt").write_bytes(content)
    with pytest.raises(DataError):
        caption_beside(sound)
