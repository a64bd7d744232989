"""The documented MusicGen configurations, and what those of MusicGen Melody share with them."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from antiphon.errors import ConfigError
from antiphon.models.configuration import PreTrainedConfig, check_activation


class CodeDecoderConfig(PreTrainedConfig):
    """Sizes of a decoder over the codes of a codec; the defaults are musicgen-small's.

    ``audio_channels=2`` makes every second codebook the right channel's. ``scale_embedding`` divides the summed
    embeddings by the square root of ``hidden_size``.
    """

    positive: ClassVar[tuple[str, ...]] = (
        "vocab_size",
        "max_position_embeddings",
        "num_hidden_layers",
        "ffn_dim",
        "num_attention_heads",
        "hidden_size",
        "num_codebooks",
        "audio_channels",
    )
    counts: ClassVar[tuple[str, ...]] = ("num_hidden_layers", "num_codebooks")

    vocab_size: int = 2048
    max_position_embeddings: int = 2048
    num_hidden_layers: int = 24
    ffn_dim: int = 4096
    num_attention_heads: int = 16
    layerdrop: float = 0.0
    use_cache: bool = True
    activation_function: Any = "gelu"
    hidden_size: int = 1024
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    initializer_factor: float = 0.02
    scale_embedding: bool = False
    num_codebooks: int = 4
    audio_channels: int = 1
    pad_token_id: int | None = 2048
    bos_token_id: int | None = 2048
    eos_token_id: int | list[int] | None = None
    tie_word_embeddings: bool = False
    is_decoder: bool = False
    add_cross_attention: bool = False

    def validate_architecture(self) -> None:
        name = type(self).__name__
        if self.audio_channels not in (1, 2):
            raise ConfigError(f"{name}: Expected 1 (mono) or 2 (stereo) audio channels, got {self.audio_channels}")
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"{name}.num_attention_heads={self.num_attention_heads} does not divide hidden_size={self.hidden_size}"
            )
        if self.num_codebooks % self.audio_channels:
            raise ConfigError(
                f"{name}.num_codebooks={self.num_codebooks}",
                expected=f"a multiple of audio_channels={self.audio_channels}",
            )
        check_activation(self, "activation_function", self.activation_function)
        for chance in ("dropout", "attention_dropout", "activation_dropout", "layerdrop"):
            if not 0 <= getattr(self, chance) <= 1:
                raise ConfigError(f"{name}.{chance}={getattr(self, chance)}", expected="0 to 1")


class MusicCompositeConfig(PreTrainedConfig):
    """A text encoder, an audio codec and a decoder; each a configuration, a dict, or its defaults."""

    text_encoder: Any = None
    audio_encoder: Any = None
    decoder: Any = None

    def derive(self) -> None:
        self.is_encoder_decoder = True

    @property
    def sampling_rate(self) -> int:
        """Of the codec, in Hz."""
        return int(self.audio_encoder.sampling_rate)

    @classmethod
    def from_sub_models_config(cls, text_encoder: Any, audio_encoder: Any, decoder: Any, **kwargs: Any) -> Self:
        """A configuration from three."""
        return cls(text_encoder=text_encoder, audio_encoder=audio_encoder, decoder=decoder, **kwargs)


class MusicgenDecoderConfig(CodeDecoderConfig):
    """Sizes of MusicGen's decoder, which attends to the text."""

    model_type: ClassVar[str] = "musicgen_decoder"

    cross_attention_hidden_size: int | None = None


class MusicgenConfig(MusicCompositeConfig):
    """MusicGen: its text encoder, codec and decoder."""

    model_type: ClassVar[str] = "musicgen"
    sub_configs: ClassVar[dict[str, str]] = {
        "text_encoder": "t5",
        "audio_encoder": "encodec",
        "decoder": "musicgen_decoder",
    }

    initializer_factor: float = 0.02
