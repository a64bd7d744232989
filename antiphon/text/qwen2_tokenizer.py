"""The tokenizer of Qwen2, and so of the models that listen and answer in its words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from antiphon.errors import ParamError, ParamTypeError, TokenizerError
from antiphon.text.backend import foreign_errors, parse_json, read_backend
from antiphon.text.tokenizer import PreTrainedTokenizer
from antiphon.text.tokenizer_folder import MAX_TOKENIZER_BYTES, TokenizerFolder, read_text

END_OF_TEXT = "<|endoftext|>"

# Qwen2's cut into words: contractions, letters with one mark before them, single digits, other marks, white space
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Qwen2Tokenizer(PreTrainedTokenizer):
    """Texts to Qwen2 ids: composed characters (NFC), cut into words, whose bytes are merged into pieces.

    Args:
        vocab: ``{piece: id}``, or the path of a ``vocab.json``; ``None`` for a vocabulary of one token.
        merges: pairs of pieces in the order they are merged, as strings ``"a b"`` or pairs, or the path of a
            ``merges.txt``.
        unk_token, bos_token, eos_token, pad_token: the named tokens; added where the vocabulary lacks them.
        add_prefix_space: put a space before each text.
        vocab_file, merges_file: other names for paths given as ``vocab`` and ``merges``.
        tokenizer_object: instead of them, a compiled tokenizer.
        kwargs: as in ``PreTrainedTokenizer``.

    Whatever pre-tokeniser a ``tokenizer.json`` states is replaced by Qwen2's own, so no pattern from a file is run.

    Raises:
        TokenizerError, ParamError, ParamTypeError.

    Source: transformers 5.23's ``Qwen2Tokenizer``.
    """

    saved_class_name = "Qwen2Tokenizer"

    def __init__(
        self,
        vocab: str | os.PathLike[str] | Mapping[str, int] | None = None,
        merges: str | os.PathLike[str] | Sequence[Any] | None = None,
        unk_token: str | AddedToken | None = END_OF_TEXT,
        bos_token: str | AddedToken | None = None,
        eos_token: str | AddedToken | None = END_OF_TEXT,
        pad_token: str | AddedToken | None = END_OF_TEXT,
        add_prefix_space: bool | None = None,
        *,
        vocab_file: str | os.PathLike[str] | None = None,
        merges_file: str | os.PathLike[str] | None = None,
        tokenizer_object: Tokenizer | None = None,
        tokenizer_file: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        if tokenizer_file is not None and tokenizer_object is None:
            tokenizer_object = read_backend(read_text(Path(tokenizer_file), MAX_TOKENIZER_BYTES), str(tokenizer_file))
        if tokenizer_object is None:
            vocab = vocab_file if vocab is None else vocab
            merges = merges_file if merges is None else merges
            tokenizer_object = _backend(_vocabulary(vocab), _merges(merges))
        elif type(tokenizer_object.model).__name__ != "BPE":
            raise TokenizerError(
                f"a tokenizer with a model of type {type(tokenizer_object.model).__name__}", expected="a BPE model"
            )
        super().__init__(
            tokenizer_object=tokenizer_object,
            unk_token=unk_token,
            bos_token=bos_token,
            eos_token=eos_token,
            pad_token=pad_token,
            add_prefix_space=add_prefix_space,
            **kwargs,
        )
        _cut_as_qwen2(self._backend, bool(add_prefix_space))

    @classmethod
    def _vocabulary_of(cls, found: TokenizerFolder, settings: Mapping[str, Any]) -> dict[str, Any]:
        if found.vocabulary is not None:
            return {"vocab": found.vocabulary, "merges": found.merges}
        return super()._vocabulary_of(found, settings)


def _backend(vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> Tokenizer:
    with foreign_errors("the Qwen2 vocabulary and its merges cannot be used"):
        return Tokenizer(BPE(vocab=dict(vocabulary), merges=list(merges)))


def _cut_as_qwen2(backend: Tokenizer, prefix_space: bool) -> None:
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=prefix_space, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()


def _vocabulary(given: Any) -> dict[str, int]:
    if given is None:
        return {END_OF_TEXT: 0}
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        return checked_ids(parse_json(read_text(path, MAX_TOKENIZER_BYTES), str(path)), str(path))
    if not isinstance(given, Mapping):
        raise ParamTypeError(f"vocab is of type {type(given).__name__}", expected="a dict {piece: id} or a path")
    return checked_ids(given, "vocab")


def checked_ids(vocabulary: Mapping[Any, Any], source: str) -> dict[str, int]:
    """``vocabulary`` as ``{piece: id}``; ``TokenizerError`` for other entries and for an id that comes twice."""
    for piece, number in vocabulary.items():
        good = isinstance(piece, str) and isinstance(number, int) and not isinstance(number, bool)
        if not (good and 0 <= number < 1 << 31):
            raise TokenizerError(f"{source} gives {piece!r} the id {number!r}", expected="a piece and its number")
    if len(set(vocabulary.values())) != len(vocabulary):
        raise TokenizerError(f"{source} gives the same id to two pieces", expected="each id once")
    return dict(vocabulary)


def _merges(given: Any) -> list[tuple[str, str]]:
    if given is None:
        return []
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        return _pairs(merge_lines(read_text(path, MAX_TOKENIZER_BYTES)), str(path))
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise ParamTypeError(f"merges is of type {type(given).__name__}", expected="a list of pairs or a path")
    return _pairs(given, "merges")


def merge_lines(text: str) -> list[str]:
    """The merges written in the text of a ``merges.txt``, one a line, without a first line that states a version."""
    return [line for line in text.split("\n") if line.strip() and not line.startswith("#version")]


def _pairs(merges: Iterable[Any], source: str) -> list[tuple[str, str]]:
    pairs = []
    for number, merge in enumerate(merges):
        parts = merge.rstrip("\r").split(" ") if isinstance(merge, str) else merge
        if not (isinstance(parts, (list, tuple)) and len(parts) == 2 and all(isinstance(part, str) for part in parts)):
            raise ParamError(f"{source}, merge {number} is {merge!r}", expected="two pieces")
        pairs.append((parts[0], parts[1]))
    return pairs


# the reference keeps this name for files that ask for it
Qwen2TokenizerFast = Qwen2Tokenizer
