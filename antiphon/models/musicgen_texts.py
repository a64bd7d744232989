"""Texts on their way to a music decoder: the text encoder's states, or none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.generation.config import GenerationConfig
from antiphon.generation.guidance import ClassifierFreeGuidance
from antiphon.models.music_composite import as_encoder_outputs
from antiphon.models.musicgen_generation import Conditions, guided
from antiphon.outputs import BaseModelOutput


def text_of(model: Any, config: GenerationConfig, given: dict[str, Any]) -> tuple[Any, Tensor | None]:
    """The text encoder's outputs and the mask of its places; ``(None, None)`` when there is no text."""
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


def text_conditions(model: Any, config: GenerationConfig, texts: BaseModelOutput | None, padding: Any) -> Conditions:
    """What every row attends to: its text, and with guidance also nothing."""
    if texts is None or texts.last_hidden_state is None:
        return Conditions()
    device = model.decoder.device
    memory = model.project(texts.last_hidden_state, padding).to(device)
    if ClassifierFreeGuidance.for_scale(config.guidance_scale) is not None:
        if padding is None:
            padding = torch.ones(memory.shape[:2], dtype=torch.long, device=device)
        memory, padding = guided(memory, padding)
    return Conditions(memory, None if padding is None else padding.to(device))
