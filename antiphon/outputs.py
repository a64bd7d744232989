"""What models return: dataclasses that can also be read like a dict or a tuple, empty fields left out.

Shapes: ``B`` rows, ``T`` frames or tokens, ``K`` streams, ``H`` heads, ``D`` width, ``V`` vocabulary, ``N`` samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from typing import Any

import torch


class ModelOutput:
    """Base of the output dataclasses.

    ``out.logits``, ``out["logits"]`` and ``out[0]`` all work; positions count the fields that are not ``None``;
    ``**out`` unpacks; ``to_tuple()`` gives the plain tuple that ``return_dict=False`` returns.
    """

    def _present(self) -> dict[str, Any]:
        fields: Any = dataclasses.fields(self)  # type: ignore[arg-type]  # every subclass is a dataclass
        return {f.name: getattr(self, f.name) for f in fields if getattr(self, f.name) is not None}

    def __getitem__(self, key: str | int | slice) -> Any:
        return self._present()[key] if isinstance(key, str) else self.to_tuple()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, key, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._present())

    def __len__(self) -> int:
        return len(self._present())

    def __contains__(self, key: object) -> bool:
        return key in self._present()

    def keys(self) -> KeysView[str]:
        return self._present().keys()

    def values(self) -> ValuesView[Any]:
        return self._present().values()

    def items(self) -> ItemsView[str, Any]:
        return self._present().items()

    def get(self, key: str, default: Any = None) -> Any:
        return self._present().get(key, default)

    def to_tuple(self) -> tuple[Any, ...]:
        """The fields that are not ``None``, in order."""
        return tuple(self._present().values())


@dataclass
class BaseModelOutput(ModelOutput):
    """``last_hidden_state`` (B, T, D); per layer ``hidden_states`` (layers + 1) and ``attentions`` (B, H, T, T)."""

    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class BaseModelOutputWithPast(ModelOutput):
    """As ``BaseModelOutput``, with the cache."""

    last_hidden_state: torch.Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class BaseModelOutputWithPastAndCrossAttentions(ModelOutput):
    """As ``BaseModelOutputWithPast``, with ``cross_attentions`` per layer (B, H, T, T_memory)."""

    last_hidden_state: torch.Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    cross_attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class CausalLMOutputWithPast(ModelOutput):
    """``loss`` scalar, ``logits`` (B, T, V), and what the stack recorded."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class AudioModelOutputWithPast(BaseModelOutputWithPast):
    """As ``BaseModelOutputWithPast``; ``audio_hidden_states`` (F, D): the sound's frames as the text holds them."""

    audio_hidden_states: torch.Tensor | None = None


@dataclass
class AudioCausalLMOutputWithPast(CausalLMOutputWithPast):
    """As ``CausalLMOutputWithPast``; ``audio_hidden_states`` (F, D): the sound's frames as the text holds them."""

    audio_hidden_states: torch.Tensor | None = None


@dataclass
class CausalLMOutputWithCrossAttentions(ModelOutput):
    """As ``CausalLMOutputWithPast``, with ``cross_attentions``; MusicGen's ``logits`` are (B * K, T, V)."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    cross_attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class MusicgenMelodyOutputWithPast(ModelOutput):
    """``loss`` scalar, ``logits`` (B * K, P + T, V), and what the stack recorded.

    ``encoder_hidden_states`` (B, P, D) is the composite's: melody and text as they stood in front of the columns.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    encoder_hidden_states: torch.Tensor | None = None


@dataclass
class Seq2SeqLMOutput(ModelOutput):
    """The composite's output: the decoder's part, then the text encoder's."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    past_key_values: Any = None
    decoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    decoder_attentions: tuple[torch.Tensor, ...] | None = None
    cross_attentions: tuple[torch.Tensor, ...] | None = None
    encoder_last_hidden_state: torch.Tensor | None = None
    encoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    encoder_attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class GenerateDecoderOnlyOutput(ModelOutput):
    """What ``generate(return_dict_in_generate=True)`` of a standalone decoder returns.

    ``sequences`` holds the codes; ``scores`` (processed) and ``logits`` (raw) one tensor a step; ``seeds`` the item
    seeds that were used, so that the same call can be repeated.
    """

    sequences: torch.Tensor | None = None
    scores: tuple[torch.Tensor, ...] | None = None
    logits: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[Any, ...] | None = None
    hidden_states: tuple[Any, ...] | None = None
    past_key_values: Any = None
    seeds: list[int] | None = None


@dataclass
class GenerateBeamDecoderOnlyOutput(ModelOutput):
    """What a search with W beams returns with ``return_dict_in_generate=True``, n texts of each of B items.

    ``sequences`` (B * n, L), the best of an item first; ``sequences_scores`` (B * n,) what they were compared by, where
    scores were asked for; ``scores`` (processed log-probabilities) and ``logits`` (raw) (B * W, V), one tensor a step;
    ``beam_indices`` (B * n, L') the row of each step's scores that a new token was taken from, -1 behind an end.
    """

    sequences: torch.Tensor | None = None
    sequences_scores: torch.Tensor | None = None
    scores: tuple[torch.Tensor, ...] | None = None
    logits: tuple[torch.Tensor, ...] | None = None
    beam_indices: torch.Tensor | None = None
    attentions: tuple[Any, ...] | None = None
    hidden_states: tuple[Any, ...] | None = None
    past_key_values: Any = None
    seeds: list[int] | None = None


@dataclass
class GenerateEncoderDecoderOutput(ModelOutput):
    """As ``GenerateDecoderOnlyOutput`` for a composite.

    ``sequences`` holds the waveform (B, C, N); ``audio_codes`` the codes it was decoded from (B, K, T);
    ``audio_lengths`` the valid samples of each row, where rows differ.
    """

    sequences: torch.Tensor | None = None
    scores: tuple[torch.Tensor, ...] | None = None
    logits: tuple[torch.Tensor, ...] | None = None
    encoder_attentions: tuple[torch.Tensor, ...] | None = None
    encoder_hidden_states: tuple[torch.Tensor, ...] | None = None
    decoder_attentions: tuple[Any, ...] | None = None
    cross_attentions: tuple[Any, ...] | None = None
    decoder_hidden_states: tuple[Any, ...] | None = None
    past_key_values: Any = None
    audio_codes: torch.Tensor | None = None
    audio_lengths: list[int] | None = None
    seeds: list[int] | None = None


@dataclass
class MoshiCausalLMOutputWithPast(ModelOutput):
    """``loss`` scalar, ``logits`` (B, T, V), ``last_hidden_state`` (B, T, D) of the same columns, and the rest."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class MoshiConditionalGenerationOutputWithPast(ModelOutput):
    """The main decoder's part, then the depth decoder's.

    ``loss`` is the sum of both losses, ``depth_loss`` the depth decoder's. ``audio_logits`` (B * T, K, V) and
    ``last_hidden_state`` (B * T, 1, D), else (B, T, D), where there are audio labels.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    past_key_values: Any = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    depth_loss: torch.Tensor | None = None
    audio_logits: torch.Tensor | None = None
    depth_past_key_values: Any = None
    depth_hidden_states: tuple[torch.Tensor, ...] | None = None
    depth_attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class MoshiConditionalGenerationGenerateOutput(ModelOutput):
    """What Moshi's ``generate`` returns.

    ``audio_sequences`` (B, 1, N) the waveforms, ``audio_codes`` (B, K, T) what they were decoded from, ``sequences``
    (B, L) the text; ``scores`` (processed) and ``logits`` (raw) of the text, one tensor a step; ``seeds`` the item
    seeds that were used.
    """

    audio_sequences: torch.Tensor | None = None
    sequences: torch.Tensor | None = None
    sequences_scores: torch.Tensor | None = None
    scores: tuple[torch.Tensor, ...] | None = None
    logits: tuple[torch.Tensor, ...] | None = None
    beam_indices: torch.Tensor | None = None
    attentions: tuple[Any, ...] | None = None
    hidden_states: tuple[Any, ...] | None = None
    past_key_values: Any = None
    audio_codes: torch.Tensor | None = None
    seeds: list[int] | None = None


@dataclass
class MoshiUnconditionalInput(ModelOutput):
    """A start: ``input_ids`` and ``attention_mask`` (B, 1), codes of the user and of Moshi (B, K, 1)."""

    input_ids: torch.Tensor | None = None
    user_audio_codes: torch.Tensor | None = None
    moshi_audio_codes: torch.Tensor | None = None
    attention_mask: torch.Tensor | None = None
