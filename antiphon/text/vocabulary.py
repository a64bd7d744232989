"""The vocabulary side of a tokenizer: tokens, ids, special tokens as attributes, and ids back to text."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer

from antiphon.errors import ParamError, ParamTypeError, TokenizerError, unknown_argument
from antiphon.text.backend import foreign_errors
from antiphon.text.special_tokens import FURTHER_NAMES, SpecialTokens, Token, as_token, as_tokens, split_name

# what English tokenisers put apart and a reader does not want apart, in the reference's order
CLEAN_UPS = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)
CLEAN_BPE_KEY = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"


class Vocabulary:
    """Tokens and ids of one compiled tokenizer, with its special tokens; ``PreTrainedTokenizer`` adds the texts.

    Every named token answers as an attribute (``eos_token``), with ``_id`` behind it as its id; both can be set.
    """

    _backend: Tokenizer
    _plain: Tokenizer | None
    _special: SpecialTokens
    _lock: threading.Lock
    init_kwargs: dict[str, Any]
    clean_up_tokenization_spaces: bool

    def __getattr__(self, name: str) -> Any:
        special = self.__dict__.get("_special")  # copy and pickle ask for attributes before there are any
        base, by_id = split_name(name)
        if special is None or not special.knows(base):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        value = [str(token) for token in special.further] if base in FURTHER_NAMES else special.get(base)
        return value if value is None or not by_id else self.convert_tokens_to_ids(value)

    def __setattr__(self, name: str, value: Any) -> None:
        special = self.__dict__.get("_special")
        base, by_id = split_name(name)
        if special is None or not special.knows(base):
            object.__setattr__(self, name, value)
            return
        if by_id and value is not None:
            value = self.convert_ids_to_tokens(value)
        special.set(base, value)
        self.__dict__["_plain"] = None

    def __getstate__(self) -> dict[str, Any]:
        # a lock cannot be copied, and the plain backend is made again when it is needed
        return {key: value for key, value in self.__dict__.items() if key not in ("_lock", "_plain")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock(), _plain=None)

    def __len__(self) -> int:
        """Entries of the vocabulary, added tokens included."""
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    def __bool__(self) -> bool:
        return True

    @property
    def vocab_size(self) -> int:
        """Entries of the vocabulary without the added tokens."""
        return int(self._backend.get_vocab_size(with_added_tokens=False))

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """The compiled tokenizer below this one."""
        return self._backend

    @property
    def special_tokens_map(self) -> dict[str, str]:
        """The named tokens that are set, as strings."""
        return self._special.as_map()

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once, the named ones first."""
        return self._special.strings()

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of ``all_special_tokens``."""
        return [self._id_of(token) for token in self.all_special_tokens]

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """The added tokens by id, with their flags."""
        return dict(self._backend.get_added_tokens_decoder())

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """The ids of the added tokens by their spelling."""
        return {token.content: token_id for token_id, token in sorted(self.added_tokens_decoder.items())}

    def get_added_vocab(self) -> dict[str, int]:
        """The ids of the added tokens by their spelling."""
        return self.added_tokens_encoder

    def get_vocab(self) -> dict[str, int]:
        """The whole vocabulary as ``{token: id}``, added tokens included."""
        return dict(self._backend.get_vocab(with_added_tokens=True))

    def check_fits(self, vocab_size: int) -> None:
        """Raises ``TokenizerError`` when this tokenizer has ids that a model of ``vocab_size`` rows does not know."""
        if len(self) > vocab_size:
            raise TokenizerError(
                f"the tokenizer has {len(self)} tokens and the model {vocab_size}",
                expected="a tokenizer with at most as many tokens as the model has embedding rows",
                fix="Take the tokenizer from the checkpoint of the model, or enlarge the model's embeddings",
            )

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """The id of one token, or the ids of a list; unknown tokens give ``unk_token_id`` (``None`` without one)."""
        if isinstance(tokens, str):
            return self._id_of(tokens)
        if isinstance(tokens, (bytes, Mapping)) or not isinstance(tokens, Iterable):
            raise ParamTypeError(f"tokens is of type {type(tokens).__name__}", expected="a string or a list of strings")
        return [self.convert_tokens_to_ids(token) for token in tokens]

    def _id_of(self, token: str) -> Any:
        found = self._backend.token_to_id(token)
        if found is not None:
            return found
        unk = self._special.get("unk_token")
        return None if unk is None else self._backend.token_to_id(unk)

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """The token of one id, or the tokens of a sequence; ``None`` for an id the vocabulary does not have."""
        ids = _plain_ids(ids)
        if isinstance(ids, int):
            return self._backend.id_to_token(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._backend.id_to_token(token_id) for token_id in ids if token_id not in skipped]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text that ``tokens`` spell."""
        decoder = self._backend.decoder
        return " ".join(tokens) if decoder is None else str(decoder.decode(tokens))

    def get_special_tokens_mask(self, token_ids: Any, already_has_special_tokens: bool = True) -> list[int]:
        """1 where ``token_ids`` holds a special token, 0 elsewhere."""
        if not already_has_special_tokens:
            raise ParamError(
                "already_has_special_tokens=False",
                expected="True",
                fix="Use tokenizer(text, return_special_tokens_mask=True)",
            )
        special = set(self.all_special_ids)
        return [int(token_id in special) for token_id in _plain_ids(token_ids)]

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Adds one token or a list to the vocabulary and returns how many were new. The model must be enlarged too."""
        tokens = [new_tokens] if isinstance(new_tokens, (str, AddedToken)) else as_tokens(new_tokens, name="new_tokens")
        with self._lock, foreign_errors("the tokens cannot be added"):
            self.__dict__["_plain"] = None
            add = self._backend.add_special_tokens if special_tokens else self._backend.add_tokens
            return int(add(tokens))

    def add_special_tokens(self, special_tokens_dict: Mapping[str, Any]) -> int:
        """Sets named or further special tokens, adds the new ones to the vocabulary, and returns how many those were.

        Further tokens given here replace the ones there were.
        """
        fresh: list[Token] = []
        for name, value in special_tokens_dict.items():
            if not self._special.knows(name):
                raise unknown_argument(name, [*self._special.named, *FURTHER_NAMES], where="add_special_tokens")
            self._special.set(name, value)
            fresh += as_tokens(value, name=name) if name in FURTHER_NAMES else [as_token(value, name=name)]
        return self.add_tokens(fresh, special_tokens=True)

    def decode(
        self, token_ids: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> Any:
        """The text of a sequence of ids, or the list of texts of a list of sequences.

        Args:
            token_ids: an int, a list, an array or a tensor (T,), or a batch of them (B, T).
            skip_special_tokens: whether to leave out special tokens.
            clean_up_tokenization_spaces: whether to remove spaces before punctuation; ``None`` for the tokenizer's own
                setting. It never happens to BPE tokenizers, whose spaces are the text's.

        Raises ``ParamTypeError`` or ``ParamError`` for what is no id.
        """
        ids = _plain_ids(token_ids)
        if isinstance(ids, list) and ids and isinstance(ids[0], list):
            return [self.decode(row, skip_special_tokens, clean_up_tokenization_spaces) for row in ids]
        ids = [ids] if isinstance(ids, int) else ids
        if any(token_id < 0 for token_id in ids):
            raise ParamError(
                f"token id {min(ids)}", expected="ids of at least 0", fix="Replace -100 by the pad id first"
            )
        with foreign_errors("the ids cannot be decoded"):
            text = str(self._backend.decode(ids, skip_special_tokens=skip_special_tokens))
        clean = (
            self.clean_up_tokenization_spaces if clean_up_tokenization_spaces is None else clean_up_tokenization_spaces
        )
        if clean and (type(self._backend.model).__name__ != "BPE" or self.init_kwargs.get(CLEAN_BPE_KEY)):
            for apart, together in CLEAN_UPS:
                text = text.replace(apart, together)
        return text

    def batch_decode(
        self, sequences: Any, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool | None = None
    ) -> list[str]:
        """The texts of a batch of sequences (B, T); always a list. Arguments as in ``decode``."""
        texts = self.decode(sequences, skip_special_tokens, clean_up_tokenization_spaces)
        return [texts] if isinstance(texts, str) else texts


def _plain_ids(ids: Any) -> Any:
    """``ids`` as int, list of int, or list of such lists."""
    if isinstance(ids, (torch.Tensor, np.ndarray)):
        ids = ids.tolist()
    if isinstance(ids, np.integer):
        return int(ids)
    if isinstance(ids, int) and not isinstance(ids, bool):
        return ids
    if isinstance(ids, (list, tuple)):
        rows = [_plain_ids(item) for item in ids]
        if len({isinstance(row, list) for row in rows}) > 1:
            raise ParamTypeError("ids mixes numbers and lists", expected="a sequence of ids or a batch of sequences")
        return rows
    raise ParamTypeError(f"ids holds a {type(ids).__name__}", expected="integers")
