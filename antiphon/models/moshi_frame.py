"""``generate`` of the depth decoder: the codebooks of one frame, through the unrolled steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.generation import precedence
from antiphon.generation.config import GenerationConfig
from antiphon.generation.philox import ItemNoise, item_seeds
from antiphon.generation.sampling import build_processors, is_sampling, select
from antiphon.models.text_generation import check_ids, refuse_foreign
from antiphon.outputs import GenerateDecoderOnlyOutput

_ACCEPTED = ("input_ids", "last_hidden_state", "noise")

# Gumbel noise (B, V) of a codebook; ``None`` is greedy.
Noise = Callable[[int], Tensor]


class Chooser:
    """Chooses the token of each codebook: processors, then the largest score, or a draw.

    Args:
        text: (B, 1) int64, which processors see in front of the codebooks. noise: ``None`` is greedy.

    Attributes:
        scores: (B, V) of each codebook, after the processors.
    """

    def __init__(self, text: Tensor, processors: list[Any], noise: Noise | None) -> None:
        self._ids, self._processors, self._noise = text, processors, noise
        self.scores: list[Tensor] = []

    def __call__(self, codebook: int, logits: Tensor) -> Tensor:
        scores = logits.float()
        for processor in self._processors:
            scores = processor(self._ids, scores)
        self.scores.append(scores)
        tokens = select(scores, None if self._noise is None else self._noise(codebook), step=codebook)
        self._ids = torch.cat([self._ids, tokens[:, None]], dim=1)
        return tokens


def generate_frame(
    model: Any,
    inputs: Tensor | None,
    generation_config: GenerationConfig | None,
    logits_processor: Any,
    kwargs: dict[str, Any],
) -> Any:
    """The body of ``MoshiDepthDecoder.generate``, which documents it."""
    left_open = kwargs.get("max_length") is None
    config, given = precedence.resolve(generation_config, model.generation_config, kwargs)
    precedence.refuse_unknown(given, _ACCEPTED)
    precedence.require_single_beam(config)
    refuse_foreign(config)
    if config.eos_token_id is not None:
        raise ParamError(f"eos_token_id={config.eos_token_id} within a frame, which always has all of its codebooks")
    text, moment = _prompt(model, inputs, given)
    times = config.num_return_sequences or 1
    text, moment = text.repeat_interleave(times, dim=0), moment.repeat_interleave(times, dim=0)
    steps = _steps(config, model.config.num_codebooks, left_open)
    processors = build_processors(
        config, prompt_columns=1, vocabulary=model.config.audio_vocab_size, extra=logits_processor or []
    )
    seeds, noise = _noise(config, given.get("noise"), len(text), model.config.audio_vocab_size, text.device)
    choose = Chooser(text, processors, noise)
    frame = model.depth.sample(moment, text[:, 0], choose, steps=steps)
    sequences = torch.cat([text, frame], dim=1)
    if not config.return_dict_in_generate:
        return sequences
    scores = tuple(choose.scores) if config.output_scores else None
    return GenerateDecoderOnlyOutput(sequences=sequences, scores=scores, seeds=seeds or None)


def _prompt(model: Any, inputs: Tensor | None, given: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """The text token (B, 1) and the main decoder's state (B, 1, D), where the model is."""
    ids, moment = given.get("input_ids") if inputs is None else inputs, given.get("last_hidden_state")
    if ids is None or moment is None:
        raise ParamError("input_ids and last_hidden_state have to be given", fix="Give both of them")
    check_ids(ids, model.config.vocab_size)
    wanted = (len(ids), 1, model.config.input_size)
    if ids.shape[1] != 1 or tuple(moment.shape) != wanted:
        raise ParamError(
            f"input_ids of shape {tuple(ids.shape)} and last_hidden_state of shape {tuple(moment.shape)}",
            expected=f"({len(ids)}, 1) and {wanted}",
        )
    return ids.to(model.device, torch.int64), moment.to(model.device, model.dtype)


def _steps(config: GenerationConfig, codebooks: int, left_open: bool) -> int:
    if config.max_new_tokens is None and left_open:
        return codebooks
    steps = precedence.resolve_length(config, 1, max_length_is_default=False) - 1
    if steps > codebooks:
        raise ParamError(f"{steps} codebooks of a frame", expected=f"at most {codebooks}", fix="Lower max_length")
    return steps


def _noise(
    config: GenerationConfig, given: Noise | None, rows: int, vocabulary: int, device: torch.device
) -> tuple[list[int], Noise | None]:
    if not is_sampling(config):
        return [], None
    if given is not None:
        if config.seed is not None:
            raise ParamError("seed and noise were both given", expected="one of them")
        return [], given
    seeds = item_seeds(config.seed, rows)
    noise = ItemNoise(seeds, device=device)
    return seeds, lambda codebook: noise.gumbel(codebook, 1, vocabulary)[:, 0]
