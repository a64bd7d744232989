"""SentencePiece files: what is read from them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece

from antiphon.errors import TokenizerError
from antiphon.text.sentencepiece_model import MAX_MODEL_BYTES, Algorithm, PieceKind, SentencePieceModel


def test_pieces_and_scores_are_those_of_the_library(spiece: bytes) -> None:
    model = SentencePieceModel.from_bytes(spiece)
    library = sentencepiece.SentencePieceProcessor(model_proto=spiece)
    assert len(model.pieces) == library.get_piece_size()
    for index, piece in enumerate(model.pieces):
        assert piece.text == library.id_to_piece(index)
        assert piece.score == library.get_score(index)
        assert (piece.kind is PieceKind.CONTROL) == library.is_control(index)
        assert (piece.kind is PieceKind.UNKNOWN) == library.is_unknown(index)
        assert (piece.kind is PieceKind.BYTE) == library.is_byte(index)


def test_the_settings_of_a_model_are_read(spiece: bytes, train_spiece: Callable[..., bytes]) -> None:
    model = SentencePieceModel.from_bytes(spiece)
    assert (model.pad_id, model.eos_id, model.unk_id, model.bos_id) == (0, 1, 2, -1)
    assert (model.token(1), model.token(-1), model.token(10**6)) == ("</s>", None, None)
    assert model.algorithm is Algorithm.UNIGRAM
    assert model.add_dummy_prefix
    assert model.remove_extra_whitespaces
    assert len(model.charsmap) > 1000
    assert model.content == spiece
    other = SentencePieceModel.from_bytes(
        train_spiece(
            model_type="bpe",
            byte_fallback=True,
            vocab_size=400,
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            normalization_rule_name="identity",
            user_defined_symbols=["<beat>"],
        )
    )
    assert other.algorithm is Algorithm.BPE
    assert other.byte_fallback
    assert not other.add_dummy_prefix
    assert not other.remove_extra_whitespaces
    assert other.charsmap == b""
    assert [piece.text for piece in other.pieces if piece.kind is PieceKind.USER_DEFINED] == ["<beat>"]
    assert sum(piece.kind is PieceKind.BYTE for piece in other.pieces) == 256


@pytest.mark.parametrize("length", [0, 1, 2, 7, 100, 3000, -1])
def test_a_cut_file_is_refused_by_name(length: int, spiece: bytes, tmp_path: Path) -> None:
    path = tmp_path / "spiece.model"
    path.write_bytes(spiece[:length])
    with pytest.raises(TokenizerError, match=r"spiece\.model"):
        SentencePieceModel.read(path)


@pytest.mark.parametrize("content", [b"garbage", b"\xff" * 64, b"{}", b"\x0a\x7f", b"\x80" * 20])
def test_garbage_is_refused(content: bytes) -> None:
    with pytest.raises(TokenizerError, match="Download the file again"):
        SentencePieceModel.from_bytes(content)


def test_a_missing_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"none\.model cannot be read"):
        SentencePieceModel.read(tmp_path / "none.model")
    with (tmp_path / "huge.model").open("wb") as file:
        file.truncate(MAX_MODEL_BYTES + 1)
    with pytest.raises(TokenizerError, match=rf"huge\.model has {MAX_MODEL_BYTES + 1} bytes"):
        SentencePieceModel.read(tmp_path / "huge.model")
