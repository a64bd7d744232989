"""The call of a tokenizer: lengths, batches, arrays and arguments, against the reference."""

from __future__ import annotations

import itertools
import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antiphon.batch import BatchEncoding
from antiphon.errors import AntiphonError, ParamError, ParamTypeError, TokenizerError
from antiphon.text.t5_tokenizer import T5Tokenizer

BATCH = ["80s pop track with bassy drums and synth", "", "grunge song"]


def plain(encoding: Any) -> dict[str, Any]:
    return {name: value.tolist() if hasattr(value, "tolist") else value for name, value in encoding.items()}


@pytest.mark.parametrize(
    ("padding", "truncation", "max_length", "multiple", "side"),
    [
        case
        for case in itertools.product(
            [False, True, "longest", "max_length", "do_not_pad"],
            [None, False, True, "longest_first", "only_first"],
            [None, 1, 8, 64],
            [None, 8],
            [None, "left"],
        )
        if not (case[2] == 1 and case[3])  # both refuse these, tested below
    ],
)
def test_lengths_are_those_of_the_reference(
    padding: Any, truncation: Any, max_length: Any, multiple: Any, side: Any, t5: T5Tokenizer, reference: Any
) -> None:
    arguments = {
        "padding": padding,
        "truncation": truncation,
        "max_length": max_length,
        "pad_to_multiple_of": multiple,
        "padding_side": side,
    }
    expected = reference(BATCH, verbose=False, **arguments)
    assert dict(t5(BATCH, **arguments)) == dict(expected)
    assert dict(t5(BATCH[0], **arguments)) == dict(reference(BATCH[0], verbose=False, **arguments))


@pytest.mark.parametrize("limit", [16, 512])
@pytest.mark.parametrize("words", [1, 4, 5, 6, 510, 511, 512, 513, 600])
def test_a_stated_limit_cuts_like_the_reference(limit: int, words: int, json_folder: Path, reference: Any) -> None:
    ours = T5Tokenizer.from_pretrained(json_folder, model_max_length=limit)
    theirs = type(reference).from_pretrained(json_folder, model_max_length=limit)
    text = "drums " * words
    for arguments in ({"truncation": True}, {"padding": "max_length"}, {"padding": "max_length", "truncation": True}):
        expected = theirs(text, verbose=False, **arguments)
        assert dict(ours(text, verbose=False, **arguments)) == dict(expected)
        assert len(ours(text, truncation=True)["input_ids"]) <= limit


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_sides_of_the_tokenizer_are_used(side: str, json_folder: Path, reference: Any) -> None:
    arguments = {"padding_side": side, "truncation_side": side}
    ours = T5Tokenizer.from_pretrained(json_folder, **arguments)
    theirs = type(reference).from_pretrained(json_folder, **arguments)
    length = {"padding": True, "truncation": True, "max_length": 6}
    assert dict(ours(BATCH, **length)) == dict(theirs(BATCH, **length))


def test_everything_that_can_be_returned_is_that_of_the_reference(t5: T5Tokenizer, reference: Any) -> None:
    arguments: dict[str, Any] = {
        "return_token_type_ids": True,
        "return_special_tokens_mask": True,
        "return_offsets_mapping": True,
        "return_length": True,
        "padding": True,
    }
    pairs = ["a slow song", "drums", "x"]
    assert dict(t5(BATCH, pairs, **arguments)) == dict(reference(BATCH, pairs, **arguments))
    assert list(t5(BATCH, **arguments)) == list(reference(BATCH, **arguments))
    assert dict(t5("drums", **arguments)) == dict(reference("drums", **arguments))
    assert "attention_mask" not in t5("drums", return_attention_mask=False)


def test_overflowing_rows_are_those_of_the_reference(t5: T5Tokenizer, reference: Any) -> None:
    arguments: dict[str, Any] = {
        "truncation": True,
        "max_length": 8,
        "stride": 2,
        "padding": True,
        "return_overflowing_tokens": True,
    }
    assert dict(t5(BATCH, **arguments)) == dict(reference(BATCH, **arguments))
    assert dict(t5(BATCH[0], **arguments)) == dict(reference(BATCH[0], **arguments))


def test_pairs_and_words_are_those_of_the_reference(t5: T5Tokenizer, reference: Any) -> None:
    assert dict(t5("drums", "synth")) == dict(reference("drums", "synth"))
    assert dict(t5("drums", "")) == dict(reference("drums", ""))
    assert dict(t5([("drums", "synth"), ("a", "b")])) == dict(reference([("drums", "synth"), ("a", "b")]))
    for words in (["80s", "pop track"], [["80s", "pop"], ["grunge"]]):
        theirs = reference(words, is_split_into_words=True)
        assert dict(t5(words, is_split_into_words=True)) == dict(theirs)
    cut = {"truncation": "longest_first", "max_length": 12}
    assert dict(t5(BATCH[0], BATCH[0], **cut)) == dict(reference(BATCH[0], BATCH[0], **cut))


def test_one_text_gives_lists_or_a_batch_of_one(t5: T5Tokenizer) -> None:
    single = t5("grunge song")
    assert isinstance(single, BatchEncoding)
    assert list(single) == ["input_ids", "attention_mask"]
    assert isinstance(single["input_ids"][0], int)
    tensors = t5("grunge song", return_tensors="pt")
    assert tensors.input_ids.shape == (1, len(single["input_ids"]))
    assert tensors.input_ids.dtype == tensors.attention_mask.dtype == torch.int64
    assert t5("grunge song", return_tensors="np")["input_ids"].dtype == np.int64
    assert t5.encode("grunge song", return_tensors="pt").tolist() == [single["input_ids"]]


def test_rows_without_any_token_are_still_integers(t5: T5Tokenizer, reference: Any) -> None:
    for kind in ("pt", "np"):
        ours = t5("", add_special_tokens=False, return_tensors=kind)["input_ids"]
        theirs = reference("", add_special_tokens=False, return_tensors=kind)["input_ids"]
        assert ours.shape == theirs.shape == (1, 0)
        assert ours.dtype == theirs.dtype


def test_padding_a_row_leaves_its_tokens_as_they_were_alone(t5: T5Tokenizer) -> None:
    batch = t5(BATCH, padding=True, return_tensors="pt")
    for row, mask, text in zip(batch["input_ids"], batch["attention_mask"], BATCH, strict=True):
        assert row[mask.bool()].tolist() == t5(text)["input_ids"]
        assert set(row[~mask.bool()].tolist()) <= {t5.pad_token_id}


def test_rows_of_different_length_cannot_be_arrays(t5: T5Tokenizer) -> None:
    for kind in ("pt", "np"):
        with pytest.raises(ParamError, match="Pass padding=True"):
            t5(BATCH, return_tensors=kind)


def test_an_unknown_argument_names_the_nearest_one(t5: T5Tokenizer) -> None:
    with pytest.raises(ParamTypeError, match="Did you mean 'padding'"):
        t5("drums", pading=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"padding": "longes"},
        {"padding": 3},
        {"truncation": "yes"},
        {"max_length": -1},
        {"max_length": 2.5},
        {"max_length": "8"},
        {"max_length": 4, "stride": 9},
        {"padding": True, "pad_to_multiple_of": 0},
        {"padding_side": "middle"},
        {"padding": "max_length", "truncation": True, "max_length": 9, "pad_to_multiple_of": 8},
        {"return_tensors": "tf"},
    ],
    ids=str,
)
def test_unusable_arguments_are_refused(arguments: dict[str, Any], t5: T5Tokenizer) -> None:
    before = t5("drums")["input_ids"]
    with pytest.raises(AntiphonError):
        t5("drums and bass", **arguments)
    assert t5("drums")["input_ids"] == before


def test_padding_without_a_pad_token_is_refused(json_folder: Path) -> None:
    tokenizer = T5Tokenizer.from_pretrained(json_folder)
    tokenizer.pad_token = None
    with pytest.raises(ParamError, match="no pad_token"):
        tokenizer(BATCH, padding=True)


def test_a_text_longer_than_the_model_takes_is_logged_once(json_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = T5Tokenizer.from_pretrained(json_folder, model_max_length=4)
    with caplog.at_level(logging.WARNING):
        tokenizer("a")
        tokenizer("drums and bass and synth", truncation=True, max_length=4)
        tokenizer("drums and bass and synth", verbose=False)
        assert not caplog.records
        tokenizer("drums and bass and synth")
        tokenizer("drums and bass and synth")
    assert len(caplog.records) == 1
    assert "truncation=True" in caplog.text


def test_many_threads_can_use_one_tokenizer(t5: T5Tokenizer) -> None:
    lengths: dict[int, set[int]] = {length: set() for length in range(2, 8)}
    failures: list[AntiphonError] = []

    def work(length: int) -> None:
        try:
            for _ in range(40):
                lengths[length].add(len(t5(BATCH[0], truncation=True, max_length=length)["input_ids"]))
                t5("a </s>", split_special_tokens=length % 2 == 0)
        except AntiphonError as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(length,)) for length in lengths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    # a thread that died of anything else has left its set incomplete
    assert lengths == {length: {length} for length in lengths}


@pytest.mark.parametrize("kind", [None, "pt", "np"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_pad_is_that_of_the_reference(kind: str | None, side: str, t5: T5Tokenizer, reference: Any) -> None:
    rows = [{"input_ids": [5, 6, 7], "attention_mask": [1, 1, 1]}, {"input_ids": [8], "attention_mask": [1]}]
    columns = {"input_ids": [[5, 6, 7], [8]], "token_type_ids": [[0, 0, 1], [1]], "special_tokens_mask": [[0] * 3, [0]]}
    for given in (rows, columns, {"input_ids": [5, 6, 7]}):
        for arguments in ({}, {"padding": "max_length", "max_length": 6}, {"pad_to_multiple_of": 4}, {"padding": True}):
            settings: dict[str, Any] = {"padding_side": side, "return_tensors": kind} | arguments
            theirs = reference.pad([dict(row) for row in rows] if given is rows else dict(given), **settings)
            assert plain(t5.pad(given, **settings)) == plain(theirs)
    assert rows[1] == {"input_ids": [8], "attention_mask": [1]}


def test_pad_gives_back_the_kind_of_arrays_it_got(t5: T5Tokenizer) -> None:
    rows = [{"input_ids": torch.tensor([5, 6])}, {"input_ids": torch.tensor([7])}]
    padded = t5.pad(rows)
    assert isinstance(padded["input_ids"], torch.Tensor)
    assert padded["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert isinstance(t5.pad({"input_ids": np.array([[5, 6]])})["input_ids"], np.ndarray)


@pytest.mark.parametrize("given", [{"ids": [1]}, 5, [1, 2], None, {"input_ids": [[1], [2]], "attention_mask": [[1]]}])
def test_pad_refuses_what_was_never_encoded(given: Any, t5: T5Tokenizer) -> None:
    with pytest.raises(ParamError):
        t5.pad(given)


def test_tokenize_takes_one_text(t5: T5Tokenizer, reference: Any) -> None:
    assert t5.tokenize("drums", "synth", add_special_tokens=True) == reference.tokenize(
        "drums", "synth", add_special_tokens=True
    )
    with pytest.raises(ParamTypeError, match="Call tokenize for each text"):
        t5.tokenize(["drums"])  # type: ignore[arg-type]


def test_a_batch_and_pairs_of_different_size_are_refused(t5: T5Tokenizer) -> None:
    with pytest.raises(ParamError, match="3 items and text_pair has 1"):
        t5(BATCH, ["a"])
    with pytest.raises(ParamTypeError, match="text is a list"):
        t5(BATCH, "a")
    with pytest.raises(TokenizerError, match="text_pair"):
        t5("a", "\0")
