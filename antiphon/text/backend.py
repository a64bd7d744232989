"""The compiled tokenizer below ours: read from ``tokenizer.json``, built from SentencePiece, or without specials."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers
from tokenizers.models import Unigram

from antiphon.errors import AntiphonError, TokenizerError
from antiphon.text.sentencepiece_model import Algorithm, PieceKind, SentencePieceModel

# SentencePiece's mark for the start of a word
WORD_START = "\u2581"


@contextmanager
def foreign_errors(what: str, *, fix: str | None = None) -> Iterator[None]:
    """Turns whatever the tokenizers library raises inside the block into one ``TokenizerError``.

    The library raises bare ``Exception`` for damaged files and, where its Rust code panics, a class that is not even an
    ``Exception``; a server must survive both.
    """
    try:
        yield
    except AntiphonError:
        raise
    except Exception as error:
        raise TokenizerError(f"{what}: {error}", fix=fix) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise TokenizerError(f"{what}: {error}", fix=fix) from error


def parse_json(text: str, source: str) -> dict[str, Any]:
    """The JSON object in ``text``; ``TokenizerError`` naming ``source`` for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{source} is not valid JSON: {error}", fix="Download the file again") from error
    if not isinstance(value, dict):
        raise TokenizerError(f"{source} holds a {type(value).__name__}", expected="a JSON object")
    return value


def read_backend(text: str, source: str) -> Tokenizer:
    """The tokenizer written in ``text`` (the content of a ``tokenizer.json``).

    Raises:
        TokenizerError: not such a file, or one whose added tokens do not have the ids it gives them; names ``source``.
    """
    with foreign_errors(f"{source} is not a usable tokenizer.json", fix="Download the file again"):
        backend = Tokenizer.from_str(text)
    if backend.get_vocab_size() == 0:
        raise TokenizerError(f"{source} holds an empty vocabulary", fix="Download the file again")
    check_token_ids(backend, added_tokens(parse_json(text, source), source).items(), source)
    return backend


def added_tokens(document: dict[str, Any], source: str) -> dict[int, AddedToken]:
    """The added tokens of a parsed ``tokenizer.json`` by id, with their flags."""
    found: dict[int, AddedToken] = {}
    rows = document.get("added_tokens", [])
    with foreign_errors(f"{source} has unusable added_tokens", fix="Download the file again"):
        for row in rows:
            found[int(row["id"])] = AddedToken(**{key: value for key, value in row.items() if key != "id"})
    return found


def check_token_ids(backend: Tokenizer, expected: Iterable[tuple[int, AddedToken]], source: str) -> None:
    """Raises ``TokenizerError`` where a token did not get the id its file gives it.

    The library numbers added tokens by itself; with a vocabulary that is too short or too long every later id shifts
    and the model hears other words than were written.
    """
    for token_id, token in expected:
        actual = backend.token_to_id(str(token))
        if actual != token_id:
            raise TokenizerError(
                f"{source} gives {str(token)!r} the id {token_id}, its vocabulary makes it {actual}",
                expected=f"a vocabulary that belongs to these tokens (it has {backend.get_vocab_size(False)} entries)",
                fix="Take all tokenizer files from the same checkpoint",
            )


def scored_vocabulary(document: dict[str, Any], source: str) -> list[tuple[str, float]]:
    """The pieces and scores of a parsed ``tokenizer.json`` whose model is Unigram; ``TokenizerError`` for another."""
    model = document.get("model")
    rows = model.get("vocab") if isinstance(model, dict) else None
    kind = model.get("type") if isinstance(model, dict) else None
    if not isinstance(rows, list) or kind not in (None, "Unigram"):
        raise TokenizerError(f"{source} holds a model of type {kind!r}", expected="a Unigram model with its vocabulary")
    return checked_vocabulary(rows, source)


def checked_vocabulary(rows: Iterable[Any], source: str) -> list[tuple[str, float]]:
    """``rows`` as (piece, score) pairs; ``TokenizerError`` for anything else, and for a piece that comes twice."""
    vocabulary: list[tuple[str, float]] = []
    for index, row in enumerate(rows):
        good = isinstance(row, (list, tuple)) and len(row) == 2 and isinstance(row[0], str)
        if not (good and isinstance(row[1], (int, float)) and math.isfinite(row[1])):
            raise TokenizerError(
                f"{source}, vocabulary entry {index} is {row!r}", expected="a piece and a finite score"
            )
        vocabulary.append((row[0], float(row[1])))
    if len({piece for piece, _ in vocabulary}) != len(vocabulary):
        raise TokenizerError(f"{source} has a vocabulary with the same piece twice", expected="each piece once")
    return vocabulary


def sentencepiece_backend(model: SentencePieceModel, source: str) -> Tokenizer:
    """A backend that cuts text as the SentencePiece library does with ``model``.

    Known difference, shared with the reference: of several accents on one letter the normaliser keeps the first only.
    Control and user-defined pieces become added tokens, as in the reference, so ``</s>`` in a text is the token unless
    special tokens are switched off. Raises ``TokenizerError`` for models that are not Unigram.

    Source: SentencePiece 0.2, normaliser and Unigram encoder.
    """
    if model.algorithm is not Algorithm.UNIGRAM:
        raise TokenizerError(
            f"{source} is a SentencePiece model of type {model.algorithm.name}",
            expected="a Unigram model",
            fix="Convert it to a tokenizer.json",
        )
    with foreign_errors(f"{source} is not a usable SentencePiece model"):
        vocabulary = [(piece.text, piece.score) for piece in model.pieces]
        backend = Tokenizer(Unigram(vocabulary, unk_id=model.unk_id, byte_fallback=model.byte_fallback))
        steps: list[Any] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
        if model.remove_extra_whitespaces:
            steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
        if model.add_dummy_prefix:
            steps.append(normalizers.Prepend(WORD_START))
        steps.append(normalizers.Replace(" ", WORD_START))
        backend.normalizer = normalizers.Sequence(steps)
        undo: list[Any] = [decoders.Replace(WORD_START, " ")]
        if model.byte_fallback:
            undo.append(decoders.ByteFallback())
        undo.append(decoders.Fuse())
        if model.add_dummy_prefix:
            undo.append(decoders.Strip(" ", 1, 0))
        backend.decoder = decoders.Sequence(undo)
        backend.add_tokens(sentencepiece_added_tokens(model))
    return backend


def sentencepiece_added_tokens(model: SentencePieceModel) -> list[AddedToken]:
    """The pieces of ``model`` that are whole tokens: control pieces are special, user-defined ones are not."""
    return [
        AddedToken(piece.text, normalized=False, special=piece.kind is PieceKind.CONTROL)
        for piece in model.pieces
        if piece.kind in (PieceKind.CONTROL, PieceKind.USER_DEFINED)
    ]


def plain_text_backend(backend: Tokenizer, special: Iterable[str]) -> Tokenizer:
    """A copy of ``backend`` that reads special tokens in a text as the characters they are written with.

    Switching the added tokens off is not enough for Unigram models: their vocabulary holds ``</s>`` and ``<pad>`` as
    ordinary pieces with the best score there is, so the model would still choose them (transformers 5.23 does, with
    ``split_special_tokens=True``). Those pieces get a spelling no text can have. The ids stay what they were.
    """
    with foreign_errors("the tokenizer cannot be copied"):
        document = json.loads(backend.to_str())
        contents = set(special)
        contents.update(token["content"] for token in document["added_tokens"] if token["special"])
        model = document["model"]
        if model.get("type") == "Unigram":
            for index, row in enumerate(model["vocab"]):
                if row[0] in contents:
                    row[0] = f"\0{index}"  # NUL is refused in texts
            document["added_tokens"] = [token for token in document["added_tokens"] if not token["special"]]
        plain = Tokenizer.from_str(json.dumps(document))
        plain.encode_special_tokens = True
    return plain
