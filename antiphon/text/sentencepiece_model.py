"""A SentencePiece file (``spiece.model``, ``tokenizer.model``) as plain values: pieces, scores, normalisation."""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from antiphon.errors import TokenizerError

MAX_MODEL_BYTES = 64 * 1024 * 1024


class PieceKind(enum.IntEnum):
    """What a piece stands for; the numbers are those of the file format."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Algorithm(enum.IntEnum):
    """How a text is cut into pieces; the numbers are those of the file format."""

    UNIGRAM = 1
    BPE = 2
    WORD = 3
    CHAR = 4


@dataclass(frozen=True)
class Piece:
    """One row of the vocabulary; its id is its position."""

    text: str
    score: float
    kind: PieceKind


@dataclass(frozen=True)
class SentencePieceModel:
    """What a SentencePiece file says.

    ``charsmap`` is the compiled normalisation table (empty when the model normalises nothing). The ids are -1 where the
    model has no such token. ``content`` is the file itself, byte for byte, so that it can be written again.

    Source: the message definitions of SentencePiece 0.2 (``sentencepiece_model.proto``).
    """

    pieces: tuple[Piece, ...]
    algorithm: Algorithm
    byte_fallback: bool
    charsmap: bytes
    add_dummy_prefix: bool
    remove_extra_whitespaces: bool
    unk_id: int
    bos_id: int
    eos_id: int
    pad_id: int
    content: bytes

    @classmethod
    def read(cls, path: Path) -> SentencePieceModel:
        """The model in ``path``.

        Raises:
            TokenizerError: no such file, over 64 MB, or not a SentencePiece model; the message names the file.
        """
        try:
            size_bytes = path.stat().st_size
            if size_bytes > MAX_MODEL_BYTES:
                raise TokenizerError(
                    f"{path} has {size_bytes} bytes",
                    expected=f"a SentencePiece model of at most {MAX_MODEL_BYTES} bytes",
                )
            content = path.read_bytes()
        except OSError as error:
            raise TokenizerError(f"{path} cannot be read: {error.strerror or error}") from error
        return cls.from_bytes(content, source=str(path))

    @classmethod
    def from_bytes(cls, content: bytes, *, source: str = "SentencePiece model") -> SentencePieceModel:
        """The model in ``content``; ``source`` is what messages call it. Raises ``TokenizerError`` when damaged."""
        import sentencepiece

        damaged = TokenizerError(
            f"{source} is not a readable SentencePiece model ({len(content)} bytes)",
            expected="a complete spiece.model or tokenizer.model",
            fix="Download the file again",
        )
        try:
            # an empty buffer would be taken for "no model given" and fail only at the first use
            if not content:
                raise damaged
            sentencepiece.SentencePieceProcessor(model_proto=content)
            return cls._parse(content)
        except TokenizerError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError, struct.error) as error:
            raise damaged from error

    @classmethod
    def _parse(cls, content: bytes) -> SentencePieceModel:
        trainer: dict[int, int | bytes] = {}
        normalizer: dict[int, int | bytes] = {}
        pieces: list[Piece] = []
        for field, value in _fields(content):
            if field == 1:
                pieces.append(_piece(_as_bytes(value)))
            elif field == 2:
                trainer.update(_fields(_as_bytes(value)))
            elif field == 3:
                normalizer.update(_fields(_as_bytes(value)))
        return cls(
            pieces=tuple(pieces),
            algorithm=Algorithm(_as_int(trainer.get(3, Algorithm.UNIGRAM))),
            byte_fallback=bool(trainer.get(35, 0)),
            charsmap=_as_bytes(normalizer.get(2, b"")),
            add_dummy_prefix=bool(normalizer.get(3, 1)),
            remove_extra_whitespaces=bool(normalizer.get(4, 1)),
            unk_id=_as_int(trainer.get(40, 0)),
            bos_id=_as_int(trainer.get(41, 1)),
            eos_id=_as_int(trainer.get(42, 2)),
            pad_id=_as_int(trainer.get(43, -1)),
            content=content,
        )

    def token(self, token_id: int) -> str | None:
        """The piece with this id, ``None`` for an id the model does not have (-1 means "no such token")."""
        return self.pieces[token_id].text if 0 <= token_id < len(self.pieces) else None


def _piece(message: bytes) -> Piece:
    values = dict(_fields(message))
    score = values.get(2, b"\0\0\0\0")
    return Piece(
        text=_as_bytes(values.get(1, b"")).decode("utf-8"),
        score=float(struct.unpack("<f", _as_bytes(score))[0]),
        kind=PieceKind(_as_int(values.get(3, PieceKind.NORMAL))),
    )


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of one protocol buffer message: varints as int, everything else as bytes.

    Read here because neither sentencepiece nor tokenizers shows the normalisation table, and protobuf would be one more
    dependency for two fields.
    """
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        wire = key & 7
        if wire == 0:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if wire == 2:
            size, position = _varint(message, position)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if position + size > len(message):
            raise ValueError("a field ends behind the message")
        yield key >> 3, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise ValueError("a number has more than ten bytes")


def _as_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("a number where bytes were expected")
    return value


def _as_int(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise TypeError("bytes where a number was expected")
    # negative numbers (-1 for "none") are written as 64-bit two's complement
    return value - (1 << 64) if value >= 1 << 63 else value
