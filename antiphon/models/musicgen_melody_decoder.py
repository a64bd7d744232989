"""The documented MusicGen Melody decoders: melody and text stand in front of the columns."""

from __future__ import annotations

from typing import ClassVar

from antiphon.models.code_decoder import CodeDecoder, CodeDecoderForCausalLM
from antiphon.models.musicgen_melody_config import MusicgenMelodyDecoderConfig
from antiphon.outputs import BaseModelOutputWithPast, MusicgenMelodyOutputWithPast


class MusicgenMelodyModel(CodeDecoder):
    """The decoder without heads, of a ``MusicgenMelodyDecoderConfig``."""

    sections: ClassVar[dict[str, tuple[str, str]]] = {"musicgen_melody": ("decoder", "decoder.model.")}
    cross_attends = False
    config_class = MusicgenMelodyDecoderConfig
    output_class = BaseModelOutputWithPast


class MusicgenMelodyForCausalLM(CodeDecoderForCausalLM):
    """The decoder with one head a codebook, of a ``MusicgenMelodyDecoderConfig``."""

    sections: ClassVar[dict[str, tuple[str, str]]] = {"musicgen_melody": ("decoder", "decoder.")}
    decoder_class = MusicgenMelodyModel
    config_class = MusicgenMelodyDecoderConfig
    output_class = MusicgenMelodyOutputWithPast
