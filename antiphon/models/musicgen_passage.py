"""The passages of a music decoder: the plan of each window, and the windows of a piece."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.generation.config import GenerationConfig
from antiphon.generation.delays import DelayPattern
from antiphon.generation.engine import Generation, Plan
from antiphon.generation.guidance import ClassifierFreeGuidance
from antiphon.generation.passage import Passage
from antiphon.generation.philox import ItemNoise, item_seeds
from antiphon.generation.sampling import build_processors, is_sampling
from antiphon.generation.stopping import MaxTime, StoppingCriteriaList
from antiphon.generation.windows import SlidingWindow, Window
from antiphon.models.musicgen_generation import Callers, DecoderSteps, Hearing, special_tokens
from antiphon.models.musicgen_prompts import Prompt

log = logging.getLogger(__name__)


class PassageMaker:
    """Makes the generation of each window of one piece; what the windows share is made once.

    Args:
        prompt: what the piece goes on from. hearing: what is heard in each window.
        length: columns in all, as if there were one window. sliding: windows for what is longer than one of them.
        cache: the caller's own.

    Attributes:
        seeds: of the items, empty when greedy. cache: keys and values of the window that runs.

    Raises:
        ParamError: several windows, and a setting that only means something in one.
    """

    def __init__(
        self,
        decoder: Any,
        prompt: Prompt,
        hearing: Hearing,
        config: GenerationConfig,
        callers: Callers,
        *,
        length: int,
        sliding: SlidingWindow | None = None,
        cache: Any = None,
    ) -> None:
        self.decoder, self.prompt, self.hearing = decoder, prompt, hearing
        self.config, self.callers, self.length, self.cache = config, callers, length, cache
        self.pattern = DelayPattern.for_codebooks(decoder.config.num_codebooks, decoder.config.audio_channels)
        self.windows = self._windows(sliding)
        self._first = hearing(self.windows, 0)  # with the call, which is where it is refused if it does not fit
        self.seeds = item_seeds(config.seed, len(prompt.columns)) if is_sampling(config) else []
        if self.seeds:
            log.info("item seeds: %s", self.seeds)
        self._noise = ItemNoise(self.seeds, device=prompt.columns.device) if self.seeds else None
        self._criteria = StoppingCriteriaList(callers.stopping_criteria or [])
        if config.max_time is not None:
            self._criteria.append(MaxTime(config.max_time))

    def passage(self) -> Passage:
        """The piece, ready to run."""
        return Passage(self._begin, self.windows, self.prompt.columns[..., 1:])

    def _windows(self, sliding: SlidingWindow | None) -> list[Window]:
        held, total = self.prompt.columns.shape[-1] - 1, self.pattern.frames(self.length)
        windows = [] if sliding is None else list(sliding.windows(held, total))
        if not windows or (len(windows) == 1 and windows[0].first == 0):
            return [Window(0, held, total)]
        mask = self.prompt.mask
        unfit = {
            "an end token": self.config.eos_token_id is not None,
            "a streamer": self.callers.streamer is not None,
            "prompts of different lengths (batch_invariant=True takes them one by one)": mask is not None
            and not bool(mask.all()),
            "windows shorter than the delays": any(self.pattern.is_skipped(self._columns(w)) for w in windows),
        }
        for name, present in unfit.items():
            if present:
                raise ParamError(
                    f"a piece in several windows, with {name}",
                    expected="one of the two",
                    fix="Leave it out, or leave out window_seconds and keep to one window",
                )
        return windows

    def _columns(self, window: Window) -> int:
        return self.pattern.columns(window.frames)

    def _begin(self, window: Window, held: Tensor) -> Generation:
        prompt, length = self.prompt.columns, self.length
        if len(self.windows) > 1 or window.first:
            prompt, length = torch.cat([prompt[..., :1], held], dim=-1), self._columns(window)
        plan = self._plan(prompt, length)
        offsets = self.prompt.offsets or [0] * len(prompt)
        # noise belongs to the place in the piece, wherever the window that shows it begins
        plan.offsets = [offset - window.first for offset in offsets]
        steps = DecoderSteps(
            self.decoder,
            self._first if window is self.windows[0] else self.hearing(self.windows, self.windows.index(window)),
            columns_mask=self.prompt.mask,
            own_columns=any(offsets),
            passes=1 if plan.guidance is None else 2,
            capacity=length,
            use_cache=plan.use_cache,
            cache=self.cache,
            cache_dtype=self.config.cache_dtype,
            states=(
                plan.keep_states and bool(self.config.output_hidden_states),
                plan.keep_states and bool(self.config.output_attentions),
            ),
        )
        if window is not self.windows[0] and steps.cache is not None:
            steps.cache.reset()  # and what it holds of the text stays
        self.cache = steps.cache
        return Generation(steps, plan)

    def _plan(self, prompt: Tensor, length: int) -> Plan:
        """What is to be generated behind ``prompt`` (B, K, L0), the start column first."""
        config, vocabulary = self.config, self.decoder.config.vocab_size
        columns = self.pattern.build(prompt, length, special_tokens(config, vocabulary)[0])
        if self.pattern.is_skipped(length):  # a quirk of the reference: too short for the pattern, the prompt stands
            columns[..., : prompt.shape[-1]] = prompt
        eos = config.eos_token_id
        wanted = bool(config.return_dict_in_generate)
        return Plan(
            pattern=self.pattern,
            columns=columns,
            start=self.pattern.start_column(prompt.shape[-1], length),
            processors=build_processors(
                config,
                prompt_columns=prompt.shape[-1],
                vocabulary=vocabulary,
                extra=self.callers.logits_processor or [],
            ),
            guidance=ClassifierFreeGuidance.for_scale(config.guidance_scale),
            noise=self._noise,
            criteria=self._criteria,
            eos=() if eos is None else (eos,) if isinstance(eos, int) else tuple(eos),
            streamer=self.callers.streamer,
            use_cache=config.use_cache is not False,
            keep_scores=wanted and bool(config.output_scores),
            keep_logits=wanted and bool(config.output_logits),
            keep_states=wanted and bool(config.output_hidden_states or config.output_attentions),
        )
