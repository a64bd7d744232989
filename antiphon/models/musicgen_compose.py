"""The composite's ``generate``: text and sound to conditions and prompts, the run, and codes to sound."""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from antiphon.checkpoints.residency import give_back
from antiphon.generation import precedence
from antiphon.generation.config import GenerationConfig
from antiphon.generation.passage import Passage
from antiphon.generation.windows import SlidingWindow
from antiphon.models.musicgen_generation import Callers, per_step, resolved, special_tokens, state_tuples
from antiphon.models.musicgen_passage import PassageMaker
from antiphon.models.musicgen_prompts import Prompt, item_count, prompt_of, repeated
from antiphon.models.musicgen_sound import decode, decode_apart
from antiphon.models.musicgen_texts import text_of
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


@dataclass
class Asked:
    """A call of ``generate`` as it was made.

    Attributes:
        config: resolved. inputs: the model's own keywords that are not ``None``. left_open: no keyword gave
            ``max_length``.
    """

    config: GenerationConfig
    inputs: dict[str, Any]
    callers: Callers
    left_open: bool

    @classmethod
    def of(
        cls,
        model: Any,
        inputs: Tensor | None,
        generation_config: GenerationConfig | None,
        callers: Callers,
        kwargs: dict[str, Any],
    ) -> Asked:
        """The call with these arguments.

        Raises:
            ParamError, ParamTypeError: a value out of range, or an argument that does not exist.
        """
        accepted = (*_ACCEPTED, *model.conditions_accepted)
        config, given, left_open = resolved(model.generation_config, generation_config, kwargs, accepted=accepted)
        given = {name: value for name, value in given.items() if value is not None}
        if inputs is not None:
            given["input_ids"] = inputs
        return cls(config, given, callers, left_open)


@dataclass
class Composition:
    """A call that has read its text and its prompt and is ready to run."""

    prompt: Prompt
    maker: PassageMaker
    encoder_outputs: Any


def composition_of(model: Any, asked: Asked) -> Composition:
    """Reads text and prompt; the text encoder then rests."""
    config, given = asked.config, asked.inputs
    encoder_outputs, padding = text_of(model, config, given)
    items = item_count(given, encoder_outputs, model.decoder.num_codebooks)
    hearing = model.hearing(config, given, encoder_outputs, padding, items)
    start, _ = special_tokens(config, model.decoder.config.vocab_size)
    prompt = prompt_of(model, config, given, items, start)
    length = precedence.resolve_length(config, prompt.columns.shape[-1], max_length_is_default=asked.left_open)
    rate_hz = model.config.audio_encoder.frame_rate
    sliding = SlidingWindow.of_seconds(config.window_seconds, config.stride_seconds, rate_hz)
    if sliding is None:
        _warn_beyond_window(model, length)
    times = config.num_return_sequences or 1
    rest(model.text_encoder)
    prompt = repeated(prompt, times)
    maker = PassageMaker(
        model.decoder,
        prompt,
        lambda windows, number: hearing(windows, number).repeated(times),
        config,
        asked.callers,
        length=length,
        sliding=sliding,
        cache=given.get("past_key_values"),
    )
    return Composition(prompt, maker, encoder_outputs)


def generate(model: Any, asked: Asked) -> Any:
    """The body of ``MusicComposite.generate``, which documents it."""
    if asked.config.batch_invariant:
        from antiphon.models.musicgen_rows import one_by_one

        return one_by_one(model, asked)
    config, composed = asked.config, composition_of(model, asked)
    passage, on_column = composed.maker.passage(), asked.inputs.get("on_column")
    with closing(passage.columns()) as columns:
        for column in columns:
            if on_column is not None:
                on_column(column)
    rest(model.decoder)
    if not config.return_dict_in_generate:
        # nobody gets the cache: it makes room for the codec, whose turn is the call's highest point
        passage.release()
        composed.maker.cache = None
        return _sound(model, config, passage, composed.prompt)[1]
    codes, audio, lengths = _sound(model, config, passage, composed.prompt)
    return GenerateEncoderDecoderOutput(
        sequences=audio,
        past_key_values=composed.maker.cache,
        audio_codes=codes,
        audio_lengths=lengths,
        seeds=composed.maker.seeds or None,
        **_kept(config, passage, composed.encoder_outputs),
    )


def rest(part: Any) -> None:
    """Lets a part whose turn is over give back the memory that is its file's; the next look reads it again."""
    if not part.training:
        give_back(part.parameters())


def _kept(config: GenerationConfig, passage: Passage, encoder_outputs: Any) -> dict[str, Any]:
    """What a call asked to keep, by the names of the output's fields; ``None`` where it did not ask."""
    texts = encoder_outputs or BaseModelOutput()
    hidden, attentions, cross = state_tuples(passage)
    return {
        "scores": per_step(passage.scores),
        "logits": per_step(passage.logits),
        "encoder_attentions": texts.attentions if config.output_attentions else None,
        "encoder_hidden_states": texts.hidden_states if config.output_hidden_states else None,
        "decoder_attentions": attentions,
        "cross_attentions": cross,
        "decoder_hidden_states": hidden,
    }


def _sound(model: Any, config: GenerationConfig, passage: Passage, prompt: Prompt) -> tuple[Tensor, Tensor, list[int]]:
    """The codes (B, K, T) of a run, their sound (B, C, N), and how many samples of it are each item's own."""
    codes, counts = passage.codes(), passage.frame_counts()
    if config.independent_rows or min(counts) < codes.shape[-1]:
        audio, lengths = decode_apart(
            model, codes, counts, offsets=prompt.offsets, silence=prompt.pad_samples, scales=prompt.scales
        )
    else:
        audio = decode(model, codes, prompt.scales)
        lengths = [audio.shape[-1]] * len(codes)
    rest(model.audio_encoder)
    return codes, audio, lengths


def _warn_beyond_window(model: Any, length: int) -> None:
    books = model.decoder.config.num_codebooks // model.decoder.config.audio_channels
    trained = int(_WINDOW_SECONDS * model.config.audio_encoder.frame_rate) + books - 1
    if length - 1 > trained:
        log.warning(
            "%d tokens are asked for and the model was trained on %d (%d s, prompt included): what lies beyond will "
            "be poor; pass window_seconds=30 and stride_seconds=18, and windows of that length slide over the piece",
            length - 1,
            trained,
            _WINDOW_SECONDS,
        )
