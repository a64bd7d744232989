"""A conversation about sounds as the ids that a model reads: by the checkpoint's template, with texts left texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from antiphon.errors import ConfigError
from antiphon.tasks.answer import Turn


class PromptWriter:
    """Writes conversations for a model that listens.

    Args:
        processor: with a chat template, a tokenizer and the tokens that stand for sound.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor
        self._tokenizer = processor.tokenizer
        self.sound_token: int = int(processor.audio_token_id)

    def ids(self, turns: Sequence[Turn], question: str, frames: Sequence[int]) -> list[int]:
        """The ids up to where the answer begins.

        The sounds stand before the first question. What people wrote is text, also where it looks like a token with a
        meaning of its own.

        Args:
            turns: that were before. frames: of each sound.

        Raises:
            ConfigError: the checkpoint's template leaves out a sound or a text.
        """
        texts = [text for turn in turns for text in turn] + [question]
        marked = {number: _mark(number, texts) for number, text in enumerate(texts) if self._looks_special(text)}
        shown = [marked.get(number, text) for number, text in enumerate(texts)]
        rendered = self.processor.apply_chat_template(
            _conversation(shown, len(frames)), tokenize=False, add_generation_prompt=True
        )
        ids: list[int] = []
        for piece, is_template in _pieces(rendered, [(mark, texts[number]) for number, mark in marked.items()]):
            ids += self._tokenizer(piece, add_special_tokens=False, split_special_tokens=not is_template)["input_ids"]
        return list(self._with_sounds(ids, frames))

    def _looks_special(self, text: str) -> bool:
        return any(token in text for token in self._tokenizer.get_added_vocab())

    def _with_sounds(self, ids: list[int], frames: Sequence[int]) -> Iterator[int]:
        """``ids`` with a token for each frame of the sounds, between bounds where a checkpoint has them."""
        found = ids.count(self.sound_token)
        if found != len(frames):
            raise ConfigError(
                f"the chat template wrote {found} sounds for {len(frames)}",
                expected="one for each",
                fix="Use the chat template that belongs to the checkpoint",
            )
        bounds = [getattr(self.processor, f"audio_{side}_token_id", None) for side in ("bos", "eos")]
        left = iter(frames)
        for token in ids:
            if token != self.sound_token:
                yield token
                continue
            yield from () if bounds[0] is None else (bounds[0],)
            yield from [token] * next(left)
            yield from () if bounds[1] is None else (bounds[1],)


def _conversation(texts: Sequence[str], sounds: int) -> list[dict[str, Any]]:
    """Messages as chat templates take them; every second text is an answer."""
    messages = []
    for number, text in enumerate(texts):
        heard = [{"type": "audio"}] * sounds if number == 0 else []
        role = "assistant" if number % 2 else "user"
        messages.append({"role": role, "content": [*heard, {"type": "text", "text": text}]})
    return messages


def _mark(number: int, texts: Sequence[str]) -> str:
    """What stands for a text while the template is rendered; no text holds it."""
    mark = f"[text {number}]"
    while any(mark in text for text in texts):
        mark = f"[{mark}]"
    return mark


def _pieces(rendered: str, marks: Sequence[tuple[str, str]]) -> Iterator[tuple[str, bool]]:
    """What the template wrote and the marked texts, in order, and whether the template wrote them."""
    rest = rendered
    for mark, text in marks:
        before, found, rest = rest.partition(mark)
        if not found:
            raise ConfigError(
                "the chat template left out a text", fix="Use the template that belongs to the checkpoint"
            )
        if before:
            yield before, True
        yield text, False
    if rest:
        yield rest, True
