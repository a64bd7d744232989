"""The Qwen2 tokenizer gives the reference's ids, from either layout of files, and files go both ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer

import antiphon
from antiphon.errors import ParamError, ParamTypeError, TokenizerError
from antiphon.text.qwen2_tokenizer import Qwen2Tokenizer

from .. import qwen2_tokenizers

TEXTS = [
    "Describe this track: tell me the genre, tempo & key!\n\n  ok?",
    "<|im_start|>user\n<sound>What instruments?<|im_end|>\n",
    "it'll 12345\t\r\n café cafe\u0301 日本の太鼓 🥁",
    "",
    "  leading and trailing  ",
    "</s> \u202e abc \x1b[31m",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return qwen2_tokenizers.write(tmp_path_factory.mktemp("qwen2"))


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def ours(folder: Path) -> Qwen2Tokenizer:
    return Qwen2Tokenizer.from_pretrained(folder)


def older_files(folder: Path, to: Path) -> Path:
    """``to`` with the same tokenizer as ``vocab.json``, ``merges.txt`` and the added tokens in the settings."""
    to.mkdir()
    whole = json.loads((folder / "tokenizer.json").read_text())
    (to / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in whole["model"]["merges"]]
    (to / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    flags = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    settings["added_tokens_decoder"] = {
        str(token["id"]): {flag: token[flag] for flag in flags} for token in whole["added_tokens"]
    }
    (to / "tokenizer_config.json").write_text(json.dumps(settings))
    return to


@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_texts_are_those_of_the_reference(ours: Any, theirs: Any, text: str) -> None:
    ids = theirs(text)["input_ids"]
    assert ours(text)["input_ids"] == ids
    for skip in (False, True):
        assert ours.decode(ids, skip_special_tokens=skip) == theirs.decode(ids, skip_special_tokens=skip)
    assert ours.tokenize(text) == theirs.tokenize(text)


@pytest.mark.row("R123")
def test_a_batch_is_padded_as_the_files_say_and_decoded_without_special_tokens(ours: Any, theirs: Any) -> None:
    made, expected = ours(TEXTS, padding=True, return_tensors="pt"), theirs(TEXTS, padding=True, return_tensors="pt")
    assert ours.padding_side == "left" and made.input_ids[3].tolist()[0] == ours.pad_token_id
    for name in ("input_ids", "attention_mask"):
        assert made[name].equal(expected[name])
    texts = ours.batch_decode(made.input_ids, skip_special_tokens=True)
    assert texts == theirs.batch_decode(expected.input_ids, skip_special_tokens=True)
    assert "<sound>" not in texts[1]


def test_a_vocabulary_and_merges_are_the_same_tokenizer(folder: Path, theirs: Any, tmp_path: Path) -> None:
    older = older_files(folder, tmp_path / "older")
    for tokenizer in (antiphon.AutoTokenizer.from_pretrained(older), Qwen2Tokenizer.from_pretrained(older)):
        assert [tokenizer(text)["input_ids"] for text in TEXTS] == [theirs(text)["input_ids"] for text in TEXTS]
        assert tokenizer.eos_token == "<|im_end|>"
    alone = Qwen2Tokenizer(older / "vocab.json", older / "merges.txt")
    assert alone("Describe this")["input_ids"] == theirs("Describe this")["input_ids"]


def test_files_go_both_ways(ours: Any, theirs: Any, tmp_path: Path) -> None:
    ours.save_pretrained(tmp_path)
    opened = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert type(opened) is type(theirs)
    assert [opened(text)["input_ids"] for text in TEXTS] == [theirs(text)["input_ids"] for text in TEXTS]
    assert (opened.padding_side, opened.chat_template) == ("left", theirs.chat_template)
    again = Qwen2Tokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == ours.get_vocab() and again.special_tokens_map == ours.special_tokens_map


def test_both_names_are_one_class_and_a_folder_is_opened_by_its_model_type(folder: Path, tmp_path: Path) -> None:
    assert antiphon.Qwen2TokenizerFast is antiphon.Qwen2Tokenizer
    for model_type in ("qwen2", "musicflamingo", "audioflamingo3"):
        place = tmp_path / model_type
        place.mkdir()
        (place / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
        (place / "config.json").write_text(json.dumps({"model_type": model_type}))
        assert type(antiphon.AutoTokenizer.from_pretrained(place)) is Qwen2Tokenizer


def test_without_files_there_is_one_token() -> None:
    tokenizer = Qwen2Tokenizer()
    assert len(tokenizer) == 1 and tokenizer.eos_token_id == tokenizer.pad_token_id == 0
    assert tokenizer.bos_token is None


def test_F019_no_pattern_of_a_file_is_run(folder: Path, tmp_path: Path) -> None:
    """``(a+)+$`` on many a takes for ever."""
    whole = json.loads((folder / "tokenizer.json").read_text())
    whole["pre_tokenizer"] = {
        "type": "Split",
        "pattern": {"Regex": "(a+)+$"},
        "behavior": "Isolated",
        "invert": False,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(whole))
    assert len(Qwen2Tokenizer.from_pretrained(tmp_path)("a" * 40 + "!")["input_ids"]) <= 41


@pytest.mark.parametrize(
    "vocabulary, merges",
    [
        ({"a": "0"}, []),
        ({"a": -1}, []),
        ({"a": 0, "b": 0}, []),
        ({"a": 0, "b": 1}, ["a"]),
        ({"a": 0, "b": 1}, [("a", "b", "c")]),
        ({"a": 0, "b": 1}, [("a", "b")]),  # whose product is no piece
    ],
)
def test_F019_a_damaged_vocabulary_is_named(vocabulary: Any, merges: Any) -> None:
    with pytest.raises((TokenizerError, ParamError)):
        Qwen2Tokenizer(vocabulary, merges)


def test_F019_files_that_do_not_belong_together_are_named(folder: Path, tmp_path: Path) -> None:
    older = older_files(folder, tmp_path / "older")
    vocabulary = json.loads((older / "vocab.json").read_text())
    vocabulary.popitem()
    (older / "vocab.json").write_text(json.dumps(vocabulary))
    (older / "merges.txt").write_text("")
    with pytest.raises(TokenizerError, match="id"):
        Qwen2Tokenizer.from_pretrained(older)
    (older / "vocab.json").write_text("{")
    with pytest.raises(TokenizerError, match="vocab.json"):
        Qwen2Tokenizer.from_pretrained(older)
    (older / "merges.txt").unlink()
    with pytest.raises(TokenizerError, match="holds no tokenizer"):
        Qwen2Tokenizer.from_pretrained(older)


def test_what_is_no_vocabulary_is_refused(folder: Path) -> None:
    for wrong in ([("a", 0)], 5):
        with pytest.raises(ParamTypeError):
            Qwen2Tokenizer(wrong)
    with pytest.raises(ParamTypeError):
        Qwen2Tokenizer({"a": 0}, 5)  # type: ignore[arg-type]
    unigram = Tokenizer.from_str('{"version":"1.0","model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"}}')
    with pytest.raises(TokenizerError, match="WordLevel"):
        Qwen2Tokenizer(tokenizer_object=unigram)
