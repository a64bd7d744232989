"""The documented MusicGen composite: text, and optionally a sound to go on from, to music."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.models.music_composite import MusicComposite, as_encoder_outputs
from antiphon.models.musicgen_config import MusicgenConfig, MusicgenDecoderConfig
from antiphon.models.musicgen_decoder import MusicgenForCausalLM, MusicgenModel
from antiphon.models.musicgen_generation import Hearing
from antiphon.models.musicgen_sound import encode_whole
from antiphon.models.musicgen_texts import text_conditions
from antiphon.models.pretrained import returned
from antiphon.outputs import ModelOutput, Seq2SeqLMOutput

__all__ = [
    "MusicgenConfig",
    "MusicgenDecoderConfig",
    "MusicgenForCausalLM",
    "MusicgenForConditionalGeneration",
    "MusicgenModel",
    "MusicgenUnconditionalInput",
]


@dataclass
class MusicgenUnconditionalInput(ModelOutput):
    """What stands for "no text": zero ``encoder_outputs`` ((B, 1, D),), a mask of zeros (B, 1), no guidance."""

    encoder_outputs: tuple[Tensor, ...] | None = None
    attention_mask: Tensor | None = None
    guidance_scale: float | None = None


class MusicgenForConditionalGeneration(MusicComposite):
    """Text, and optionally a sound to go on from, to music.

    Args:
        config: a ``MusicgenConfig``; or the three parts, of which any may also be given beside it.

    Raises:
        ConfigError: neither a configuration nor all three parts, or parts that do not fit each other.
    """

    config_class = MusicgenConfig
    routes: ClassVar[dict[str, str]] = {"head_mask": "text_encoder", "cross_attn_head_mask": "decoder"}
    relatives: ClassVar[dict[str, str]] = {"musicgen_melody": "text_to_waveform"}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        input_values: Tensor | None = None,
        padding_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Logits of decoder columns under a text.

        Args:
            input_ids: (B, M) text tokens with attention_mask (B, M); or inputs_embeds (B, M, D); or encoder_outputs,
                a tuple whose first entry is (B, M, D).
            decoder_input_ids: (B * K, T) or (B, K, T) int64, or decoder_inputs_embeds (B, T, D); without either, the
                codes of input_values (B, C, N) with padding_mask (B, N), or labels one column later.
            decoder_attention_mask: (B, S). labels: (B, T, K), as in ``MusicgenForCausalLM.forward``.
            head_mask: (layers, H) of the text encoder; decoder_head_mask, cross_attn_head_mask: of the decoder; all
                with ``attn_implementation="eager"`` only.
            kwargs: further ``text_encoder_<name>``, ``audio_encoder_<name>`` and ``decoder_<name>`` arguments.

        Returns:
            ``Seq2SeqLMOutput`` with ``logits`` (B * K, T, V), or a tuple.
        """
        routed = self._routed(kwargs)
        recording = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        if encoder_outputs is None:
            encoder_outputs = self.text_encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                inputs_embeds=inputs_embeds,
                return_dict=True,
                **recording,
                **routed["text_encoder"],
            )
        encoder_outputs = as_encoder_outputs(encoder_outputs)
        memory = self.project(encoder_outputs.last_hidden_state, attention_mask)
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self._decoder_inputs(labels, input_values, padding_mask, routed["audio_encoder"])
        out = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=memory,
            encoder_attention_mask=attention_mask,
            inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            past_key_values=past_key_values,
            labels=labels,
            return_dict=True,
            **recording,
            **routed["decoder"],
        )
        output = Seq2SeqLMOutput(
            loss=out.loss,
            logits=out.logits,
            past_key_values=out.past_key_values,
            decoder_hidden_states=out.hidden_states,
            decoder_attentions=out.attentions,
            cross_attentions=out.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
        )
        return returned(output, return_dict, self.config)

    def _decoder_inputs(
        self, labels: Tensor | None, input_values: Tensor | None, padding_mask: Tensor | None, kwargs: dict[str, Any]
    ) -> Tensor:
        config = self.config.decoder
        if labels is not None:
            return self.prepare_decoder_input_ids_from_labels(labels)
        if input_values is None:
            raise ParamError(
                "no decoder inputs", expected="decoder_input_ids, decoder_inputs_embeds, input_values or labels"
            )
        codes, _ = encode_whole(self.audio_encoder, input_values, padding_mask, **kwargs)
        if config.audio_channels == 2 and codes.shape[1] == config.num_codebooks // 2:
            codes = codes.repeat_interleave(2, dim=1)  # one channel's codes stand for both
        return codes.flatten(0, 1)  # (B, K, T) -> (B * K, T)

    def hearing(self, config: Any, given: dict[str, Any], texts: Any, padding: Any, items: int) -> Hearing:
        """The text, in all windows."""
        conditions = text_conditions(self, config, texts, padding)
        return lambda windows, number: conditions

    def get_unconditional_inputs(self, num_samples: int = 1) -> MusicgenUnconditionalInput:
        """The inputs that stand for "no text", for ``generate(**inputs)``."""
        shape = (num_samples, 1, self.config.text_encoder.hidden_size)
        return MusicgenUnconditionalInput(
            encoder_outputs=(torch.zeros(shape, device=self.device, dtype=self.dtype),),
            attention_mask=torch.zeros((num_samples, 1), device=self.device, dtype=torch.long),
            guidance_scale=1.0,
        )
