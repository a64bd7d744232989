"""The file of a generation config: refused when in doubt, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import CheckpointError, ParamError
from antiphon.generation import config_file


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"3", b'{"temperature": NaN}', b'{"a": Infinity}', b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "cut", "list", "number", "nan", "infinity", "utf16", "deep"],
)
def test_a_file_that_is_no_json_object_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "generation_config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        config_file.read(path)


def test_a_byte_order_mark_is_tolerated(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b'\xef\xbb\xbf{"top_k": 3}')
    assert config_file.read(tmp_path / "c.json") == {"top_k": 3}


def test_a_missing_file_and_a_folder_in_its_place_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no file"):
        config_file.read(tmp_path / "c.json")
    with pytest.raises(CheckpointError, match="cannot be read"):
        config_file.read(tmp_path)


@pytest.mark.parametrize("name", ["../c.json", "a/b.json", "", ".", "..", "/c.json"])
def test_a_file_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParamError, match="config_file_name"):
        config_file.file_in(tmp_path, name)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.json"
    config_file.write(path, "old\n")

    def full(handle: int) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        config_file.write(path, "new\n")
    assert path.read_text() == "old\n" and [one.name for one in tmp_path.iterdir()] == ["c.json"]


def test_writing_makes_the_folder_and_names_what_stands_in_the_way(tmp_path: Path) -> None:
    config_file.write(tmp_path / "a" / "b" / "c.json", "x\n")
    assert (tmp_path / "a" / "b" / "c.json").read_text() == "x\n"
    with pytest.raises(CheckpointError, match=r"c\.json"):
        config_file.write(tmp_path / "a" / "b" / "c.json" / "d.json", "x\n")
