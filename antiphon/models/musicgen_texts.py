"""What MusicGen's decoder attends to: the text encoder's states, or none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.generation.config import GenerationConfig
from antiphon.generation.guidance import ClassifierFreeGuidance
from antiphon.models.musicgen_generation import Conditions, expanded, guided
from antiphon.models.musicgen_prompts import Prompt
from antiphon.outputs import BaseModelOutput


def text_of(model: Any, config: GenerationConfig, given: dict[str, Any]) -> tuple[Any, Tensor | None]:
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


def conditions_of(
    model: Any,
    config: GenerationConfig,
    encoder_outputs: BaseModelOutput | None,
    padding: Tensor | None,
    prompt: Prompt,
    times: int,
) -> Conditions:
    """What every row attends to: its text, with guidance also nothing, and which of its prompt columns are real."""
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
