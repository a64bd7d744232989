"""Moshi's tokenizer: from its SentencePiece file, and from the ``tokenizer.json`` of converted checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from antiphon.models.auto import AutoTokenizer
from antiphon.text.sentencepiece_model import SentencePieceModel
from antiphon.text.tokenizer import PreTrainedTokenizer

GOLDENS = Path(__file__).parents[2] / "oracles" / "goldens"
PUBLISHED = "tokenizer_spm_32k_3.model"
TEXTS = ["hello, how are you", "a caf\u00e9 by the sea", "  two  spaces ", "x", "", "line\nline", "\u4f60\u597d"]


@pytest.mark.parametrize("kind", ["moshi", "grouped"])
@pytest.mark.parametrize("text", TEXTS)
def test_ids_and_texts_are_those_of_sentencepiece(kind: str, text: str) -> None:
    file = GOLDENS / f"kyutai_{kind}" / PUBLISHED
    theirs, ours = sentencepiece.SentencePieceProcessor(str(file)), PreTrainedTokenizer.from_pretrained(file)
    ids = theirs.encode(text)
    assert ours(text)["input_ids"] == ids
    if theirs.unk_id() not in ids:
        assert ours.decode(ids) == theirs.decode(ids)


def test_a_folder_with_the_published_name_is_a_tokenizers_folder() -> None:
    tokenizer = AutoTokenizer.from_pretrained(GOLDENS / "kyutai_moshi")
    assert type(tokenizer) is PreTrainedTokenizer
    assert tokenizer("hello")["input_ids"][-1] not in (1, 2)  # nothing is put around a text


def as_converted(folder: Path) -> Path:
    """A ``tokenizer.json`` of the form that conversion scripts make of Moshi's SentencePiece file."""
    model = SentencePieceModel.read(GOLDENS / "kyutai_moshi" / PUBLISHED)
    backend = Tokenizer(Unigram([(p.text, p.score) for p in model.pieces], unk_id=0, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Replace(" ", "\u2581")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first", split=False)
    undo = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(undo)
    named = ["<unk>", "<s>", "</s>", "<pad>"]
    backend.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in named])
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    tokens = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), named, strict=True))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **tokens}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.mark.parametrize("text", ["hello, how are you", "a caf\u00e9 by the sea", "x"])
def test_a_converted_tokenizer_gives_the_same_ids(text: str, tmp_path: Path) -> None:
    converted = AutoTokenizer.from_pretrained(as_converted(tmp_path / "converted"))
    original = AutoTokenizer.from_pretrained(GOLDENS / "kyutai_moshi")
    assert converted(text)["input_ids"] == original(text)["input_ids"]
    assert converted.decode(converted(text)["input_ids"]) == text


@pytest.mark.row("R166")
def test_padding_between_words_is_single_ids(tmp_path: Path) -> None:
    text = "hello,<pad><unk>i am here"
    for place in (as_converted(tmp_path / "converted"), GOLDENS / "kyutai_moshi"):
        tokenizer = AutoTokenizer.from_pretrained(place)
        before, after = tokenizer("hello,")["input_ids"], tokenizer("i am here")["input_ids"]
        ids = tokenizer(text)["input_ids"]
        assert ids[: len(before) + 2] == [*before, 3, 0]
        assert ids.count(3) == ids.count(0) == 1
        assert tokenizer.decode(ids[len(before) + 2 :]) == "i am here" == tokenizer.decode(after)
        assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == "hello,iamhere"


@pytest.mark.row("R166")
def test_a_converted_tokenizer_gives_the_padded_text_back(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(as_converted(tmp_path / "converted"))
    text = "hello,<pad><unk>i am here"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_saved_tokenizer_brings_the_file_that_it_came_from(tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(GOLDENS / "kyutai_moshi").save_pretrained(tmp_path)
    assert (tmp_path / "spiece.model").read_bytes() == (GOLDENS / "kyutai_moshi" / PUBLISHED).read_bytes()
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is PreTrainedTokenizer
    assert (
        again("a caf\u00e9")["input_ids"]
        == AutoTokenizer.from_pretrained(GOLDENS / "kyutai_moshi")("a caf\u00e9")["input_ids"]
    )
