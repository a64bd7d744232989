"""Conversations that are answered together: prompts with sounds in them, and the one loop over their answers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from antiphon.generation.config import GenerationConfig
from antiphon.generation.engine import Generation
from antiphon.models.musicgen_generation import Callers
from antiphon.models.text_generation import text_plan
from antiphon.models.text_steps import TextPrompt, TextSteps
from antiphon.nn.kv_cache import KVCache
from antiphon.tasks.answer import Finish
from antiphon.tasks.heard_sound import Listened

StopWhen = Callable[[], bool]


@dataclass(frozen=True, eq=False)
class Asked:
    """One conversation.

    Attributes:
        ids: of the prompt, the sounds' tokens among them. sounds: in their order. seed: of its chance, or ``None``.
    """

    ids: list[int]
    sounds: Sequence[Listened] = ()
    seed: int | None = None


class Answering:
    """Conversations while they are answered: rows of one batch, padded on the left, each as if it were alone.

    Args:
        model: with the calls of a ``MusicFlamingoForConditionalGeneration``. rows: at least one.
        config: resolved, with the end tokens among its settings. sound_token: stands for a frame of a sound.
        cache: holds the beginning of the only row already.
        stop_when: asked between steps.

    Attributes:
        cache: keys and values, which at the end hold all but the last token of each row.
    """

    def __init__(
        self,
        model: Any,
        rows: Sequence[Asked],
        config: GenerationConfig,
        *,
        sound_token: int,
        cache: KVCache | None = None,
        stop_when: StopWhen | None = None,
        processors: Sequence[Any] = (),
    ) -> None:
        self._rows, self._config = rows, config
        self._stop_when, self._stopped = stop_when, False
        prompt = _prompt(model, rows, sound_token)
        self._start = prompt.ids.shape[1]
        length = self._start + (config.max_new_tokens or 1)
        self.cache = KVCache(length) if cache is None else cache
        seeds = [row.seed for row in rows if row.seed is not None]
        criteria = None if stop_when is None else [self._criterion]
        plan = text_plan(
            prompt.ids[:, None],
            prompt.mask,
            length,
            config,
            Callers(logits_processor=list(processors), stopping_criteria=criteria),
            vocabulary_of(model),
            {},
            seeds,
        )
        # noise belongs to the place in the conversation, wherever its row begins
        plan = replace(plan, offsets=[self._start - len(row.ids) for row in rows])
        steps = TextSteps(model, prompt, capacity=length, use_cache=True, cache=self.cache)
        self._generation = Generation(steps, plan)

    def steps(self) -> Generator[list[int], None, None]:
        """The next token of each row, as soon as they are decided; a row that has ended gets a filler."""
        with torch.no_grad():
            for column in self._generation.steps():
                yield column[:, 0].tolist()

    def ends(self, token: int) -> bool:
        """Whether an answer ends with this token, which is no part of it."""
        return token in self._generation.plan.eos

    def tokens(self) -> list[list[int]]:
        """What each row was answered so far, without its end."""
        answers = self._generation.columns[:, 0, self._start : self._generation.length].tolist()
        return [answer[: self._end(answer)] for answer in answers]

    def finishes(self) -> list[Finish]:
        """Why each row ended."""
        answers = self._generation.columns[:, 0, self._start : self._generation.length].tolist()
        early: Finish = "stopped" if self._stopped else "length"
        return ["end" if self._end(answer) < len(answer) else early for answer in answers]

    def _end(self, answer: list[int]) -> int:
        ends = (place for place, token in enumerate(answer) if self.ends(token))
        return next(ends, len(answer))

    def _criterion(self, ids: Tensor, scores: Any) -> bool:
        self._stopped = self._stopped or (self._stop_when is not None and bool(self._stop_when()))
        return self._stopped


def vocabulary_of(model: Any) -> int:
    """How many tokens the model chooses among."""
    return int(getattr(model.config, "text_config", model.config).vocab_size)


def _prompt(model: Any, rows: Sequence[Asked], sound_token: int) -> TextPrompt:
    """The rows padded on the left, with what was heard in the places of the sounds' tokens."""
    longest = max(len(row.ids) for row in rows)
    device = model.device
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(rows):
        ids[number, longest - len(row.ids) :] = torch.tensor(row.ids)
        mask[number, longest - len(row.ids) :] = 1
    ids, mask = ids.to(device), mask.to(device)
    embedded = None
    sounds = [sound.features for row in rows for sound in row.sounds]
    if sounds:
        with torch.no_grad():
            embedded = model.get_input_embeddings()(ids)
            # the pads are token 0, which could be any token
            places = (ids == sound_token) & (mask == 1)
            embedded[places] = torch.cat(sounds).to(embedded)
    positions = (mask.cumsum(dim=1) - 1).masked_fill(mask == 0, 0)
    return TextPrompt(ids, embedded, mask, positions)
