"""T5's tokenizer against the reference, from every kind of file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.errors import ParamError, ParamTypeError, TokenizerError
from antiphon.text.t5_tokenizer import T5Tokenizer

VOCAB = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0), ("\u2581a", -2.5), ("a", -3.0), ("b", -3.5)]
LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
WORDS = st.sampled_from(
    ["</s>", "<pad>", "<unk>", "<extra_id_7>", "drums", " ", "  ", "\u2581", "caf\u00e9", "e\u0301"]
)
TEXTS = st.one_of(st.text(LETTERS, max_size=60), st.lists(st.one_of(WORDS, st.text(LETTERS, max_size=4))).map("".join))


def test_a_prompt_gets_the_ids_of_the_reference(t5: T5Tokenizer, reference: Any, prompts: list[str]) -> None:
    for prompt in prompts:
        assert dict(t5(prompt)) == dict(reference(prompt))
        assert t5.tokenize(prompt) == reference.tokenize(prompt)
        assert t5.encode(prompt, add_special_tokens=False) == reference.encode(prompt, add_special_tokens=False)
        ids = t5.encode(prompt)
        for skip in (True, False):
            assert t5.decode(ids, skip_special_tokens=skip) == reference.decode(ids, skip_special_tokens=skip)


@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_any_text_gets_the_ids_of_the_reference(text: str, t5: T5Tokenizer, reference: Any) -> None:
    assert t5(text)["input_ids"] == reference(text)["input_ids"]


def test_spiece_model_alone_gives_the_ids_of_the_reference(
    spiece_folder: Path, reference: Any, prompts: list[str]
) -> None:
    ours = T5Tokenizer.from_pretrained(spiece_folder)
    assert ours.get_vocab() == reference.get_vocab()
    for prompt in prompts:
        assert ours(prompt)["input_ids"] == reference(prompt)["input_ids"]


def test_spiece_model_as_vocab_file_is_the_same_tokenizer(
    spiece_folder: Path, t5: T5Tokenizer, prompts: list[str]
) -> None:
    direct = T5Tokenizer(vocab_file=spiece_folder / "spiece.model")
    assert direct.get_vocab() == t5.get_vocab()
    assert [direct(prompt)["input_ids"] for prompt in prompts] == [t5(prompt)["input_ids"] for prompt in prompts]


def test_extra_ids_stand_in_reverse_order_at_the_end_of_a_spiece_vocabulary(spiece_folder: Path) -> None:
    tokenizer = T5Tokenizer.from_pretrained(spiece_folder)
    assert len(tokenizer.get_sentinel_tokens()) == 100
    assert tokenizer.convert_tokens_to_ids("<extra_id_0>") == len(tokenizer) - 1
    assert tokenizer.convert_tokens_to_ids("<extra_id_99>") == len(tokenizer) - 100
    assert tokenizer.convert_ids_to_tokens(tokenizer.get_sentinel_token_ids()) == tokenizer.get_sentinel_tokens()


def test_fewer_extra_ids_can_be_asked_for(spiece_folder: Path) -> None:
    theirs = transformers.T5Tokenizer.from_pretrained(spiece_folder, extra_ids=5)
    assert T5Tokenizer.from_pretrained(spiece_folder, extra_ids=5).get_vocab() == theirs.get_vocab()


@pytest.mark.parametrize("extra_ids", [0, 3])
def test_a_vocabulary_given_as_pairs_is_that_of_the_reference(extra_ids: int) -> None:
    ours = T5Tokenizer(vocab=VOCAB, extra_ids=extra_ids)
    theirs = transformers.T5Tokenizer(vocab=VOCAB, extra_ids=extra_ids)
    assert ours.get_vocab() == theirs.get_vocab()
    for text in ["", "a b ab", "  a  b ", "a </s> b", "日", "<extra_id_1>a"]:
        assert dict(ours(text)) == dict(theirs(text))
        assert dict(ours(text, "b a")) == dict(theirs(text, "b a"))


def test_a_tokenizer_without_a_vocabulary_is_that_of_the_reference() -> None:
    ours, theirs = T5Tokenizer(), transformers.T5Tokenizer()
    assert ours.get_vocab() == theirs.get_vocab()
    assert len(ours) == 104
    assert ours("a </s>")["input_ids"] == theirs("a </s>")["input_ids"]


def test_additional_special_tokens_come_before_the_extra_ids() -> None:
    given_tokens = ["<beat>"]
    ours = T5Tokenizer(vocab=VOCAB, extra_ids=2, additional_special_tokens=given_tokens)
    theirs = transformers.T5Tokenizer(vocab=VOCAB, extra_ids=2, additional_special_tokens=["<beat>"])
    assert given_tokens == ["<beat>"]
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours("a<beat>")["input_ids"] == theirs("a<beat>")["input_ids"]
    assert ours.all_special_tokens == theirs.all_special_tokens
    assert ours.all_special_ids == theirs.all_special_ids


def test_a_wrong_number_of_extra_ids_is_refused() -> None:
    with pytest.raises(ParamError, match="extra_ids=5 and 1"):
        T5Tokenizer(vocab=VOCAB, extra_ids=5, additional_special_tokens=["<extra_id_0>"])


def test_text_of_special_tokens_can_be_plain_text(t5: T5Tokenizer, reference: Any) -> None:
    special = set(t5.all_special_ids) - {t5.unk_token_id}
    for text in ["</s>", "<pad>", "a </s><pad> <extra_id_4> b"]:
        ids = t5(text, split_special_tokens=True)["input_ids"]
        assert not special & set(ids[:-1])
        assert ids[-1] == t5.eos_token_id
        # the reference takes the piece of the vocabulary that is spelled like the token
        assert special & set(reference(text, split_special_tokens=True)["input_ids"][:-1])
        # and without being asked we read it as the reference does
        assert t5(text)["input_ids"] == reference(text)["input_ids"]


def test_plain_text_of_special_tokens_can_be_the_tokenizers_own_setting(json_folder: Path, t5: T5Tokenizer) -> None:
    plain = T5Tokenizer.from_pretrained(json_folder, split_special_tokens=True)
    assert plain("a </s>")["input_ids"] == t5("a </s>", split_special_tokens=True)["input_ids"]
    assert plain("a </s>", split_special_tokens=False)["input_ids"] == t5("a </s>")["input_ids"]
    assert plain("80s pop")["input_ids"] == t5("80s pop")["input_ids"]
    assert plain.tokenize("</s>") == t5.tokenize("</s>", split_special_tokens=True)


def test_the_reference_opens_what_we_write(tmp_path: Path, t5: T5Tokenizer, reference: Any, prompts: list[str]) -> None:
    written = t5.save_pretrained(tmp_path)
    assert [Path(name).name for name in written] == [
        "tokenizer_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
    ]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert type(theirs) is type(reference)
    assert theirs.get_vocab() == reference.get_vocab()
    assert theirs.all_special_tokens == reference.all_special_tokens
    assert theirs.model_max_length == reference.model_max_length
    for prompt in prompts:
        assert theirs(prompt)["input_ids"] == t5(prompt)["input_ids"]


def test_we_open_what_we_write(tmp_path: Path, t5: T5Tokenizer) -> None:
    t5.save_pretrained(tmp_path / "one")
    again = T5Tokenizer.from_pretrained(tmp_path / "one")
    again.save_pretrained(tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert again.all_special_tokens == t5.all_special_tokens


def test_spiece_model_is_written_again_byte_for_byte(tmp_path: Path, spiece_folder: Path, spiece: bytes) -> None:
    T5Tokenizer.from_pretrained(spiece_folder).save_pretrained(tmp_path)
    assert (tmp_path / "spiece.model").read_bytes() == spiece
    (tmp_path / "tokenizer.json").unlink()
    again = T5Tokenizer.from_pretrained(tmp_path)
    assert again.get_vocab() == T5Tokenizer.from_pretrained(spiece_folder).get_vocab()
    assert transformers.AutoTokenizer.from_pretrained(tmp_path).get_vocab() == again.get_vocab()


def test_files_of_transformers_4_are_read(
    tmp_path: Path, json_folder: Path, reference: Any, prompts: list[str]
) -> None:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    added = {str(i): {"content": t} | flags for t, i in reference.get_added_vocab().items()}
    sentinels = [f"<extra_id_{i}>" for i in range(100)]
    config = {
        "added_tokens_decoder": added,
        "additional_special_tokens": sentinels,
        "clean_up_tokenization_spaces": True,
        "eos_token": "</s>",
        "extra_ids": 100,
        "legacy": True,
        "model_max_length": 512,
        "pad_token": "<pad>",
        "sp_model_kwargs": {},
        "tokenizer_class": "T5Tokenizer",
        "unk_token": "<unk>",
    }
    (tmp_path / "tokenizer.json").write_bytes((json_folder / "tokenizer.json").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    eos = {"content": "</s>"} | {key: value for key, value in flags.items() if key != "special"}
    (tmp_path / "special_tokens_map.json").write_text(
        json.dumps({"additional_special_tokens": sentinels, "eos_token": eos, "pad_token": "<pad>"})
    )
    ours, theirs = T5Tokenizer.from_pretrained(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert ours.model_max_length == theirs.model_max_length == 512
    assert ours.clean_up_tokenization_spaces is True
    assert ours.init_kwargs["legacy"] is True
    assert ours.all_special_tokens == theirs.all_special_tokens
    for prompt in prompts:
        assert ours(prompt, truncation=True)["input_ids"] == theirs(prompt, truncation=True)["input_ids"]
    assert ours.decode(ours.encode("joy ! 's")) == theirs.decode(theirs.encode("joy ! 's"))
    ours.save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "tokenizer_config.json").read_text())
    assert saved["legacy"] is True
    assert saved["sp_model_kwargs"] == {}
    assert saved["model_max_length"] == 512


def test_special_tokens_map_alone_is_read(tmp_path: Path, json_folder: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((json_folder / "tokenizer.json").read_bytes())
    eos = {"content": "</s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"eos_token": eos, "pad_token": "<pad>"}))
    ours, theirs = T5Tokenizer.from_pretrained(tmp_path), transformers.T5Tokenizer.from_pretrained(tmp_path)
    assert ours.special_tokens_map == theirs.special_tokens_map
    assert ours("a </s> b")["input_ids"] == theirs("a </s> b")["input_ids"]


def test_changed_files_are_read_and_nothing_else(tmp_path: Path, json_folder: Path) -> None:
    for path in json_folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    config |= {"vocab_file": "/etc/hostname", "tokenizer_file": "../other.json", "self": 1, "vocab": [["x", 0]]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert T5Tokenizer.from_pretrained(tmp_path).get_vocab() == T5Tokenizer.from_pretrained(json_folder).get_vocab()


@pytest.mark.parametrize(
    ("vocab", "error"),
    [
        ([], TokenizerError),
        ([("<pad>", 0.0), ("</s>", 0.0)], TokenizerError),
        ([*VOCAB, ("a", -1.0)], TokenizerError),
        ([*VOCAB, ("c", float("nan"))], TokenizerError),
        ([*VOCAB, "c"], TokenizerError),
        ({"<pad>": 0}, ParamTypeError),
        ("spiece.model", ParamTypeError),
    ],
)
def test_an_unusable_vocabulary_is_refused(vocab: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        T5Tokenizer(vocab=vocab, extra_ids=0)


@pytest.mark.parametrize("extra_ids", [-1, 2.5, True, "100", 10**9])
def test_an_unusable_number_of_extra_ids_is_refused(extra_ids: Any) -> None:
    with pytest.raises((ParamError, ParamTypeError), match="extra_ids"):
        T5Tokenizer(vocab=VOCAB, extra_ids=extra_ids)


def test_a_vocabulary_of_another_model_is_noticed(tmp_path: Path, json_folder: Path) -> None:
    document = json.loads((json_folder / "tokenizer.json").read_text())
    del document["model"]["vocab"][50]
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(TokenizerError, match=r"gives '<extra_id_99>' the id"):
        T5Tokenizer.from_pretrained(tmp_path)


def test_a_tokenizer_with_more_tokens_than_the_model_is_noticed(t5: T5Tokenizer) -> None:
    t5.check_fits(len(t5))
    with pytest.raises(TokenizerError, match=r"tokens and the model"):
        t5.check_fits(len(t5) - 1)


def test_a_compiled_tokenizer_can_be_given(t5: T5Tokenizer) -> None:
    again = T5Tokenizer(tokenizer_object=t5.backend_tokenizer)
    assert again("drums </s>")["input_ids"] == t5("drums </s>")["input_ids"]
    assert again.get_vocab() == t5.get_vocab()
