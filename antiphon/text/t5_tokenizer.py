"""The tokenizer of T5 and Flan-T5, and so of MusicGen's prompts."""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from antiphon.errors import ParamError, ParamTypeError, TokenizerError
from antiphon.text.backend import (
    WORD_START,
    checked_vocabulary,
    foreign_errors,
    scored_vocabulary,
    sentencepiece_added_tokens,
)
from antiphon.text.sentencepiece_model import Algorithm, SentencePieceModel
from antiphon.text.special_tokens import Token, as_tokens
from antiphon.text.tokenizer import PreTrainedTokenizer
from antiphon.text.tokenizer_folder import TokenizerFolder

logger = logging.getLogger(__name__)

# the layout of every T5 vocabulary: <pad> 0, </s> 1, <unk> 2
UNK_ID = 2


class T5Tokenizer(PreTrainedTokenizer):
    """Texts to T5 ids: words split at white space, cut into Unigram pieces, ``</s>`` behind.

    Args:
        vocab: (piece, score) pairs, ``<pad>``, ``</s>`` and ``<unk>`` first; ``None`` for a vocabulary of only those, a
            word mark and the extra ids.
        eos_token, unk_token, pad_token: the named tokens.
        extra_ids: how many ``<extra_id_i>`` tokens there are. Read from a SentencePiece file they stand in reverse
            order at the end of the vocabulary; with ``vocab`` they keep the ids it gives them, or come behind it.
        additional_special_tokens: further special tokens; if some are ``<extra_id_i>``, then ``extra_ids`` of them.
        vocab_file: instead of ``vocab``, the path of a ``spiece.model``.
        tokenizer_object: instead of ``vocab``, a compiled tokenizer, used as it is but for the ``</s>`` behind.
        charsmap: SentencePiece's compiled normalisation table.
        kwargs: as in ``PreTrainedTokenizer``.

    Whatever pre-tokeniser a ``tokenizer.json`` states is replaced by T5's own, so no pattern from a file is run.

    Raises:
        TokenizerError, ParamError, ParamTypeError.

    Source: transformers 5.23's ``T5Tokenizer``; sentinel order of google-research/text-to-text-transfer-transformer.
    """

    saved_class_name = "T5Tokenizer"

    def __init__(
        self,
        vocab: Sequence[tuple[str, float]] | None = None,
        eos_token: str | AddedToken = "</s>",
        unk_token: str | AddedToken = "<unk>",
        pad_token: str | AddedToken = "<pad>",
        *,
        extra_ids: int = 100,
        additional_special_tokens: Sequence[str | AddedToken] | None = None,
        vocab_file: str | os.PathLike[str] | None = None,
        tokenizer_object: Tokenizer | None = None,
        charsmap: bytes | None = None,
        sentencepiece_model: SentencePieceModel | None = None,
        **kwargs: Any,
    ) -> None:
        extra_ids = _count(extra_ids)
        if vocab is not None and (isinstance(vocab, (str, bytes, Mapping)) or not isinstance(vocab, Sequence)):
            raise ParamTypeError(f"vocab is of type {type(vocab).__name__}", expected="a list of (piece, score) pairs")
        if vocab_file is not None and vocab is None and tokenizer_object is None:
            sentencepiece_model = SentencePieceModel.read(Path(vocab_file))
            read = _from_sentencepiece(sentencepiece_model, extra_ids, str(vocab_file))
            vocab, charsmap = read["vocab"], read["charsmap"]
            additional_special_tokens = additional_special_tokens or read["additional_special_tokens"]
        if tokenizer_object is None and kwargs.get("tokenizer_file") is None:
            named = (str(pad_token), str(eos_token), str(unk_token))
            pieces = list(vocab) if vocab is not None else _smallest_vocabulary(named, extra_ids)
            tokenizer_object = _backend(pieces, charsmap, unk_token=str(unk_token))
        super().__init__(
            tokenizer_object=tokenizer_object,
            eos_token=eos_token,
            unk_token=unk_token,
            pad_token=pad_token,
            additional_special_tokens=_with_sentinels(additional_special_tokens, extra_ids),
            sentencepiece_model=sentencepiece_model,
            extra_ids=extra_ids,
            **kwargs,
        )
        self._surround(bos=False, eos=True, second=0)

    @classmethod
    def _vocabulary_of(cls, found: TokenizerFolder, settings: Mapping[str, Any]) -> dict[str, Any]:
        if found.tokenizer is not None:
            return {
                "vocab": scored_vocabulary(found.tokenizer, found.tokenizer_source),
                "charsmap": _charsmap(found.tokenizer.get("normalizer"), found.tokenizer_source),
            }
        if found.sentencepiece is None:
            raise TokenizerError(f"{found.source} holds no vocabulary")
        read = _from_sentencepiece(found.sentencepiece, _count(settings.get("extra_ids", 100)), found.tokenizer_source)
        if settings.get("extra_special_tokens") or settings.get("additional_special_tokens"):
            del read["additional_special_tokens"]
        return read

    def get_sentinel_tokens(self) -> list[str]:
        """The ``<extra_id_i>`` tokens."""
        return [token for token in self.additional_special_tokens if re.fullmatch(r"<extra_id_\d+>", token)]

    def get_sentinel_token_ids(self) -> list[int]:
        """The ids of the ``<extra_id_i>`` tokens."""
        return [self._id_of(token) for token in self.get_sentinel_tokens()]


def _backend(pieces: Sequence[Any], charsmap: bytes | None, *, unk_token: str) -> Tokenizer:
    vocabulary = checked_vocabulary(pieces, "the T5 vocabulary")
    if len(vocabulary) <= UNK_ID:
        raise TokenizerError(
            f"the T5 vocabulary has {len(vocabulary)} pieces", expected="<pad>, </s>, <unk> and pieces behind them"
        )
    if vocabulary[UNK_ID][0] != unk_token:
        logger.warning(
            "piece %d of the T5 vocabulary is %r, not the unknown token %r; unknown text will become it all the same",
            UNK_ID,
            vocabulary[UNK_ID][0],
            unk_token,
        )
    with foreign_errors("the T5 vocabulary cannot be used"):
        backend = Tokenizer(Unigram(vocabulary, unk_id=UNK_ID, byte_fallback=False))
        if charsmap:
            backend.normalizer = normalizers.Precompiled(charsmap)
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.WhitespaceSplit(),
                pre_tokenizers.Metaspace(replacement=WORD_START, prepend_scheme="always", split=True),
            ]
        )
        backend.decoder = decoders.Metaspace(replacement=WORD_START, prepend_scheme="always", split=True)
    return backend


def _smallest_vocabulary(named: tuple[str, ...], extra_ids: int) -> list[tuple[str, float]]:
    return [*((token, 0.0) for token in named), (WORD_START, -2.0), *((token, 0.0) for token in _sentinels(extra_ids))]


def _sentinels(count: int) -> list[str]:
    """The sentinels in the order of their ids: the last one first."""
    return [f"<extra_id_{index}>" for index in reversed(range(count))]


def _with_sentinels(given: Sequence[str | AddedToken] | None, extra_ids: int) -> list[Token]:
    sentinels: list[Token] = list(reversed(_sentinels(extra_ids)))
    if given is None:
        return sentinels
    tokens = as_tokens(given, name="additional_special_tokens")
    found = sum("<extra_id_" in str(token) for token in tokens)
    if not found:
        return tokens + sentinels
    if extra_ids not in (0, found):
        raise ParamError(
            f"extra_ids={extra_ids} and {found} <extra_id_...> among additional_special_tokens",
            expected="as many of them as extra_ids says, or none",
        )
    return tokens


def _from_sentencepiece(model: SentencePieceModel, extra_ids: int, source: str) -> dict[str, Any]:
    """The constructor's keywords for a ``spiece.model``: its pieces with the sentinels behind, the last one first."""
    if model.algorithm is not Algorithm.UNIGRAM:
        raise TokenizerError(f"{source} is a model of type {model.algorithm.name}", expected="a Unigram model")
    pieces = [(piece.text, piece.score) for piece in model.pieces]
    whole = list(sentencepiece_added_tokens(model))
    return {
        "vocab": pieces + [(token, 0.0) for token in _sentinels(extra_ids)],
        "charsmap": model.charsmap or None,
        "additional_special_tokens": _with_sentinels(whole, extra_ids),
        "sentencepiece_model": model,
    }


def _charsmap(normalizer: Any, source: str) -> bytes | None:
    """SentencePiece's normalisation table out of the normaliser of a tokenizer.json."""
    steps = normalizer.get("normalizers", [normalizer]) if isinstance(normalizer, Mapping) else []
    for step in steps:
        if isinstance(step, Mapping) and step.get("type") == "Precompiled" and step.get("precompiled_charsmap"):
            try:
                return base64.b64decode(step["precompiled_charsmap"], validate=True)
            except (TypeError, ValueError, binascii.Error) as error:
                raise TokenizerError(f"{source} has an unreadable normalisation table: {error}") from error
    return None


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParamTypeError(f"extra_ids={value!r}", expected="an integer")
    if not 0 <= value <= 100_000:
        raise ParamError(f"extra_ids={value}", expected="an integer from 0 to 100000")
    return value
