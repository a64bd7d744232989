"""The standalone decoder's ``generate``: codes from a prompt of codes, or from nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.generation import precedence
from antiphon.generation.config import GenerationConfig
from antiphon.generation.guidance import ClassifierFreeGuidance
from antiphon.generation.passage import Passage
from antiphon.models.musicgen_generation import (
    Callers,
    Conditions,
    guided,
    per_step,
    prompt_codes,
    resolved,
    special_tokens,
    state_tuples,
)
from antiphon.models.musicgen_passage import PassageMaker
from antiphon.models.musicgen_prompts import Prompt, repeated
from antiphon.outputs import GenerateDecoderOnlyOutput


def generate_decoder_only(
    decoder: Any,
    inputs: Tensor | None,
    generation_config: GenerationConfig | None,
    *,
    logits_processor: Any,
    stopping_criteria: Any,
    streamer: Any,
    kwargs: dict[str, Any],
) -> Any:
    """The body of ``CodeDecoderForCausalLM.generate``, which documents it."""
    accepted = ("input_ids", "attention_mask", "encoder_hidden_states", "encoder_attention_mask", "past_key_values")
    config, given, left_open = resolved(decoder.generation_config, generation_config, kwargs, accepted=accepted)
    _refuse_windows(config)
    codebooks, vocabulary = decoder.num_codebooks, decoder.config.vocab_size
    start, _ = special_tokens(config, vocabulary)
    prompt = inputs if inputs is not None else given.get("input_ids")
    memory, padding = given.get("encoder_hidden_states"), given.get("encoder_attention_mask")
    prompt = _standalone_prompt(prompt, memory, start, codebooks, vocabulary).to(decoder.device)
    length = precedence.resolve_length(
        config, prompt.shape[-1], max_length_is_default=left_open, ceiling=decoder.config.max_position_embeddings
    )
    in_front = not decoder.model.cross_attends
    guidance = ClassifierFreeGuidance.for_scale(config.guidance_scale)
    if guidance is not None and memory is not None and memory.shape[0] == prompt.shape[0]:
        memory, padding = guided(memory, padding, in_front=in_front)
    conditions = Conditions(memory, padding, in_front=in_front, own_places=bool(config.independent_rows))
    mask = given.get("attention_mask")
    if mask is None and not config.independent_rows and (inputs is not None or "input_ids" in given):
        mask = None if conditions.front else _reference_mask(prompt, config.pad_token_id)
    times = config.num_return_sequences or 1
    maker = PassageMaker(
        decoder,
        repeated(Prompt(prompt, mask), times),
        lambda windows, number: conditions.repeated(times),
        config,
        Callers(logits_processor, stopping_criteria, streamer),
        length=length,
        cache=given.get("past_key_values"),
    )
    passage = maker.passage().run()
    codes = passage.codes()[..., : max(passage.frame_counts())]
    return _output(codes, passage, maker) if config.return_dict_in_generate else codes


def _output(codes: Tensor, passage: Passage, maker: PassageMaker) -> GenerateDecoderOnlyOutput:
    hidden, attentions, _ = state_tuples(passage)
    return GenerateDecoderOnlyOutput(
        sequences=codes,
        scores=per_step(passage.scores),
        logits=per_step(passage.logits),
        attentions=attentions,
        hidden_states=hidden,
        past_key_values=maker.cache,
        seeds=maker.seeds or None,
    )


def _refuse_windows(config: GenerationConfig) -> None:
    if config.window_seconds is not None or config.stride_seconds is not None:
        raise ParamError(
            "window_seconds for a decoder alone, which knows no seconds", fix="Use MusicgenForConditionalGeneration"
        )


def _standalone_prompt(
    prompt: Tensor | None, memory: Tensor | None, start: int, codebooks: int, vocabulary: int
) -> Tensor:
    """The columns (B, K, L0) of a flattened prompt (B * K, L0); the start column alone where there is none."""
    if prompt is None:
        return torch.full((1 if memory is None else memory.shape[0], codebooks, 1), start, dtype=torch.long)
    return prompt_codes(prompt, codebooks, vocabulary, name="input_ids")


def _reference_mask(prompt: Tensor, pad: int | None) -> Tensor | None:
    """The column mask (B, L0) that the reference infers from a standalone prompt (B, K, L0), kept for its numbers.

    It takes the start column for padding, because start and pad are one token, and reads the mask of item ``i`` off the
    ``i``-th flattened row, which is a codebook of another item. The composite does not do this, nor does
    ``independent_rows=True``.
    """
    if pad is None or not bool((prompt == pad).any()):
        return None
    return (prompt != pad).long().flatten(0, 1)[: prompt.shape[0]]
