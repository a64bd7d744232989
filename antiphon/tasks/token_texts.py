"""What each token of a vocabulary spells, and which may stand in a text that is written under rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ConfigError

_CUT = "\ufffd"
_NEEDED = '0123456789,{}[]":'


class TokenTexts:
    """The tokens of a byte-level vocabulary by what they spell.

    Args:
        tokenizer: of the vocabulary. size: how many tokens the model chooses among. device: of the masks.

    Raises:
        ConfigError: a vocabulary that cannot spell JSON.
    """

    def __init__(self, tokenizer: Any, size: int, device: torch.device | str = "cpu") -> None:
        known = min(size, len(tokenizer))
        spelt = tokenizer.batch_decode([[token] for token in range(known)], skip_special_tokens=True)
        # a token that ends within a character spells nothing that can be looked at
        self.texts: list[str] = ["" if _CUT in text else text for text in spelt] + [""] * (size - known)
        self.device = torch.device(device)
        self._by_text: dict[str, list[int]] = {}
        for token, text in enumerate(self.texts):
            if text:
                self._by_text.setdefault(text, []).append(token)
        missing = [character for character in _NEEDED if character not in self._by_text]
        if missing:
            raise ConfigError(f"the vocabulary has no tokens for {missing}", expected="one for each byte")
        self.plain = self._mask(token for token, text in enumerate(self.texts) if is_plain(text))
        self._starting: dict[str, Tensor] = {}

    def starting(self, character: str) -> Tensor:
        """(V,) bool: the tokens that begin with a character."""
        if character not in self._starting:
            mask = self._mask(token for token, text in enumerate(self.texts) if text.startswith(character))
            self._starting[character] = mask
        return self._starting[character]

    def spelling(self, texts: Iterable[str]) -> Tensor:
        """(V,) bool: the tokens that spell one of these."""
        return self._mask(token for text in texts for token in self._by_text.get(text, ()))

    def _mask(self, tokens: Iterable[int]) -> Tensor:
        mask = torch.zeros(len(self.texts), dtype=torch.bool)
        mask[torch.tensor(list(tokens), dtype=torch.int64)] = True
        return mask.to(self.device)


def is_plain(text: str) -> bool:
    """Whether a text may stand between quotation marks as it is."""
    return bool(text) and text.isprintable() and '"' not in text and "\\" not in text


def beginnings(texts: Sequence[str], so_far: str) -> set[str]:
    """What may be written next, in one piece, on the way from ``so_far`` to one of the texts."""
    left = [text[len(so_far) :] for text in texts if text.startswith(so_far)]
    return {rest[:length] for rest in left for length in range(1, len(rest) + 1)}
