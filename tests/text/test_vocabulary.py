"""Tokens, ids and texts again: conversions, special tokens as attributes, decoding; against the reference."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antiphon.errors import ParamError, ParamTypeError
from antiphon.text.t5_tokenizer import T5Tokenizer


@pytest.fixture
def own(json_folder: Path) -> T5Tokenizer:
    """A tokenizer this test may change."""
    return T5Tokenizer.from_pretrained(json_folder)


def test_special_tokens_answer_as_in_the_reference(t5: T5Tokenizer, reference: Any) -> None:
    for name in ("eos", "pad", "unk", "bos", "sep", "cls", "mask"):
        assert getattr(t5, f"{name}_token") == getattr(reference, f"{name}_token")
        assert getattr(t5, f"{name}_token_id") == getattr(reference, f"{name}_token_id")
    assert t5.special_tokens_map == reference.special_tokens_map
    assert t5.all_special_tokens == reference.all_special_tokens
    assert t5.all_special_ids == reference.all_special_ids
    assert t5.additional_special_tokens == reference.extra_special_tokens
    assert t5.additional_special_tokens_ids == reference.extra_special_tokens_ids
    assert (t5.vocab_size, len(t5)) == (reference.vocab_size, len(reference))
    assert t5.get_added_vocab() == reference.get_added_vocab()


def test_an_attribute_that_does_not_exist_is_an_attribute_error(t5: T5Tokenizer) -> None:
    with pytest.raises(AttributeError, match="audio_token"):
        t5.audio_token  # noqa: B018


def test_special_tokens_can_be_set_by_name_and_by_id(own: T5Tokenizer) -> None:
    own.bos_token = "<extra_id_0>"
    assert own.bos_token_id == own.convert_tokens_to_ids("<extra_id_0>")
    own.bos_token_id = own.pad_token_id
    assert own.bos_token == "<pad>"
    own.bos_token = None
    assert own.bos_token_id is None
    own.additional_special_tokens = ["<pad>"]
    assert own.extra_special_tokens == ["<pad>"]
    with pytest.raises(ParamTypeError, match="eos_token=5"):
        own.eos_token = 5


def test_a_models_own_tokens_answer_as_attributes(json_folder: Path) -> None:
    tokenizer = T5Tokenizer.from_pretrained(json_folder, audio_token="<sound>")
    assert tokenizer.audio_token == "<sound>"
    assert tokenizer.audio_token_id == len(tokenizer) - 1
    assert tokenizer("a <sound>")["input_ids"][-2] == tokenizer.audio_token_id


def test_tokens_can_be_added(own: T5Tokenizer, json_folder: Path, reference: Any) -> None:
    theirs = type(reference).from_pretrained(json_folder)
    for tokenizer in (own, theirs):
        assert tokenizer.add_tokens(["<beat>", "<drop>"]) == 2
        assert tokenizer.add_tokens("<beat>") == 0
        assert tokenizer.add_special_tokens({"mask_token": "<mask>"}) == 1
    assert own.get_vocab() == theirs.get_vocab()
    assert own("a <beat> <mask>")["input_ids"] == theirs("a <beat> <mask>")["input_ids"]
    assert own.mask_token_id == theirs.mask_token_id
    plain = own("a <beat> <mask>", split_special_tokens=True)["input_ids"]
    assert own.mask_token_id not in plain
    assert own.convert_tokens_to_ids("<beat>") in plain
    with pytest.raises(ParamTypeError, match="Did you mean 'mask_token'"):
        own.add_special_tokens({"mask_tokn": "<mask>"})


def test_conversions_are_those_of_the_reference(t5: T5Tokenizer, reference: Any) -> None:
    tokens = ["\u2581drum", "</s>", "never seen", "<extra_id_5>"]
    ids = reference.convert_tokens_to_ids(tokens)
    assert t5.convert_tokens_to_ids(tokens) == ids
    assert t5.convert_tokens_to_ids("never seen") == t5.unk_token_id
    assert t5.convert_ids_to_tokens(ids) == reference.convert_ids_to_tokens(ids)
    assert t5.convert_ids_to_tokens(ids, skip_special_tokens=True) == reference.convert_ids_to_tokens(
        ids, skip_special_tokens=True
    )
    assert t5.convert_ids_to_tokens(1) == "</s>"
    assert t5.convert_ids_to_tokens(torch.tensor([1, 10**6])) == ["</s>", None]
    assert t5.convert_tokens_to_string(["\u2581a", "b"]) == reference.convert_tokens_to_string(["\u2581a", "b"])
    assert t5.get_special_tokens_mask([5, 1, 0]) == [0, 1, 1]
    for bad in (None, 5, b"x"):
        with pytest.raises(ParamTypeError):
            t5.convert_tokens_to_ids(bad)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("clean", [True, False, None])
def test_decoding_is_that_of_the_reference(skip: bool, clean: bool | None, t5: T5Tokenizer, reference: Any) -> None:
    texts = ["80s pop , with joy ! don 't", "", "x </s> y", "it 's , it 're"]
    batch = t5(texts, padding=True, return_tensors="pt")["input_ids"]
    for ids in (batch, batch.numpy(), batch.tolist()):
        expected = reference.batch_decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=clean)
        assert t5.batch_decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=clean) == expected
        assert t5.decode(ids[0], skip_special_tokens=skip) == reference.decode(ids[0], skip_special_tokens=skip)
    for ids in ([], [1, 2, 10**6], 5, [[]], np.int64(5), torch.tensor(5)):
        assert t5.batch_decode(ids, skip) == reference.batch_decode(ids, skip)


@pytest.mark.parametrize("ids", [[-100], [[1], [-1]], [1.5], ["a"], None, "abc", [[1], 2], torch.tensor([0.5]), [True]])
def test_what_is_no_id_cannot_be_decoded(ids: Any, t5: T5Tokenizer) -> None:
    with pytest.raises((ParamError, ParamTypeError)):
        t5.decode(ids)


def test_copies_and_pickles_are_the_same_tokenizer(own: T5Tokenizer) -> None:
    own("a </s>", split_special_tokens=True)
    for again in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        assert again("a </s> drums")["input_ids"] == own("a </s> drums")["input_ids"]
        assert again("a </s>", split_special_tokens=True) == own("a </s>", split_special_tokens=True)
        again.add_tokens(["<beat>"])
        assert len(again) == len(own) + 1


def test_a_tokenizer_is_true_and_shows_what_it_is(t5: T5Tokenizer) -> None:
    assert t5
    assert "T5Tokenizer(" in repr(t5)
    assert f"total={len(t5)}" in repr(t5)
