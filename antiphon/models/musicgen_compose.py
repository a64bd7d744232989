"""The composite's ``generate``: text and sound to conditions and prompts, the run, and codes to sound."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antiphon.checkpoints.residency import give_back
from antiphon.errors import ParamError
from antiphon.generation import precedence
from antiphon.generation.config import GenerationConfig
from antiphon.generation.engine import Generation
from antiphon.generation.guidance import ClassifierFreeGuidance
from antiphon.generation.philox import item_seeds
from antiphon.generation.sampling import is_sampling
from antiphon.models.musicgen_generation import (
    Callers,
    Conditions,
    expanded,
    guided,
    per_step,
    prompt_codes,
    resolved,
    run,
    special_tokens,
    state_tuples,
)
from antiphon.models.musicgen_sound import decode, decode_apart, encode
from antiphon.outputs import BaseModelOutput, GenerateEncoderDecoderOutput

log = logging.getLogger(__name__)

_ACCEPTED = (
    "input_ids",
    "attention_mask",
    "inputs_embeds",
    "encoder_outputs",
    "input_values",
    "padding_mask",
    "decoder_input_ids",
    "decoder_attention_mask",
    "past_key_values",
    "on_column",
)

# Published decoders were trained on windows of this length.
_WINDOW_SECONDS = 30

# What of the inputs has one row an item, for running items one by one.
_PER_ITEM = ("input_ids", "attention_mask", "inputs_embeds", "input_values", "padding_mask", "decoder_attention_mask")


@dataclass
class Prompt:
    """Codes to go on from.

    Attributes:
        columns: (B, K, L0) int64, the start column first; shorter rows begin with start tokens.
        mask: (B, L0), 0 where a row begins late; ``None`` when none does. offsets: by how many columns.
        scales: volumes for codecs that keep them. pad_samples: silence before each item's own sound.
    """

    columns: Tensor
    mask: Tensor | None = None
    offsets: list[int] | None = None
    scales: Any = None
    pad_samples: list[int] | None = None


def generate(
    model: Any,
    inputs: Tensor | None,
    generation_config: GenerationConfig | None,
    *,
    logits_processor: Any,
    stopping_criteria: Any,
    streamer: Any,
    kwargs: dict[str, Any],
) -> Any:
    """The body of ``MusicgenForConditionalGeneration.generate``, which documents it."""
    config, given, left_open = resolved(model.generation_config, generation_config, kwargs, accepted=_ACCEPTED)
    given = {name: value for name, value in given.items() if value is not None}
    if inputs is not None:
        given["input_ids"] = inputs
    callers = Callers(logits_processor, stopping_criteria, streamer)
    if config.batch_invariant:
        return _one_by_one(model, config, given, callers, left_open)
    encoder_outputs, padding = _text(model, config, given)
    items = _item_count(given, encoder_outputs, model.decoder.num_codebooks)
    start, _ = special_tokens(config, model.decoder.config.vocab_size)
    prompt = _prompt(model, config, given, items, start)
    length = precedence.resolve_length(config, prompt.columns.shape[-1], max_length_is_default=left_open)
    _warn_beyond_window(model, length)
    times = config.num_return_sequences or 1
    conditions = _conditions(model, config, encoder_outputs, padding, prompt, times)
    _rest(model.text_encoder)
    prompt = _repeated(prompt, times)
    generation, seeds, cache = run(
        model.decoder,
        prompt.columns,
        conditions,
        config,
        callers,
        length=length,
        cache=given.get("past_key_values"),
        on_column=given.get("on_column"),
    )
    _rest(model.decoder)
    if not config.return_dict_in_generate:
        # nobody gets the cache: it makes room for the codec, whose turn is the call's highest point
        generation.release()
        del cache
        return _sound(model, config, generation, prompt)[1]
    return _output(config, generation, encoder_outputs, _sound(model, config, generation, prompt), seeds, cache)


def _output(
    config: GenerationConfig,
    generation: Generation,
    encoder_outputs: Any,
    sound: tuple[Tensor, Tensor, list[int]],
    seeds: list[int],
    cache: Any,
) -> GenerateEncoderDecoderOutput:
    codes, audio, lengths = sound
    return GenerateEncoderDecoderOutput(
        sequences=audio,
        past_key_values=cache,
        audio_codes=codes,
        audio_lengths=lengths,
        seeds=seeds or None,
        **_kept(config, generation, encoder_outputs),
    )


def _rest(part: Any) -> None:
    """Lets a part whose turn is over give back the memory that is its file's; the next look reads it again."""
    if not part.training:
        give_back(part.parameters())


def _kept(config: GenerationConfig, generation: Generation, encoder_outputs: Any) -> dict[str, Any]:
    """What a call asked to keep, by the names of the output's fields; ``None`` where it did not ask."""
    texts = encoder_outputs or BaseModelOutput()
    hidden, attentions, cross = state_tuples(generation)
    return {
        "scores": per_step(generation.scores),
        "logits": per_step(generation.logits),
        "encoder_attentions": texts.attentions if config.output_attentions else None,
        "encoder_hidden_states": texts.hidden_states if config.output_hidden_states else None,
        "decoder_attentions": attentions,
        "cross_attentions": cross,
        "decoder_hidden_states": hidden,
    }


def _sound(
    model: Any, config: GenerationConfig, generation: Generation, prompt: Prompt
) -> tuple[Tensor, Tensor, list[int]]:
    """The codes (B, K, T) of a run, their sound (B, C, N), and how many samples of it are each item's own."""
    codes, counts = generation.codes(), generation.frame_counts()
    if config.independent_rows or min(counts) < codes.shape[-1]:
        audio, lengths = decode_apart(
            model, codes, counts, offsets=prompt.offsets, silence=prompt.pad_samples, scales=prompt.scales
        )
    else:
        audio = decode(model, codes, prompt.scales)
        lengths = [audio.shape[-1]] * len(codes)
    _rest(model.audio_encoder)
    return codes, audio, lengths


# the text


def _text(model: Any, config: GenerationConfig, given: dict[str, Any]) -> tuple[Any, Tensor | None]:
    """The text encoder's outputs and the mask of its places; ``(None, None)`` when there is no text."""
    from antiphon.models.musicgen import as_encoder_outputs

    padding = given.get("attention_mask")
    if "encoder_outputs" in given:
        return as_encoder_outputs(given["encoder_outputs"]), padding
    tokens, embedded = given.get("input_ids"), given.get("inputs_embeds")
    if tokens is None and embedded is None:
        return None, None
    device = model.text_encoder.device
    if padding is None:
        rows, places = (tokens if tokens is not None else given["inputs_embeds"]).shape[:2]
        padding = torch.ones((rows, places), dtype=torch.long, device=device)
    if tokens is not None:
        _check_text(tokens, model.config.text_encoder.vocab_size)
    wanted = bool(config.return_dict_in_generate)
    outputs = model.text_encoder(
        input_ids=None if tokens is None else tokens.to(device),
        attention_mask=padding.to(device),
        inputs_embeds=embedded,
        output_attentions=wanted and bool(config.output_attentions),
        output_hidden_states=wanted and bool(config.output_hidden_states),
        return_dict=True,
    )
    return outputs, padding


def _check_text(tokens: Tensor, vocabulary: int) -> None:
    """Refuses ids without an embedding, whose look-up would end a process's use of a GPU."""
    low, high = (int(tokens.min()), int(tokens.max())) if tokens.numel() else (0, 0)
    if not (low >= 0 and high < vocabulary):
        raise ParamError(
            f"input_ids between {low} and {high}",
            expected=f"0 to {vocabulary - 1}",
            fix="Use the tokenizer that belongs to this checkpoint",
        )


def _conditions(
    model: Any,
    config: GenerationConfig,
    encoder_outputs: BaseModelOutput | None,
    padding: Tensor | None,
    prompt: Prompt,
    times: int,
) -> Conditions:
    device = model.decoder.device
    memory = None
    if encoder_outputs is not None and encoder_outputs.last_hidden_state is not None:
        memory = model.project(encoder_outputs.last_hidden_state, padding).to(device)
        if ClassifierFreeGuidance.for_scale(config.guidance_scale) is not None:
            if padding is None:
                padding = torch.ones(memory.shape[:2], dtype=torch.long, device=device)
            memory, padding = guided(memory, padding)
    else:
        padding = None
    offsets = None if prompt.offsets is None else [o for o in prompt.offsets for _ in range(times)]
    return Conditions(
        expanded(memory, times),
        None if padding is None else expanded(padding.to(device), times),
        expanded(prompt.mask, times),
        offsets,
    )


def _item_count(given: dict[str, Any], encoder_outputs: Any, codebooks: int) -> int:
    if encoder_outputs is not None:
        return int(encoder_outputs.last_hidden_state.shape[0])
    for name in ("input_ids", "inputs_embeds", "input_values"):
        if name in given:
            return int(given[name].shape[0])
    codes = given.get("decoder_input_ids")
    if isinstance(codes, Tensor) and codes.dim() > 1:
        return max(1, codes.shape[0] if codes.dim() == 3 else codes.shape[0] // codebooks)
    return 1


# the prompt


def _prompt(model: Any, config: GenerationConfig, given: dict[str, Any], items: int, start: int) -> Prompt:
    codebooks, device = model.decoder.num_codebooks, model.decoder.device
    first = torch.full((items, codebooks, 1), start, dtype=torch.long, device=device)
    mask = given.get("decoder_attention_mask")
    if "decoder_input_ids" in given:
        vocabulary = model.decoder.config.vocab_size
        codes = prompt_codes(given["decoder_input_ids"], codebooks, vocabulary, name="decoder_input_ids").to(device)
        if codes.shape[0] != items:
            raise ParamError(f"{items} texts and decoder_input_ids of {len(codes)} items", expected="equal numbers")
        if bool((codes[..., 0] == start).any()):
            return Prompt(codes, mask)
        if mask is not None:
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=-1)
        return Prompt(torch.cat([first, codes], dim=-1), mask)
    if "input_values" not in given:
        return Prompt(first, mask)
    values, padding = given["input_values"], given.get("padding_mask")
    if values.shape[0] != items:
        raise ParamError(f"{items} texts and {values.shape[0]} sounds", expected="as many of one as of the other")
    if config.independent_rows and padding is not None:
        return _independent_prompt(model, values, padding, first)
    codes, scales = encode(model, values, padding)
    return Prompt(torch.cat([first, codes.to(device)], dim=-1), mask, scales=scales)


def _independent_prompt(model: Any, values: Tensor, padding: Tensor, first: Tensor) -> Prompt:
    """Each sound encoded without its padding, so that it is what it would be alone; rows end together."""
    rows = []
    for value, mask in zip(values, padding.view(padding.shape[0], -1, padding.shape[-1])[:, 0], strict=True):
        real = mask.bool().nonzero().flatten()
        if not len(real):
            raise ParamError("a sound that is padding throughout", expected="at least one sample")
        sound = value[:, int(real[0]) : int(real[-1]) + 1]
        rows.append(encode(model, sound[None], None)[0][0].to(first.device))  # (K, T_i)
    longest = max(row.shape[-1] for row in rows)
    columns = first.repeat(1, 1, longest + 1)
    mask = torch.ones(len(rows), longest + 1, dtype=torch.long, device=first.device)
    offsets = [longest - row.shape[-1] for row in rows]
    for number, (row, offset) in enumerate(zip(rows, offsets, strict=True)):
        columns[number, :, offset + 1 :] = row
        mask[number, :offset] = 0
    silence = [int(values.shape[-1] - n) for n in padding.view(padding.shape[0], -1, padding.shape[-1])[:, 0].sum(-1)]
    return Prompt(columns, mask if any(offsets) else None, offsets, pad_samples=silence)


def _repeated(prompt: Prompt, times: int) -> Prompt:
    if times == 1:
        return prompt

    def each(values: list[int] | None) -> list[int] | None:
        return None if values is None else [v for v in values for _ in range(times)]

    columns = prompt.columns.repeat_interleave(times, dim=0)
    scales = expanded(prompt.scales, times) if isinstance(prompt.scales, Tensor) else prompt.scales
    return Prompt(columns, expanded(prompt.mask, times), each(prompt.offsets), scales, each(prompt.pad_samples))


def _warn_beyond_window(model: Any, length: int) -> None:
    books = model.decoder.config.num_codebooks // model.decoder.config.audio_channels
    trained = int(_WINDOW_SECONDS * model.config.audio_encoder.frame_rate) + books - 1
    if length - 1 > trained:
        log.warning(
            "%d tokens are asked for and the model was trained on %d (%d s, prompt included): what lies beyond will "
            "be poor; ask for less, or go on from the end of a shorter piece",
            length - 1,
            trained,
            _WINDOW_SECONDS,
        )


# items one by one


def _one_by_one(model: Any, config: GenerationConfig, given: dict[str, Any], callers: Callers, left_open: bool) -> Any:
    """Each item computed by itself: no rounding of it depends on its neighbours."""
    from antiphon.models.musicgen import as_encoder_outputs

    texts = as_encoder_outputs(given.get("encoder_outputs"))
    items = _item_count(given, texts, model.decoder.num_codebooks)
    times = config.num_return_sequences or 1
    seeds = item_seeds(config.seed, items * times) if is_sampling(config) else [None] * (items * times)
    outputs = []
    for number in range(items * times):
        item = number // times
        own = {k: v[item : item + 1] if k in _PER_ITEM else v for k, v in given.items()}
        own = _without_pads(own)
        if "decoder_input_ids" in own:
            books = model.decoder.num_codebooks
            own["decoder_input_ids"] = own["decoder_input_ids"].view(items, books, -1)[item]
        if "encoder_outputs" in own:
            own["encoder_outputs"] = (own["encoder_outputs"][0][item : item + 1],)
        single = config.copy()
        single.update(
            batch_invariant=False, num_return_sequences=1, return_dict_in_generate=True, independent_rows=True
        )
        single.seed = seeds[number]
        length = {"max_length": config.max_length} if not left_open and config.max_new_tokens is None else {}
        outputs.append(
            model.generate(
                generation_config=single,
                logits_processor=callers.logits_processor,
                stopping_criteria=callers.stopping_criteria,
                streamer=callers.streamer,
                **own,
                **length,
            )
        )
    return _joined(outputs, [s for s in seeds if s is not None], bool(config.return_dict_in_generate))


def _without_pads(own: dict[str, Any]) -> dict[str, Any]:
    """One item's inputs cut to what is real, as it would come alone."""
    for names, mask_name in ((("input_ids", "inputs_embeds"), "attention_mask"), (("input_values",), "padding_mask")):
        mask = own.get(mask_name)
        if mask is None or not bool(mask.any()) or bool(mask.bool().all()):
            continue
        real = mask.reshape(-1, mask.shape[-1])[0].bool().nonzero().flatten()
        span = slice(int(real[0]), int(real[-1]) + 1)
        for name in names:
            if name in own:
                own[name] = own[name][:, span] if name != "input_values" else own[name][..., span]
        own[mask_name] = mask[..., span]
    return own


def _joined(outputs: list[GenerateEncoderDecoderOutput], seeds: list[int], as_output: bool) -> Any:
    sounds = [out.sequences for out in outputs if out.sequences is not None]
    lengths = [sound.shape[-1] for sound in sounds]
    audio = torch.cat([torch.nn.functional.pad(s, (0, max(lengths) - s.shape[-1])) for s in sounds])
    if not as_output:
        return audio
    codes = [out.audio_codes for out in outputs if out.audio_codes is not None]
    frames = max(c.shape[-1] for c in codes)
    return GenerateEncoderDecoderOutput(
        sequences=audio,
        audio_codes=torch.cat([torch.nn.functional.pad(c, (0, frames - c.shape[-1])) for c in codes]),
        audio_lengths=lengths,
        seeds=seeds or None,
    )
