"""Text as it comes: no character is cut, nothing is taken back."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.text.piece_stream import PieceStream
from antiphon.text.tokenizer import PreTrainedTokenizer

FILE = Path(__file__).parents[2] / "oracles" / "goldens" / "kyutai_moshi" / "tokenizer_spm_32k_3.model"
TOKENIZER = PreTrainedTokenizer.from_pretrained(FILE)
BYTE = TOKENIZER.convert_tokens_to_ids("<0x00>")
PAD, END_PAD = 3, 0


def of_bytes(content: bytes) -> list[int]:
    return [BYTE + byte for byte in content]


def shown(ids: list[int]) -> list[str]:
    stream = PieceStream(TOKENIZER)
    return [*(stream.push(token) for token in ids), stream.flush()]


@settings(max_examples=30, deadline=None)
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12))
def test_F081_all_pieces_together_are_the_text(text: str) -> None:
    ids = TOKENIZER(text)["input_ids"]
    padded = [one for token in ids for one in (PAD, token, END_PAD)]
    pieces = shown(padded)
    assert "".join(pieces).lstrip(" ") == TOKENIZER.decode(ids).lstrip(" ")
    assert "\ufffd" not in "".join(pieces) or "\ufffd" in text


def test_F081_bytes_are_held_until_their_character_is_whole() -> None:
    assert shown(of_bytes("é€😀".encode())) == ["", "é", "", "", "€", "", "", "", "😀", ""]


def test_F081_bytes_that_make_no_character_are_replaced_when_that_is_sure() -> None:
    assert shown(of_bytes(b"\xe2\x82")) == ["", "", "\ufffd"]
    assert shown([*of_bytes(b"\xe2"), TOKENIZER.convert_tokens_to_ids("i"), *of_bytes(b"\xff")]) == [
        "",
        "\ufffdi",
        "\ufffd",
        "",
    ]


def test_words_begin_with_their_space_and_silence_says_nothing() -> None:
    assert shown([PAD, TOKENIZER.convert_tokens_to_ids("\u2581"), END_PAD, 1, 2]) == ["", " ", "", "", "", ""]
    assert PieceStream(TOKENIZER, quiet=(BYTE,)).push(BYTE) == ""
    assert PieceStream(TOKENIZER).push(10**6) == ""


def test_after_a_flush_nothing_is_left() -> None:
    stream = PieceStream(TOKENIZER)
    stream.push(BYTE + 0xE2)
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""
    assert stream.push(BYTE + ord("a")) == "a"
