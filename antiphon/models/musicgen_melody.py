"""The documented MusicGen Melody composite: text and a melody to follow, to music."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.generation.guidance import ClassifierFreeGuidance
from antiphon.models.music_composite import MusicComposite
from antiphon.models.musicgen_generation import Hearing
from antiphon.models.musicgen_melody_conditions import (
    MelodyHearing,
    check_melody,
    melody_prefix,
    null_melody,
    own_text_places,
    text_places,
)
from antiphon.models.musicgen_melody_config import MusicgenMelodyConfig, MusicgenMelodyDecoderConfig
from antiphon.models.musicgen_melody_decoder import MusicgenMelodyForCausalLM, MusicgenMelodyModel
from antiphon.models.pretrained import returned
from antiphon.outputs import MusicgenMelodyOutputWithPast

log = logging.getLogger(__name__)

__all__ = [
    "MusicgenMelodyConfig",
    "MusicgenMelodyDecoderConfig",
    "MusicgenMelodyForCausalLM",
    "MusicgenMelodyForConditionalGeneration",
    "MusicgenMelodyModel",
]


class MusicgenMelodyForConditionalGeneration(MusicComposite):
    """Text, a melody to follow, and optionally a sound to go on from, to music.

    Args:
        config: a ``MusicgenMelodyConfig``; or the three parts, of which any may also be given beside it.

    Raises:
        ConfigError: neither a configuration nor all three parts, or parts that do not fit each other.
    """

    config_class = MusicgenMelodyConfig
    conditions_accepted = ("input_features", "input_features_mask")

    def _projections(self) -> dict[str, tuple[int, int]]:
        classes, width = self.config.num_chroma, self.config.decoder.hidden_size
        chroma = {"audio_enc_to_dec_proj": (classes, width)} if classes != width else {}
        return super()._projections() | chroma

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        input_features: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        encoder_hidden_states: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        input_features_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Logits of decoder columns behind a melody and a text.

        Args:
            input_ids: (B, M) text tokens with attention_mask (B, M); or inputs_embeds (B, M, D). Pads stay in front of
                the columns, as zeros.
            input_features: (B, F, C) chroma, tiled or cut to ``chroma_length`` frames; with input_features_mask (B, F)
                each row is tiled from its own real frames. Text without it stands behind the melody of silence.
            encoder_hidden_states: (B, P, D), what stands in front, instead of all that.
            decoder_input_ids: (B * K, T) or (B, K, T) int64, or decoder_inputs_embeds (B, T, D); without either, labels
                one column later, or else inputs_embeds where they have the decoder's width.
            decoder_attention_mask: (B, T). labels: (B, T, K), as in ``MusicgenMelodyForCausalLM.forward``.
            kwargs: ``output_attentions``, ``output_hidden_states``, ``return_dict``; further
                ``text_encoder_<name>`` and ``decoder_<name>`` arguments.

        Returns:
            ``MusicgenMelodyOutputWithPast`` with ``logits`` (B * K, P + T, V), or a tuple.
        """
        return_dict = kwargs.pop("return_dict", None)
        recording = {name: kwargs.pop(name, None) for name in ("output_attentions", "output_hidden_states")}
        routed = self._routed(kwargs)
        if encoder_hidden_states is not None and input_features is not None:
            raise ParamError(
                "both input_features and encoder_hidden_states",
                expected="one of them: the states are all that stands in front",
            )
        if encoder_hidden_states is None:
            text = None
            if input_ids is not None or inputs_embeds is not None:
                text = self.text_encoder(
                    input_ids, attention_mask, inputs_embeds=inputs_embeds, **recording, **routed["text_encoder"]
                )[0]
                text = self.project(text, attention_mask)
            encoder_hidden_states = self._front(text, input_features, input_features_mask)
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            if labels is not None:
                decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
            else:
                decoder_inputs_embeds = self._as_columns(inputs_embeds)
        out = self.decoder(
            decoder_input_ids,
            decoder_attention_mask,
            encoder_hidden_states=encoder_hidden_states,
            inputs_embeds=decoder_inputs_embeds,
            past_key_values=past_key_values,
            labels=labels,
            use_cache=use_cache,
            return_dict=True,
            **recording,
            **routed["decoder"],
        )
        output = MusicgenMelodyOutputWithPast(**{**out, "encoder_hidden_states": encoder_hidden_states})
        return returned(output, return_dict, self.config)

    def _front(self, text: Tensor | None, chroma: Tensor | None, mask: Tensor | None) -> Tensor | None:
        """What stands in front of the columns: chroma, then text (B, M, D); ``None`` where there is neither."""
        if chroma is None:
            if text is None:
                return None
            melody = melody_prefix(self, null_melody(len(text), self.config.num_chroma, like=text))
        else:
            check_melody(self, chroma, mask, None if text is None else len(text))
            if chroma.shape[1] > self.config.chroma_length:
                log.warning(
                    "a melody of %d frames is cut to the %d that the model takes",
                    chroma.shape[1],
                    self.config.chroma_length,
                )
            melody = melody_prefix(self, chroma, mask)
        return melody if text is None else torch.cat([melody.to(text), text], dim=1)

    def _as_columns(self, embedded: Tensor | None) -> Tensor:
        width = self.config.decoder.hidden_size
        if embedded is None or embedded.shape[-1] != width:
            raise ParamError(
                "no decoder inputs",
                expected=f"decoder_input_ids, decoder_inputs_embeds, labels, or inputs_embeds of width {width}",
            )
        return embedded

    # generation

    def hearing(self, config: Any, given: dict[str, Any], texts: Any, padding: Any, items: int) -> Hearing:
        """The melody and the text, the melody at the place of each window."""
        chroma, mask = given.get("input_features"), given.get("input_features_mask")
        if chroma is not None:
            check_melody(self, chroma, mask, items, windows=True)
        elif mask is not None:
            raise ParamError("input_features_mask without input_features", fix="Leave it out")
        text, text_mask = text_places(self, texts, padding, items)
        return MelodyHearing(
            self,
            text,
            own_text_places(text_mask) if config.independent_rows else None,
            chroma,
            mask,
            guided=ClassifierFreeGuidance.for_scale(config.guidance_scale) is not None,
        )
