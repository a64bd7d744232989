"""Compiled tokenizers built from SentencePiece models, against the SentencePiece library itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from antiphon.errors import TokenizerError
from antiphon.text.backend import foreign_errors, plain_text_backend, read_backend, sentencepiece_backend
from antiphon.text.sentencepiece_model import SentencePieceModel

CONTROL = ("<s>", "</s>", "<pad>", "<unk>")


@pytest.fixture(scope="module")
def with_bytes(train_spiece: Callable[..., bytes]) -> bytes:
    return train_spiece(byte_fallback=True, vocab_size=400, pad_id=3)


@pytest.fixture(scope="module")
def both_ids(with_bytes: bytes) -> Callable[[str], tuple[list[int], list[int]]]:
    """The ids that our backend and the library give a text."""
    library = sentencepiece.SentencePieceProcessor(model_proto=with_bytes)
    backend = sentencepiece_backend(SentencePieceModel.from_bytes(with_bytes), "spiece.model")
    return lambda text: (backend.encode(text).ids, library.encode(text))


def test_ids_and_texts_are_those_of_sentencepiece(with_bytes: bytes, spiece: bytes, prompts: list[str]) -> None:
    for content in (with_bytes, spiece):
        library = sentencepiece.SentencePieceProcessor(model_proto=content)
        backend = sentencepiece_backend(SentencePieceModel.from_bytes(content), "spiece.model")
        for prompt in prompts:
            if any(token in prompt for token in CONTROL):
                continue  # there the tokens count, as everywhere in this package
            ids = backend.encode(prompt).ids
            assert ids == library.encode(prompt)
            if 2 not in ids:  # unknown pieces are shown differently
                assert backend.decode(ids) == library.decode(ids)


@settings(max_examples=150, deadline=None)
@given(text=st.text("ab drums\u00e9\ufb01\u65e5\U0001f941\u3000 ", max_size=30))
def test_any_text_gets_the_ids_of_sentencepiece(
    text: str, both_ids: Callable[[str], tuple[list[int], list[int]]]
) -> None:
    ours, theirs = both_ids(text)
    assert ours == theirs


def test_stacked_accents_are_the_known_difference(both_ids: Callable[[str], tuple[list[int], list[int]]]) -> None:
    one, two = both_ids("a\u0301"), both_ids("a\u0301\u0301")
    assert one[0] == one[1]
    # the tokenizers library, and so the reference, maps a letter with its marks as one and loses the second mark
    assert two[0] == one[0]
    assert len(two[1]) > len(two[0])


def test_a_bpe_model_is_refused_by_name(train_spiece: Callable[..., bytes]) -> None:
    model = SentencePieceModel.from_bytes(train_spiece(model_type="bpe"))
    with pytest.raises(TokenizerError, match=r"tokenizer\.model is a SentencePiece model of type BPE"):
        sentencepiece_backend(model, "tokenizer.model")


def test_a_plain_copy_leaves_the_original_as_it_was(spiece: bytes) -> None:
    backend = sentencepiece_backend(SentencePieceModel.from_bytes(spiece), "spiece.model")
    before = backend.to_str()
    plain = plain_text_backend(backend, ["</s>"])
    assert 1 in backend.encode("a </s>").ids
    assert 1 not in plain.encode("a </s>").ids
    assert plain.encode("drums").ids == backend.encode("drums").ids
    assert backend.to_str() == before


def test_a_plain_copy_of_another_kind_of_model_ignores_added_tokens() -> None:
    backend = Tokenizer(WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    backend.add_special_tokens(["<s>"])
    assert backend.encode("<s>").ids == [2]
    assert plain_text_backend(backend, []).encode("<s>").ids == [0]


def test_keyboard_interrupts_are_not_taken_for_foreign_errors() -> None:
    with pytest.raises(KeyboardInterrupt), foreign_errors("x"):
        raise KeyboardInterrupt


def test_a_panic_of_the_library_becomes_our_error() -> None:
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(TokenizerError, match="the file is bad: out of range"), foreign_errors("the file is bad"):
        raise panic("out of range")


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"version": "1.0"}', "\x00", "[" * 100_000, "{" * 10])
def test_what_is_no_tokenizer_is_refused_by_name(text: str) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        read_backend(text, "tokenizer.json")
