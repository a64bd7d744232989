"""A conversation about sounds as the ids that a model reads, by the template of its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from antiphon.errors import ConfigError
from antiphon.tasks.answer import Turn


class PromptWriter:
    """Writes conversations for a model that listens.

    Args:
        processor: with a chat template, a tokenizer and the tokens that stand for sound.

    Attributes:
        sound_token: the id of a frame of sound.
    """

    def __init__(self, processor: Any) -> None:
        self._tokenizer = processor.tokenizer
        self.sound_token: int = int(processor.audio_token_id)
        bounds = [getattr(processor, f"audio_{side}_token_id", None) for side in ("bos", "eos")]
        self._before, self._behind = ([] if bound is None else [int(bound)] for bound in bounds)
        own = processor.chat_template
        self._template = own.get("default") if isinstance(own, dict) else own

    def ids(self, turns: Sequence[Turn], question: str, frames: Sequence[int]) -> list[int]:
        """The ids up to where the answer begins.

        The sounds stand before the first question. What people wrote is text, also where it looks like a token with a
        meaning of its own.

        Args:
            turns: that were before. frames: of each sound.

        Raises:
            ConfigError: the checkpoint's template leaves out a sound. TokenizerError: text that cannot be tokenised.
        """
        texts = [text for turn in turns for text in turn] + [question]
        ids = self._tokenizer.apply_chat_template(
            _conversation(texts, len(frames)),
            chat_template=self._template,
            add_generation_prompt=True,
            sanitize_control_tokens=True,
            return_dict=False,
        )
        return list(self._with_sounds(ids, frames))

    def _with_sounds(self, ids: list[int], frames: Sequence[int]) -> Iterator[int]:
        """``ids`` with a token for each frame of the sounds, between bounds where a checkpoint has them."""
        found = ids.count(self.sound_token)
        if found != len(frames):
            raise ConfigError(
                f"the chat template wrote {found} sounds for {len(frames)}",
                expected="one for each",
                fix="Use the chat template that belongs to the checkpoint",
            )
        left = iter(frames)
        for token in ids:
            yield from [*self._before, *[token] * next(left), *self._behind] if token == self.sound_token else [token]


def _conversation(texts: Sequence[str], sounds: int) -> list[dict[str, Any]]:
    """Messages as chat templates take them; every second text is an answer."""
    messages = []
    for number, text in enumerate(texts):
        heard = [{"type": "audio"}] * sounds if number == 0 else []
        role = "assistant" if number % 2 else "user"
        messages.append({"role": role, "content": [*heard, {"type": "text", "text": text}]})
    return messages
