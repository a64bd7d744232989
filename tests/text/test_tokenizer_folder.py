"""The files of a tokenizer: limits, damage, older companions, and writing whole files only."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from antiphon.errors import TokenizerError
from antiphon.text.t5_tokenizer import T5Tokenizer
from antiphon.text.tokenizer_folder import (
    MAX_CONFIG_BYTES,
    MAX_TOKENIZER_BYTES,
    TokenizerFolder,
    read_text,
    write_files,
)


@pytest.fixture
def folder(json_folder: Path, tmp_path: Path) -> Path:
    """A copy of the reference's folder that a test may damage."""
    for path in json_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"a": ', b"\xff\xfe\x00", b"[" * 100_000, b"5", b"null"])
def test_a_damaged_file_is_named(name: str, content: bytes, folder: Path) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(TokenizerError, match=name):
        T5Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("name", "limit"), [("tokenizer.json", MAX_TOKENIZER_BYTES), ("tokenizer_config.json", MAX_CONFIG_BYTES)]
)
def test_a_file_that_is_too_large_is_refused_unread(name: str, limit: int, folder: Path) -> None:
    with (folder / name).open("wb") as file:
        file.truncate(limit + 1)
    with pytest.raises(TokenizerError, match=rf"{name} has {limit + 1} bytes"):
        T5Tokenizer.from_pretrained(folder)


def test_a_byte_order_mark_is_dropped(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert T5Tokenizer.from_pretrained(folder).eos_token == "</s>"


def test_a_folder_without_a_tokenizer_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TokenizerError, match=r"holds no tokenizer\. Expected tokenizer\.json or spiece\.model"):
        TokenizerFolder.read(tmp_path)
    with pytest.raises(TokenizerError, match="does not exist"):
        TokenizerFolder.read(tmp_path / "none")


def test_tokenizer_json_is_preferred_and_the_other_file_is_not_opened(folder: Path) -> None:
    (folder / "spiece.model").write_bytes(b"garbage")
    found = TokenizerFolder.read(folder)
    assert found.sentencepiece is None
    assert found.tokenizer_class == "T5Tokenizer"


def test_added_tokens_of_oldest_files_are_read(folder: Path, spiece: bytes) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "spiece.model").write_bytes(spiece)
    size = len(T5Tokenizer.from_pretrained(folder))
    (folder / "added_tokens.json").write_text(json.dumps({"<beat>": size}))
    assert T5Tokenizer.from_pretrained(folder)("<beat>")["input_ids"] == [size, 1]
    (folder / "added_tokens.json").write_text(json.dumps({"<beat>": size + 5}))
    with pytest.raises(TokenizerError, match=rf"gives '<beat>' the id {size + 5}"):
        T5Tokenizer.from_pretrained(folder)
    (folder / "added_tokens.json").write_text(json.dumps({"<beat>": "1"}))
    with pytest.raises(TokenizerError, match=r"added_tokens\.json"):
        T5Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize("added", [5, [1], {"0": "x"}, {"0": {"content": 5}}, {"x": {"content": "a"}}, {"0": None}])
def test_unusable_added_tokens_are_refused(added: object, folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added_tokens_decoder": added}))
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json"):
        T5Tokenizer.from_pretrained(folder)


def test_files_are_written_whole_and_nothing_is_left_beside_them(tmp_path: Path) -> None:
    paths = write_files(tmp_path / "new", {"a.json": "{}\n", "b.bin": b"\0", "sub/c.txt": "é"})
    assert [Path(path).relative_to(tmp_path / "new").as_posix() for path in paths] == ["a.json", "b.bin", "sub/c.txt"]
    assert sorted(os.listdir(tmp_path / "new")) == ["a.json", "b.bin", "sub"]
    assert read_text(tmp_path / "new" / "sub" / "c.txt", 100) == "é"


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(TokenizerError, match=r"a\.json cannot be written"):
        write_files(tmp_path, {"a.json": "{}"})
    assert os.listdir(tmp_path) == ["a.json"]
