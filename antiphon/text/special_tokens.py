"""The named tokens of a tokenizer (``eos_token``, ``pad_token``, ...) and its further special tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tokenizers import AddedToken

from antiphon.errors import ParamTypeError

STANDARD_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FURTHER_NAMES = ("additional_special_tokens", "extra_special_tokens")

Token = str | AddedToken


def as_token(value: Any, *, name: str) -> Token:
    """``value`` as a token: a string, an ``AddedToken``, or the dict that files hold for one."""
    if isinstance(value, (str, AddedToken)):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("content"), str):
        flags = {key: bool(value[key]) for key in ("single_word", "lstrip", "rstrip", "normalized") if key in value}
        return AddedToken(value["content"], special=bool(value.get("special", True)), **flags)
    raise ParamTypeError(f"{name}={value!r}", expected="a string, an AddedToken or a dict with 'content'")


def as_tokens(values: Any, *, name: str) -> list[Token]:
    """``values`` as a list of tokens; ``None`` is the empty list."""
    if values is None:
        return []
    if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
        raise ParamTypeError(f"{name}={values!r}", expected="a list of tokens")
    return [as_token(value, name=f"{name}[{index}]") for index, value in enumerate(values)]


def split_name(attribute: str) -> tuple[str, bool]:
    """``"eos_token_id"`` as ``("eos_token", True)``: the token an attribute speaks of, and whether by its id."""
    for suffix in ("_ids", "_id"):
        if attribute.endswith(suffix):
            return attribute.removesuffix(suffix), True
    return attribute, False


class SpecialTokens:
    """The named tokens, in a fixed order, then the further ones.

    Names beyond the seven standard ones belong to a model (``audio_token``); they are kept and answer the same way.
    """

    def __init__(self, named: Mapping[str, Any], further: Any = None) -> None:
        self.named: dict[str, Token | None] = dict.fromkeys(STANDARD_NAMES)
        for name, value in named.items():
            self.named[name] = None if value is None else as_token(value, name=name)
        if isinstance(further, Mapping):  # a dict of named tokens is allowed where a list is usual
            self.named.update({name: as_token(value, name=name) for name, value in further.items()})
            further = None
        self.further = as_tokens(further, name="additional_special_tokens")

    def __iter__(self) -> Iterator[Token]:
        yield from (token for token in self.named.values() if token is not None)
        yield from self.further

    def get(self, name: str) -> str | None:
        """The token called ``name`` as a string, ``None`` when it is not set."""
        token = self.named.get(name)
        return None if token is None else str(token)

    def set(self, name: str, value: Any) -> None:
        """Sets or, with ``None``, clears a named token or the list of further tokens."""
        if name in FURTHER_NAMES:
            self.further = as_tokens(value, name=name)
        else:
            self.named[name] = None if value is None else as_token(value, name=name)

    def as_map(self) -> dict[str, str]:
        """The named tokens that are set, as strings."""
        return {name: str(token) for name, token in self.named.items() if token is not None}

    def strings(self) -> list[str]:
        """Every special token once, named ones first."""
        return list(dict.fromkeys(str(token) for token in self))

    def knows(self, name: str) -> bool:
        """Whether ``name`` is one of the names this tokenizer answers to."""
        return name in self.named or name in FURTHER_NAMES

    def take_flags(self, known: Mapping[str, AddedToken]) -> None:
        """Replaces tokens by the equally spelled ones of ``known``, which carry the flags of the file."""
        for name, token in self.named.items():
            if token is not None:
                self.named[name] = known.get(str(token), token)
        self.further = [known.get(str(token), token) for token in self.further]
