"""``generate`` of a language model over text: from the arguments to a prompt, a plan, and what is returned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from antiphon.errors import ParamError
from antiphon.generation import precedence
from antiphon.generation.config import GenerationConfig
from antiphon.generation.delays import UNDECIDED, DelayPattern
from antiphon.generation.engine import Generation, Plan
from antiphon.generation.philox import ItemNoise, item_seeds
from antiphon.generation.sampling import build_processors, is_sampling
from antiphon.generation.stopping import MaxTime, StoppingCriteriaList, StopStrings
from antiphon.models.musicgen_generation import Callers
from antiphon.models.text_steps import TextPrompt, TextSteps
from antiphon.outputs import GenerateBeamDecoderOnlyOutput, GenerateDecoderOnlyOutput

log = logging.getLogger(__name__)

_ACCEPTED = (
    *("input_ids", "attention_mask", "position_ids", "inputs_embeds", "past_key_values"),
    *("tokenizer", "prefix_allowed_tokens_fn"),
)


def generate_text(
    model: Any,
    inputs: Tensor | None,
    generation_config: GenerationConfig | None,
    callers: Callers,
    kwargs: dict[str, Any],
) -> Any:
    """The body of the ``generate`` of models of text, which document it."""
    left_open = kwargs.get("max_length") is None
    config, given = precedence.resolve(generation_config, model.generation_config, kwargs)
    precedence.refuse_unknown(given, _ACCEPTED)
    refuse_foreign(config)
    text_config = model.config.get_text_config()
    prompt = text_prompt(model, inputs, given, config)
    items = len(prompt.ids) * items_of_each(config)
    prompt = prompt.repeated(rows_of_each(config))
    length = precedence.resolve_length(
        config,
        prompt.ids.shape[1],
        max_length_is_default=left_open,
        ceiling=getattr(text_config, "max_position_embeddings", None),
    )
    seeds = item_seeds(config.seed, items) if is_sampling(config) else []
    plan = text_plan(prompt.ids[:, None], prompt.mask, length, config, callers, text_config.vocab_size, given, seeds)
    steps = TextSteps(
        model,
        prompt,
        capacity=length,
        use_cache=plan.use_cache,
        cache=given.get("past_key_values"),
        cache_dtype=config.cache_dtype,
        copies=rows_of_each(config),
        states=(
            plan.keep_states and bool(config.output_hidden_states),
            plan.keep_states and bool(config.output_attentions),
        ),
    )
    generation = Generation(steps, plan).run()
    text = generation.columns[:, 0, prompt.hidden : generation.length]
    return _output(config, generation, text, steps.cache, seeds) if config.return_dict_in_generate else text


def _output(config: GenerationConfig, generation: Generation, text: Tensor, cache: Any, seeds: list[int]) -> Any:
    kept = {
        "sequences": text,
        "scores": tuple(generation.scores) or None,
        "logits": tuple(generation.logits) or None,
        "attentions": kept_states(generation, "attentions"),
        "hidden_states": kept_states(generation, "hidden_states"),
        "past_key_values": cache,
        "seeds": seeds or None,
    }
    if generation.search is None:
        return GenerateDecoderOnlyOutput(**kept)
    _, scores, parents = generation.search.best()
    return GenerateBeamDecoderOnlyOutput(
        **kept, sequences_scores=scores if config.output_scores else None, beam_indices=parents
    )


def rows_of_each(config: GenerationConfig) -> int:
    """Rows that each prompt is computed in: one for each text that is returned, or for each beam."""
    beams = config.num_beams or 1
    return beams if beams > 1 else config.num_return_sequences or 1


def items_of_each(config: GenerationConfig) -> int:
    """Items that each prompt makes: texts with a seed of their own. Those that one search returns share theirs."""
    return rows_of_each(config) // (config.num_beams or 1)


def refuse_foreign(config: GenerationConfig) -> None:
    """Raises ``ParamError`` for settings that other families have and these have not."""
    asked = {name: getattr(config, name) for name in ("window_seconds", "stride_seconds", "batch_invariant")}
    asked["guidance_scale"] = config.guidance_scale if (config.guidance_scale or 1) > 1 else None
    for name, value in asked.items():
        if value:
            raise ParamError(f"{name}={value} for a model that has no such setting", fix=f"Leave out {name}")


def text_plan(
    columns: Tensor,
    mask: Tensor,
    length: int,
    config: GenerationConfig,
    callers: Callers,
    vocabulary: int,
    given: dict[str, Any],
    seeds: Sequence[int],
) -> Plan:
    """The plan of a text behind ``columns`` (B, 1, L0), of which ``mask`` (B, L0) are real, ``length`` in all."""
    start, wanted = columns.shape[-1], bool(config.return_dict_in_generate)
    eos = end_tokens(config)
    end = None if not eos else eos[0] if config.pad_token_id is None else config.pad_token_id
    beams = precedence.beams_of(config, (0 if end is None else end,))
    if beams is not None and callers.streamer is not None:
        raise ParamError("a streamer with beams", fix="Set num_beams=1: which beam wins is only known at the end")
    criteria = StoppingCriteriaList(callers.stopping_criteria or [])
    if config.max_time is not None:
        criteria.append(MaxTime(config.max_time))
    if config.stop_strings is not None:
        criteria.append(StopStrings(config.stop_strings, _decoder(given), prompt_columns=start))
    return Plan(
        pattern=DelayPattern((0,)),
        columns=functional.pad(columns, (0, length - start), value=UNDECIDED),
        start=start,
        processors=build_processors(
            config,
            prompt_columns=start,
            vocabulary=vocabulary,
            extra=callers.logits_processor or [],
            prefix_allowed_tokens_fn=_by_item(given.get("prefix_allowed_tokens_fn"), config.num_beams or 1),
            skipped_columns=(mask != 0).int().argmax(dim=1),
        ),
        noise=ItemNoise(seeds, device=columns.device) if seeds else None,
        heads=1,
        beams=beams,
        criteria=criteria,
        eos=eos,
        after_end=end,
        streamer=callers.streamer,
        use_cache=config.use_cache is not False,
        keep_scores=wanted and bool(config.output_scores),
        keep_logits=wanted and bool(config.output_logits),
        keep_states=wanted and bool(config.output_hidden_states or config.output_attentions),
    )


def _by_item(allowed: Any, beams: int) -> Any:
    """A caller's ``prefix_allowed_tokens_fn``, which is asked by the number of the item, for rows of its beams."""
    if allowed is None or beams == 1:
        return allowed
    return lambda row, ids: allowed(row // beams, ids)


def end_tokens(config: GenerationConfig) -> tuple[int, ...]:
    """The tokens that end a text."""
    eos = config.eos_token_id
    return () if eos is None else (eos,) if isinstance(eos, int) else tuple(eos)


def kept_states(generation: Generation, name: str) -> Any:
    """What the steps kept under a name, one entry a step; ``None`` where nothing was kept."""
    values = tuple(getattr(state, name) for state in generation.states)
    return values if values and values[0] is not None else None


def inferred_mask(ids: Tensor, config: GenerationConfig) -> Tensor:
    """The mask (B, L0) of a prompt that came without: pads are told by their token, unless that is an end token too."""
    pad, eos = config.pad_token_id, end_tokens(config)
    if pad is None or pad in eos:
        return torch.ones_like(ids)
    return (ids != pad).to(torch.int64)


def text_prompt(model: Any, inputs: Tensor | None, given: dict[str, Any], config: GenerationConfig) -> TextPrompt:
    """The prompt of a call: ids, embeddings, both, or nothing but the token before a text.

    Raises:
        ParamError: ids that are given twice, of another type or out of range, or shapes that do not fit each other.
    """
    if inputs is not None and given.get("input_ids") is not None:
        raise ParamError("inputs and input_ids were both given", expected="one of them")
    ids, embedded = given.get("input_ids") if inputs is None else inputs, given.get("inputs_embeds")
    hidden = 0
    if ids is None and embedded is not None:  # what the embeddings stand for has no ids, and is not returned
        vocabulary = model.config.get_text_config().vocab_size
        ids = torch.full(embedded.shape[:2], vocabulary, dtype=torch.int64, device=embedded.device)
        hidden = embedded.shape[1]
    elif ids is None:
        if config.bos_token_id is None:
            raise ParamError("no input_ids, and no bos_token_id to begin with", fix="Give input_ids")
        ids = torch.full((1, 1), config.bos_token_id, dtype=torch.int64, device=model.device)
    if not hidden:
        check_ids(ids, model.get_input_embeddings().num_embeddings - 1)
    ids = ids.to(torch.int64)
    mask = given.get("attention_mask")
    mask = (torch.ones_like(ids) if hidden else inferred_mask(ids, config)) if mask is None else mask
    if tuple(mask.shape) != tuple(ids.shape):
        raise ParamError(f"attention_mask of shape {tuple(mask.shape)}", expected=f"{tuple(ids.shape)}")
    mask = mask.to(ids)
    positions = given.get("position_ids")
    if positions is None:
        positions = (mask.cumsum(dim=1) - 1).masked_fill(mask == 0, 0)
    return TextPrompt(ids, embedded, mask, positions.expand(len(ids), -1), hidden)


def check_ids(ids: Any, highest: int, name: str = "input_ids") -> None:
    """Raises ``ParamError`` unless ``ids`` are (B, L) whole numbers from 0 to ``highest``, one column or more."""
    whole = isinstance(ids, Tensor) and not ids.is_floating_point() and ids.dtype is not torch.bool
    if not whole or ids.dim() != 2 or not ids.numel():
        shape = tuple(getattr(ids, "shape", ()))
        raise ParamError(f"{name} of shape {shape}", expected="int64 (batch, columns), 1 or more of each")
    low, high = int(ids.min()), int(ids.max())
    if not (low >= 0 and high <= highest):
        raise ParamError(f"{name} between {low} and {high}", expected=f"0 to {highest}")


def _decoder(given: dict[str, Any]) -> Callable[[list[int]], str]:
    tokenizer = given.get("tokenizer")
    if tokenizer is None:
        raise ParamError("stop_strings without a tokenizer", fix="Pass tokenizer=... to generate")

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode(ids))

    return decode
