"""The documented Audio Flamingo 3 classes: it hears sound and answers in text."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from antiphon.checkpoints.keys import KeyTable
from antiphon.generation.config import GenerationConfig
from antiphon.models.audio_flamingo_config import AudioFlamingo3Config as AudioFlamingo3Config
from antiphon.models.audio_flamingo_config import AudioFlamingo3EncoderConfig as AudioFlamingo3EncoderConfig
from antiphon.models.audio_flamingo_encoder import AudioFlamingo3Encoder as AudioFlamingo3Encoder
from antiphon.models.audio_flamingo_model import AudioFlamingo3Model as AudioFlamingo3Model
from antiphon.models.audio_flamingo_model import (
    AudioFlamingo3MultiModalProjector as AudioFlamingo3MultiModalProjector,
)
from antiphon.models.configuration import PreTrainedConfig
from antiphon.models.text_model import HeadedText, cache_wanted, with_rows
from antiphon.nn.linear import Linear
from antiphon.outputs import AudioCausalLMOutputWithPast

# Files have the names that the classes had when the first checkpoints were published.
_FILE_KEYS = KeyTable(
    [
        ("language_model.lm_head", "lm_head"),
        ("language_model", "model.language_model"),
        ("audio_tower", "model.audio_tower"),
        ("multi_modal_projector", "model.multi_modal_projector"),
    ]
)


class AudioFlamingo3ForConditionalGeneration(HeadedText):
    """Audio Flamingo 3: it hears sound and answers in text.

    Args:
        config: an ``AudioFlamingo3Config``.

    Attributes:
        model: an ``AudioFlamingo3Model``. lm_head: over the vocabulary, never tied to the embedding.
    """

    config_class: ClassVar[type[PreTrainedConfig]] = AudioFlamingo3Config
    rounded_heads = ("lm_head",)
    file_keys = _FILE_KEYS
    ignored_keys = (r"(model\.)?pos_emb\.",)
    bare_class: Any = AudioFlamingo3Model
    # which of the two a checkpoint is for says its own configuration, and no name
    relatives: ClassVar[dict[str, str]] = {"musicflamingo": "multimodal_lm"}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = self.bare_class(config)
        self.lm_head = Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.generation_config = GenerationConfig.from_model_config(config)
        self.post_init()

    def resize_token_embeddings(self, new_num_tokens: int | None = None, **kwargs: Any) -> nn.Module:
        """As of the language model; the head gets as many rows."""
        embedding: nn.Module = self.model.resize_token_embeddings(new_num_tokens, **kwargs)
        self.lm_head = with_rows(self.lm_head, self.config.text_config.vocab_size)
        return embedding

    def get_decoder(self) -> Any:
        """The language model without its head."""
        return self.model.language_model

    def get_encoder(self, modality: str | None = None) -> Any:
        """The audio encoder."""
        return self.model.audio_tower

    def get_audio_features(
        self,
        input_features: Tensor,
        input_features_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        window_indices: Tensor | None = None,
    ) -> Tensor:
        """As ``AudioFlamingo3Model.get_audio_features``, which documents it."""
        features: Tensor = self.model.get_audio_features(input_features, input_features_mask, input_ids, window_indices)
        return features

    def forward(
        self,
        input_ids: Tensor | None = None,
        input_features: Tensor | None = None,
        input_features_mask: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        cache_position: Tensor | None = None,
        window_indices: Tensor | None = None,
        audio_features: Tensor | None = None,
    ) -> Any:
        """Logits over text.

        Args:
            input_ids: (B, T) int64, in which placeholders stand for the frames of the sound; or inputs_embeds:
                (B, T, D), into which sound goes where ids are given too.
            input_features: (W, bands, N) float of any dtype, the windows of all recordings in the order of the text.
            input_features_mask: (W, N), 1 for mel frames of the sound itself; by default all.
            window_indices: (W,) int64, each window's number within its recording; without it runs of placeholders tell.
            audio_features: (F, D) from ``get_audio_features``, in the place of ``input_features``.
            attention_mask: (B, S) over all columns so far, 1 for real ones. position_ids: (B, T) int64; by default
                columns are counted on from the cache.
            past_key_values: a cache, written in place and returned; what it holds is given again in no argument.
            labels: (B, T) int64, the text itself, which is shifted here; -100 does not count.
            logits_to_keep: only so many last columns get logits, 0 means all; or the numbers of the columns (C,).

        Returns:
            ``CausalLMOutputWithPast`` with ``logits`` (B, T, V), and ``audio_hidden_states`` (F, D); or a tuple.

        Raises:
            ParamError: shapes that do not fit, or more or less placeholders than frames.
        """
        out = self.model(
            input_ids,
            input_features=input_features,
            input_features_mask=input_features_mask,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=cache_wanted(use_cache, labels, past_key_values),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            return_dict=True,
            cache_position=cache_position,
            window_indices=window_indices,
            audio_features=audio_features,
        )
        return self._told(out, labels, logits_to_keep, return_dict)

    def _output(self, out: Any, loss: Tensor | None, logits: Tensor, hidden: Tensor) -> AudioCausalLMOutputWithPast:
        return AudioCausalLMOutputWithPast(
            **super()._output(out, loss, logits, hidden), audio_hidden_states=out.audio_hidden_states
        )

    @torch.no_grad()
    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        stopping_criteria: Any = None,
        synced_gpus: bool | None = None,
        streamer: Any = None,
        **kwargs: Any,
    ) -> Any:
        """An answer.

        Args:
            inputs: (B, L0) int64, also as ``input_ids``, padded on the left.
            logits_processor, stopping_criteria: lists of callables over ids (B, L) and scores (B, V).
            kwargs: fields of the generation configuration; ``attention_mask`` (B, L0); the sound as ``input_features``
                with ``input_features_mask`` and ``window_indices``, or as ``audio_features`` (F, D) that
                ``get_audio_features`` gave before; ``past_key_values``, a cache that holds the beginning of the prompt,
                whose sound need not be given again; ``position_ids``, ``inputs_embeds`` (without sound); ``tokenizer``
                for ``stop_strings``; ``prefix_allowed_tokens_fn``; ``seed``.

        Returns:
            (B * num_return_sequences, L) int64, the prompt first, or ``GenerateDecoderOnlyOutput``.

        Raises:
            ParamError: a value out of range, or placeholders without sound. ParamTypeError: an unknown argument.
        """
        from antiphon.models.audio_flamingo_prompts import with_sound

        given = (generation_config, logits_processor, stopping_criteria, synced_gpus, streamer)
        return super().generate(inputs, *given, **with_sound(self, inputs, kwargs))
