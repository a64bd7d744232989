"""The documented MusicGen decoders: their layers attend to the text."""

from __future__ import annotations

from typing import ClassVar

from antiphon.models.code_decoder import CodeDecoder, CodeDecoderForCausalLM
from antiphon.models.musicgen_config import MusicgenDecoderConfig
from antiphon.outputs import BaseModelOutputWithPastAndCrossAttentions, CausalLMOutputWithCrossAttentions


class MusicgenModel(CodeDecoder):
    """The decoder without heads.

    Args:
        config: a ``MusicgenDecoderConfig``.
    """

    config_class = MusicgenDecoderConfig
    output_class = BaseModelOutputWithPastAndCrossAttentions
    sections: ClassVar[dict[str, tuple[str, str]]] = {"musicgen": ("decoder", "decoder.model.")}
    cross_attends = True


class MusicgenForCausalLM(CodeDecoderForCausalLM):
    """The decoder with one head a codebook.

    Args:
        config: a ``MusicgenDecoderConfig``.
    """

    config_class = MusicgenDecoderConfig
    output_class = CausalLMOutputWithCrossAttentions
    decoder_class = MusicgenModel
    sections: ClassVar[dict[str, tuple[str, str]]] = {"musicgen": ("decoder", "decoder.")}
