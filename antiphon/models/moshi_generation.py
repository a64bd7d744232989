"""``generate`` of the whole of Moshi: the plan of all streams, the main decoder's steps, and the frames' sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.errors import ParamError
from antiphon.generation import precedence
from antiphon.generation.config import GenerationConfig
from antiphon.generation.engine import Generation, Plan, StepOutput
from antiphon.generation.philox import ItemNoise, item_seeds
from antiphon.generation.sampling import is_sampling
from antiphon.models.moshi_prompts import Said, SpokenPrompt, aligned, delayed, spoken_prompt
from antiphon.models.musicgen_generation import Callers, expanded
from antiphon.models.text_generation import (
    items_of_each,
    kept_states,
    refuse_foreign,
    rows_of_each,
    text_plan,
)
from antiphon.models.text_steps import held_columns
from antiphon.nn.kv_cache import KVCache
from antiphon.outputs import (
    GenerateBeamDecoderOnlyOutput,
    GenerateDecoderOnlyOutput,
    MoshiConditionalGenerationGenerateOutput,
)

_ACCEPTED = ("attention_mask", "past_key_values", "on_column", "prefix_allowed_tokens_fn", "tokenizer")
_CALLERS = ("logits_processor", "stopping_criteria", "streamer")
_DEPTH = ("depth_decoder_", "depth_")


class SpokenSteps:
    """The main decoder as the loop's step model: a call over columns of all streams.

    Args:
        model: the whole of Moshi. mask: (B, L0), 0 where a column of the prompt is not to be seen.
        embedded: (B, L0, D), in place of what the first columns are embedded to.
        held: columns of the prompt that the caller's cache holds.
    """

    def __init__(
        self,
        model: Any,
        *,
        mask: Tensor,
        embedded: Tensor | None,
        cache: Any,
        use_cache: bool,
        states: tuple[bool, bool],
        held: int = 0,
    ) -> None:
        self.model, self.mask, self.embedded, self._held = model, mask, embedded, held
        self.cache, self.use_cache = cache, use_cache
        self._states = {"output_hidden_states": True} if states[0] else {}
        self._states |= {"output_attentions": True} if states[1] else {}

    def __call__(self, columns: Tensor, first: int) -> StepOutput:
        """One call over ``columns`` (B, 1 + 2 K, T) from ``first`` on, or over those that a caller's cache has not."""
        if first == 0:
            columns, first = columns[..., self._held :], self._held
        last = first + columns.shape[-1]
        mask = functional.pad(self.mask, (0, max(0, last - self.mask.shape[1])), value=1)[:, :last]
        output = self.model.decoder(
            inputs_embeds=self._embedded(columns, first),
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=self.use_cache,
            logits_to_keep=1,
            return_dict=True,
            **self._states,
        )
        return StepOutput(
            output.logits[:, -1].to(columns.device),
            output.hidden_states,
            output.attentions,
            moment=output.last_hidden_state[:, -1:],
        )

    def reorder(self, rows: Tensor) -> None:
        """Row r goes on from what was row ``rows[r]``, (R,) int64, of the same prompt."""
        self.cache.reorder_cache(rows)

    def _embedded(self, columns: Tensor, first: int) -> Tensor:
        if self.embedded is None or first >= self.embedded.shape[1]:
            embedded: Tensor = self.model.lm.embed(columns)
            return embedded
        held = self.embedded[:, first:]
        later = columns[..., held.shape[1] :]
        return torch.cat([held, self.model.lm.embed(later).to(held)], dim=1) if later.shape[-1] else held


@dataclass
class FrameSampler:
    """The depth decoder as the loop's column sampler: Moshi's codebooks; the user's are in the plan.

    Attributes:
        settings: of the depth decoder's ``generate``. noise: of the items, or ``None``.
        beams: rows of each item; they draw with the same noise.
    """

    depth_decoder: Any
    settings: dict[str, Any]
    noise: ItemNoise | None
    beams: int = 1

    def __call__(self, tokens: Tensor, moment: Tensor, column: int) -> Tensor:
        """(B, 2 K): the frame, and zeros that the plan replaces."""
        frame: Tensor = self.depth_decoder.generate(
            last_hidden_state=moment, input_ids=tokens, **self.settings, **self._noise_at(column)
        )[:, 1:].to(tokens.device)
        return torch.cat([frame, torch.zeros_like(frame)], dim=1)

    def _noise_at(self, column: int) -> dict[str, Callable[[int], Tensor]]:
        if self.noise is None:
            return {}
        books, vocabulary = self.depth_decoder.config.num_codebooks, self.depth_decoder.config.audio_vocab_size
        # (B, K, V); the text has the streams before, one for each beam
        noise = self.noise.gumbel(column, books, vocabulary, first_stream=self.beams)
        noise = noise.repeat_interleave(self.beams, dim=0)
        return {"noise": lambda codebook: noise[:, codebook]}


@dataclass
class Asked:
    """The settings of a call.

    Attributes:
        config: of the text. given: arguments that are no settings. callers: callables over the text.
        depth: keywords of the depth decoder's ``generate``. depth_config: what they come to.
    """

    config: GenerationConfig
    given: dict[str, Any]
    callers: Callers
    depth: dict[str, Any]
    depth_config: GenerationConfig

    @staticmethod
    def of(model: Any, kwargs: dict[str, Any]) -> Asked:
        """Sorts the keywords of a call.

        Raises:
            ParamError: a value out of range, or one that means nothing here. ParamTypeError: an unknown argument.
        """
        call_config = kwargs.pop("generation_config", None)
        callers = Callers(**{name: kwargs.pop(name) for name in _CALLERS if name in kwargs})
        of_depth = _of_depth(kwargs)
        config, given = precedence.resolve(call_config, model.generation_config, kwargs)
        precedence.refuse_unknown(given, _ACCEPTED)
        refuse_foreign(config)
        depth = _depth_settings(model, config, of_depth)
        return Asked(config, given, callers, depth, _depth_config(model, depth))


def generate(
    model: Any, said: Said, kwargs: dict[str, Any], *, returns: tuple[bool, bool], initial: bool, goes_on: bool
) -> Any:
    """The body of ``MoshiForConditionalGeneration.generate``, which documents it."""
    asked = Asked.of(model, kwargs)
    prompt = spoken_prompt(
        model, said, asked.given.get("attention_mask"), asked.config, initial=initial, goes_on=goes_on
    )
    plan, seeds = _plan(model, asked, prompt)
    times, given = rows_of_each(asked.config), asked.given.get("past_key_values")
    held = held_columns(given, prompt.columns, use_cache=plan.use_cache)
    steps = SpokenSteps(
        model,
        mask=prompt.mask.repeat_interleave(times, dim=0),
        embedded=expanded(prompt.embedded, times),
        cache=_cache(asked.config, plan) if given is None else given,
        use_cache=plan.use_cache,
        states=(
            plan.keep_states and bool(asked.config.output_hidden_states),
            plan.keep_states and bool(asked.config.output_attentions),
        ),
        held=held,
    )
    generation = Generation(steps, plan)
    for column in generation.steps():
        if asked.given.get("on_column") is not None:
            asked.given["on_column"](column)
    text = generation.columns[:, 0, 0 if prompt.has_text else prompt.columns : generation.length]
    codes = _codes(model, prompt, generation)
    return _output(model, asked.config, generation, text, codes, returns, seeds, steps.cache)


def _plan(model: Any, asked: Asked, prompt: SpokenPrompt) -> tuple[Plan, list[int]]:
    """The plan of all streams, and the items' seeds, none where both decoders are greedy."""
    config = asked.config
    length = precedence.resolve_length(
        config,
        prompt.columns,
        max_length_is_default=True,  # a quirk of the reference: here the keyword counts new columns too
        ceiling=model.config.max_position_embeddings,
    )
    planned = _planned(model, prompt, length)
    columns = planned.repeat_interleave(rows_of_each(config), dim=0)
    draws_text, draws_frames = is_sampling(config), is_sampling(asked.depth_config)
    items = len(planned) * items_of_each(config)
    seeds = item_seeds(config.seed, items) if draws_text or draws_frames else []
    plan = text_plan(
        columns[:, :1, : prompt.columns],
        prompt.mask.repeat_interleave(rows_of_each(config), dim=0),
        length,
        config,
        asked.callers,
        model.config.vocab_size,
        asked.given,
        seeds if draws_text else [],
    )
    noise = ItemNoise(seeds, device=columns.device) if draws_frames else None
    sampler = FrameSampler(model.depth_decoder, asked.depth, noise, config.num_beams or 1)
    if plan.beams is None:
        return replace(plan, columns=columns, sampler=sampler), seeds
    if asked.given.get("on_column") is not None:
        raise ParamError("on_column with beams", fix="Set num_beams=1: which beam wins is only known at the end")
    silent = _silence(model, 1).flatten().tolist()  # behind the end of its text Moshi is silent
    beams = replace(plan.beams, filler=(*plan.beams.filler, *silent, *silent))
    return replace(plan, columns=columns, sampler=sampler, beams=beams), seeds


def _cache(config: GenerationConfig, plan: Plan) -> KVCache | None:
    return KVCache(plan.columns.shape[-1], dtype=config.cache_dtype) if plan.use_cache else None


def _of_depth(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Takes the depth decoder's settings out of ``kwargs``, under either of their prefixes."""
    found: dict[str, Any] = {}
    for name in list(kwargs):
        prefix = next((prefix for prefix in _DEPTH if name.startswith(prefix)), None)
        if prefix is None:
            continue
        own = name.removeprefix(prefix)
        if own in found:
            raise ParamError(f"depth_{own} and depth_decoder_{own} were both given", expected="one of them")
        found[own] = kwargs.pop(name)
    if "seed" in found or "num_return_sequences" in found:
        raise ParamError("a seed or a number of sequences for the depth decoder alone", fix="Give it without a prefix")
    return found


def _depth_settings(model: Any, config: GenerationConfig, asked: dict[str, Any]) -> dict[str, Any]:
    """What goes to the depth decoder's ``generate``: the checkpoint's settings for it, then the call's."""
    stated = getattr(config, "depth_decoder_config", None) or {}
    # how the reference keeps its cache, and how many tokens a frame has, is settled here
    stated = {k: v for k, v in stated.items() if k not in ("cache_implementation", "min_length", "max_length")}
    frame = model.num_codebooks + 1
    for name in ("max_length", "max_new_tokens"):
        wanted = frame - 1 if name == "max_new_tokens" else frame
        if asked.get(name, wanted) != wanted:
            raise ParamError(f"depth_decoder_{name}={asked[name]}", expected=f"{wanted}: a frame has all its codebooks")
    return {**stated, **asked}


def _depth_config(model: Any, settings: dict[str, Any]) -> GenerationConfig:
    fields = {k: v for k, v in settings.items() if k not in ("generation_config", "logits_processor")}
    own = model.depth_decoder.generation_config
    return precedence.resolve(settings.get("generation_config"), own, fields)[0]


def _planned(model: Any, prompt: SpokenPrompt, length: int) -> Tensor:
    """The columns (B, 1 + 2 K, ``length``): the prompt, Moshi's to be decided, and what the user will say."""
    initial = model.config.audio_vocab_size
    text = functional.pad(prompt.text, (0, length - prompt.columns), value=-1)[:, None]
    silent = _silence(model, len(prompt.text)).to(prompt.user)
    user = torch.cat([prompt.user, silent.expand(-1, -1, length)], dim=-1)
    streams = [text, delayed(prompt.own, length, initial), delayed(user, length, initial)]
    return torch.cat([stream.to(text) for stream in streams], dim=1)


def _silence(model: Any, rows: int) -> Tensor:
    """The codes (B, K, 1) of one frame of zeros."""
    samples = int(model.config.sampling_rate / model.config.audio_encoder_config.frame_rate)
    zeros = torch.zeros((rows, 1, samples), dtype=model.audio_encoder.dtype, device=model.audio_encoder.device)
    codes: Tensor = model.audio_encoder.encode(zeros, num_quantizers=model.num_codebooks)[0]
    return codes


def _codes(model: Any, prompt: SpokenPrompt, generation: Generation) -> Tensor:
    """Moshi's whole frames (B, K, F), without the initial ones."""
    own = generation.columns[:, 1 : 1 + model.num_codebooks, : generation.length]
    return aligned(own)[..., prompt.empty :]


def _output(
    model: Any,
    config: GenerationConfig,
    generation: Generation,
    text: Tensor,
    codes: Tensor,
    returns: tuple[bool, bool],
    seeds: list[int],
    cache: Any,
) -> Any:
    kept: dict[str, Any] = {"sequences": text}
    if config.return_dict_in_generate:
        kept |= {
            "scores": tuple(generation.scores) or None,
            "logits": tuple(generation.logits) or None,
            "attentions": kept_states(generation, "attentions"),
            "hidden_states": kept_states(generation, "hidden_states"),
            "past_key_values": cache,
        }
    kind: Any = GenerateDecoderOnlyOutput
    if generation.search is not None:
        kind = GenerateBeamDecoderOnlyOutput
        _, kept["sequences_scores"], kept["beam_indices"] = generation.search.best()
    waveforms, with_codes = returns
    if not waveforms and not with_codes:
        return kind(**kept, seeds=seeds or None) if config.return_dict_in_generate else text
    return MoshiConditionalGenerationGenerateOutput(
        **kept,
        audio_sequences=_waveforms(model, codes) if waveforms else None,
        audio_codes=codes if with_codes else None,
        seeds=seeds or None,
    )


def _waveforms(model: Any, codes: Tensor) -> Tensor:
    codec = model.audio_encoder
    if not codes.shape[-1]:  # stopped before the first frame was whole
        return torch.zeros((len(codes), 1, 0), dtype=codec.dtype, device=codec.device)
    values: Tensor = codec.decode(codes.to(codec.device)).audio_values
    return values
