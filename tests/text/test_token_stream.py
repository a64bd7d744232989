"""Text from byte-level tokens: whole characters only, and in the end all of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.text.token_stream import TokenStream


class _Bytes:
    """A vocabulary of the 256 bytes and one special token, 256."""

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool = False) -> str:
        kept = [token for token in token_ids if token < 256 or not skip_special_tokens]
        return bytes(kept).decode("utf-8", "replace")


def test_a_character_comes_when_its_last_byte_does() -> None:
    stream = TokenStream(_Bytes())
    assert [stream.push(token) for token in "aé♯".encode()] == ["a", "", "é", "", "", "♯"]
    assert stream.flush() == ""


def test_what_is_no_character_is_told_at_the_end() -> None:
    stream = TokenStream(_Bytes())
    assert [stream.push(token) for token in (0xC3, 256)] == ["", ""]
    assert stream.flush() == "\ufffd"
    assert stream.flush() == ""


@given(st.lists(st.integers(0, 256), max_size=40))
def test_the_pieces_together_are_the_text_of_all_tokens(tokens: list[int]) -> None:
    stream = TokenStream(_Bytes())
    pieces = [stream.push(token) for token in tokens]
    assert "".join(pieces) + stream.flush() == _Bytes().decode(tokens, skip_special_tokens=True)
