"""Faults in tokenizer files and in prompts; the numbers are those of the list of faults."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE

from antiphon.errors import AntiphonError, ParamError, ParamTypeError, TokenizerError
from antiphon.text.t5_tokenizer import T5Tokenizer
from antiphon.text.tokenizer import PreTrainedTokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz</>_|$%{}()[].!?*0123456789"
VOCAB = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), *((letter, -3.0) for letter in LETTERS)]


@pytest.fixture
def tokenizer() -> T5Tokenizer:
    return T5Tokenizer(vocab=VOCAB, extra_ids=4)


@pytest.fixture
def folder(tokenizer: T5Tokenizer, tmp_path: Path) -> Path:
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def rewrite(folder: Path, **changes: Any) -> None:
    document = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(document | changes))


@pytest.mark.parametrize("family", [T5Tokenizer, PreTrainedTokenizer])
@pytest.mark.parametrize("content", ["{}", "", "null", '{"model": {}}', '{"model": {"type": "Unigram", "vocab": []}}'])
def test_F019_an_empty_tokenizer_json_is_named(content: str, family: Any, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        family.from_pretrained(folder)


@pytest.mark.parametrize("family", [T5Tokenizer, PreTrainedTokenizer])
@pytest.mark.parametrize("change", ["shorter", "longer"])
def test_F019_a_vocabulary_of_the_wrong_size_is_noticed(change: str, family: Any, folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    model["vocab"] = model["vocab"][:-1] if change == "shorter" else [*model["vocab"], ["new", -1.0]]
    rewrite(folder, model=model)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json gives '<extra_id_0>' the id"):
        family.from_pretrained(folder)


@pytest.mark.parametrize(
    "model",
    [
        {"type": "Unigram", "unk_id": 2, "vocab": [["<pad>", 0.0]]},
        {"type": "Unigram", "unk_id": 2, "vocab": [["<pad>", "x"]] * 3},
        {"type": "Unigram", "unk_id": 2, "vocab": 5},
        {"type": "BPE", "vocab": {"a": 0}, "merges": []},
        {"type": "Nothing"},
        [],
        None,
    ],
    ids=str,
)
def test_F019_a_model_t5_cannot_use_is_refused(model: Any, folder: Path) -> None:
    rewrite(folder, model=model)
    with pytest.raises(TokenizerError):
        T5Tokenizer.from_pretrained(folder)


def test_F019_a_pattern_from_a_file_is_never_run_by_t5(folder: Path, tokenizer: T5Tokenizer) -> None:
    hostile = {"type": "Split", "pattern": {"Regex": "(a|aa)+$"}, "behavior": "Isolated", "invert": False}
    rewrite(folder, pre_tokenizer=hostile)
    opened = T5Tokenizer.from_pretrained(folder)
    started = time.perf_counter()
    ids = opened("a" * 2000 + "!")["input_ids"]
    assert time.perf_counter() - started < 2
    assert ids == tokenizer("a" * 2000 + "!")["input_ids"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x0a\xff\xff\xff\xff\x0f", b"\0" * 1000])
def test_F019_a_damaged_sentencepiece_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "spiece.model").write_bytes(content)
    for family in (T5Tokenizer, PreTrainedTokenizer):
        with pytest.raises(TokenizerError, match=r"spiece\.model"):
            family.from_pretrained(tmp_path)


@pytest.mark.parametrize("table", ["AAAA", "not base64!", "", 5, "/////w=="])
def test_F019_a_damaged_normalisation_table_never_ends_the_process(table: Any, folder: Path) -> None:
    rewrite(folder, normalizer={"type": "Precompiled", "precompiled_charsmap": table})
    try:
        T5Tokenizer.from_pretrained(folder)("abc")
    except AntiphonError as error:
        assert isinstance(error, TokenizerError)


def test_F019_both_files_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"Expected tokenizer\.json or spiece\.model"):
        T5Tokenizer.from_pretrained(tmp_path)


def test_F019_every_cut_of_a_tokenizer_json_is_refused(folder: Path) -> None:
    content = (folder / "tokenizer.json").read_bytes().rstrip()
    for length in range(0, len(content), max(1, len(content) // 60)):
        (folder / "tokenizer.json").write_bytes(content[:length])
        with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
            T5Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize("prompt", [5, 2.5, b"x", ["a", None], [None], ["a", 5], [b"x"], {"a": 1}, print], ids=repr)
def test_F050_what_is_no_text_is_refused(prompt: Any, tokenizer: T5Tokenizer) -> None:
    with pytest.raises(ParamTypeError):
        tokenizer(prompt)


@pytest.mark.parametrize("prompt", [None, [], ()])
def test_F050_nothing_at_all_is_refused(prompt: Any, tokenizer: T5Tokenizer) -> None:
    with pytest.raises(ParamError):
        tokenizer(prompt)


def test_F050_an_empty_prompt_is_only_the_end(tokenizer: T5Tokenizer) -> None:
    assert tokenizer("")["input_ids"] == tokenizer(" ")["input_ids"] == [tokenizer.eos_token_id]
    assert tokenizer([""], return_tensors="pt")["attention_mask"].tolist() == [[1]]


def test_F051_long_prompts_are_cut_when_asked_and_only_then(folder: Path) -> None:
    tokenizer = T5Tokenizer.from_pretrained(folder, model_max_length=512)
    words = "ab " * 5000
    assert len(tokenizer(words, verbose=False)["input_ids"]) == 15001
    for pieces in (510, 511, 512, 513):
        text = "a" * (pieces - 1)  # and the mark in front
        assert len(tokenizer(text, truncation=True)["input_ids"]) == min(pieces + 1, 512)
        assert tokenizer(text, truncation=True)["input_ids"][-1] == tokenizer.eos_token_id


def test_F051_a_million_characters_take_seconds_at_most(tokenizer: T5Tokenizer) -> None:
    started = time.perf_counter()
    assert len(tokenizer("abcd " * 200_000)["input_ids"]) == 1_000_001
    assert time.perf_counter() - started < 20


@pytest.mark.parametrize("prompt", ["a\0b", "\0", "a\ud800b", "\udfff", "\ud83e\ud83e"])
def test_F052_nul_and_half_a_surrogate_pair_are_refused_with_their_place(prompt: str, tokenizer: T5Tokenizer) -> None:
    with pytest.raises(TokenizerError, match="at position"):
        tokenizer(prompt)
    with pytest.raises(TokenizerError, match=r"text\[1\] holds"):
        tokenizer(["fine", prompt])
    with pytest.raises(TokenizerError) as caught:
        tokenizer.tokenize(prompt)
    str(caught.value).encode("utf-8")
    assert "\0" not in str(caught.value)


@pytest.mark.parametrize(
    "prompt",
    ["🥁", "\u202eabc", "👩\u200d🎤", "\x1b[31m", "\r\n", "caf\u00e9", "cafe\u0301", "\ue000", "?!...", "\ufeff"],
)
def test_F052_unusual_text_is_tokenised(prompt: str, tokenizer: T5Tokenizer) -> None:
    assert tokenizer(prompt)["input_ids"][-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("prompt", ["</s>", "<pad>", "<extra_id_2>", "a</s>b", "x <pad> y </s>"])
def test_F053_special_tokens_in_a_prompt_can_be_plain_text(prompt: str, tokenizer: T5Tokenizer) -> None:
    ids = tokenizer(prompt, split_special_tokens=True)["input_ids"]
    assert not set(tokenizer.all_special_ids) & set(ids[:-1])
    assert tokenizer.decode(ids, skip_special_tokens=True) == prompt


def test_F053_chat_tokens_in_a_prompt_can_be_plain_text() -> None:
    backend = Tokenizer(BPE({letter: index for index, letter in enumerate(LETTERS)}, []))
    marks = ["<sound>", "<|im_end|>", "<|endoftext|>"]
    tokenizer = PreTrainedTokenizer(tokenizer_object=backend, extra_special_tokens=marks, split_special_tokens=True)
    for mark in marks:
        ids = tokenizer(f"a{mark}b")["input_ids"]
        assert tokenizer.convert_tokens_to_ids(mark) not in ids
        assert tokenizer.convert_tokens_to_ids(mark) in tokenizer(f"a{mark}b", split_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("prompt", ["<script>alert(1)</script>", "{{7*7}}", "${x}", "%s%s%n", "../../x"])
def test_F054_markup_in_a_prompt_stays_what_it_is(prompt: str, tokenizer: T5Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode(prompt), skip_special_tokens=True) == prompt


def test_F055_texts_of_very_different_length_keep_their_tokens(tokenizer: T5Tokenizer) -> None:
    texts = ["a", "ab " * 2000, ""]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    for ids, mask, text in zip(batch["input_ids"], batch["attention_mask"], texts, strict=True):
        assert ids[mask.bool()].tolist() == tokenizer(text)["input_ids"]


def test_F055_different_numbers_of_texts_are_named(tokenizer: T5Tokenizer) -> None:
    with pytest.raises(ParamError, match="text has 2 items and text_pair has 1"):
        tokenizer(["a", "b"], ["c"])
