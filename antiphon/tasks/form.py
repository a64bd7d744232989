"""A form that a model fills in: what is printed in it is given, and only the slots are the model's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from torch import Tensor

from antiphon.generation.config import GenerationConfig
from antiphon.nn.kv_cache import KVCache
from antiphon.tasks.answering import Answering, Asked
from antiphon.tasks.slots import ChoiceSlot, NumberSlot, Slot, StringSlot
from antiphon.tasks.token_texts import TokenTexts


class Form:
    """An answer of which the model decides the values only, always taking the likeliest that is allowed.

    What is printed passes through the model with the next slot, at once.

    Args:
        model: that answers. asked: the conversation. texts: of its vocabulary. tokenizer, sound_token: of the prompts.
        cache: holds the beginning of the conversation already.

    Attributes:
        cache: of the conversation and of what was written, but for what is to pass with the next slot.
    """

    def __init__(
        self,
        model: Any,
        asked: Asked,
        *,
        texts: TokenTexts,
        tokenizer: Any,
        sound_token: int,
        cache: KVCache | None = None,
    ) -> None:
        self._model, self._texts, self._tokenizer, self._sound_token = model, texts, tokenizer, sound_token
        self._ids = list(asked.ids)
        self._start = len(self._ids)
        self._sounds = asked.sounds
        self.cache = KVCache() if cache is None else cache

    @property
    def text(self) -> str:
        """All that was written, by either."""
        text: str = self._tokenizer.decode(self.written)
        return text

    @property
    def written(self) -> list[int]:
        """The ids of it."""
        return self._ids[self._start :]

    def print(self, text: str) -> None:
        """Writes what is given."""
        self._ids += self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]

    def word(self, *, most_characters: int = 60) -> str:
        """Words, up to the quotation mark behind them, which is not written; the last one is not cut."""
        return self._string(most_characters)[0]

    def words(self, *, most: int, most_characters: int = 40) -> list[str]:
        """Several, as they stand in a list whose first quotation mark is written; the list's end is written too."""
        found: list[str] = []
        while True:
            text, ending = self._string(most_characters)
            found.append(text)
            behind = ending[1:].lstrip()
            self.print('"')
            if len(found) == most or behind.startswith("]"):
                break
            if not behind.startswith(",") and self.choice((",", "]")) == "]":
                return found
            self.print(', "' if behind.startswith(",") else ' "')
        self.print("]")
        return found

    def number(self, low: int, high: int, *, behind: str) -> int:
        """A number from ``low`` to ``high``, up to one of the characters ``behind`` it, which is not written."""
        slot = NumberSlot(self._texts, low, high, behind=behind)
        self._fill(slot)
        return int(slot.text)

    def choice(self, options: Sequence[str]) -> str:
        """One of several texts, of which none begins with another."""
        slot = ChoiceSlot(self._texts, options)
        self._fill(slot)
        return slot.text

    def _string(self, most_characters: int) -> tuple[str, str]:
        """What was written, and what the token spells that closed it."""
        slot = StringSlot(self._texts, most_characters=most_characters)
        ending = self._fill(slot)
        return slot.text, ending

    def _fill(self, slot: Slot) -> str:
        """Fills a slot; gives what the token spells that closed it, if one did."""

        def masked(ids: Tensor, scores: Tensor) -> Tensor:
            return scores.masked_fill(~slot.allowed(), float("-inf"))

        answering = Answering(
            self._model,
            [Asked(self._ids, self._sounds)],
            GenerationConfig(do_sample=False, max_new_tokens=slot.most_tokens),
            sound_token=self._sound_token,
            cache=self.cache,
            processors=[masked],
        )
        self._sounds = ()  # they are among the cached columns from now on
        with closing(answering.steps()) as steps:
            for (token,) in steps:
                if slot.closes(token):
                    return self._texts.texts[token]
                self._ids.append(token)
                if slot.take(token):
                    break
        return ""
