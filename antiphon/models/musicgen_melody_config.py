"""The documented MusicGen Melody configurations."""

from __future__ import annotations

from typing import ClassVar

from antiphon.models.musicgen_config import CodeDecoderConfig, MusicCompositeConfig


class MusicgenMelodyDecoderConfig(CodeDecoderConfig):
    """Sizes of MusicGen Melody's decoder, which has its conditions in front of its columns."""

    model_type: ClassVar[str] = "musicgen_melody_decoder"


class MusicgenMelodyConfig(MusicCompositeConfig):
    """MusicGen Melody: its text encoder, codec and decoder, and how it hears a melody.

    ``num_chroma`` pitch classes a frame; ``chroma_length`` frames in front of the text, 235 for 30 s.
    """

    model_type: ClassVar[str] = "musicgen_melody"
    sub_configs: ClassVar[dict[str, str]] = {
        "text_encoder": "t5",
        "audio_encoder": "encodec",
        "decoder": "musicgen_melody_decoder",
    }
    positive: ClassVar[tuple[str, ...]] = ("num_chroma", "chroma_length")

    num_chroma: int = 12
    chroma_length: int = 235
    initializer_factor: float = 0.02
