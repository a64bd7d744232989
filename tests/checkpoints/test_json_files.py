"""JSON files: every damage has its own sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from antiphon.checkpoints.json_files import JsonFileError, read_json, write_json
from antiphon.errors import CheckpointError, ConfigError, ParamTypeError


def test_what_is_written_is_read_and_has_one_form(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    write_json(path, {"b": [1, 2.5, None], "a": {"ä": True}})
    assert read_json(path) == {"a": {"ä": True}, "b": [1, 2.5, None]}
    text = path.read_text()
    assert text.startswith('{\n  "a": {\n')
    assert text.endswith("}\n")
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_byte_order_mark_is_tolerated(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b'{"a": NaN}', "holds NaN"),
        (b'{"a": -Infinity}', "holds -Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be read"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b"[1]", "a JSON array"),
        (b"null", "a JSON null"),
        (b"3", "a JSON number"),
        (b'{"a": 1,}', "not valid JSON.*line 1"),
        (b"<html>", "not valid JSON"),
    ],
)
def test_F017_damaged_files_are_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(JsonFileError, match=said) as caught:
        read_json(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, CheckpointError)
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, OSError)


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JsonFileError, match="is missing"):
        read_json(tmp_path / "config.json")
    with pytest.raises(JsonFileError, match="not a regular file"):
        read_json(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(JsonFileError, match="not a regular file"):
        read_json(tmp_path / "pipe.json")
    with pytest.raises(JsonFileError, match="cannot be read"):
        read_json(tmp_path / "a\0b")


def test_the_limits_of_size_are_16_mib_and_200_mb(tmp_path: Path) -> None:
    config, index = tmp_path / "config.json", tmp_path / "model.safetensors.index.json"
    for path, size in ((config, 16 * 2**20 + 1), (index, 200 * 10**6 + 1)):
        with open(path, "wb") as file:
            file.truncate(size)
        with pytest.raises(JsonFileError, match="at most"):
            read_json(path)


def test_doubled_keys_are_refused_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"a": 1, "a": 2}')
    assert read_json(path) == {"a": 2}
    with pytest.raises(JsonFileError, match="twice: a"):
        read_json(path, unique_keys=True)


def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    for bad in (float("nan"), object(), {1: 2, "a": 3}):
        with pytest.raises(ParamTypeError, match="cannot be written as JSON"):
            write_json(path, {"x": bad})
    assert read_json(path) == {"a": 1}
