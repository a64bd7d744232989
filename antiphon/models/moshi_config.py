"""The documented configurations of Moshi."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from antiphon.errors import ConfigError
from antiphon.models.configuration import PreTrainedConfig, check_activation
from antiphon.models.rotary_config import RotaryConfig

# Fields of the depth decoder that are the main decoder's too: theirs and ours.
_COMMON_SIZES = {
    "audio_vocab_size": "audio_vocab_size",
    "input_size": "hidden_size",
    "vocab_size": "vocab_size",
    "num_codebooks": "num_codebooks",
}


def _derive_heads(config: Any) -> None:
    """Fills the number of key heads and the width of a head where they are left open."""
    heads = config.num_attention_heads
    if config.num_key_value_heads is None:
        config.num_key_value_heads = heads
    if config.head_dim is None and type(heads) is int and heads > 0 and type(config.hidden_size) is int:
        config.head_dim = config.hidden_size // heads


def _check_decoder(config: Any) -> None:
    """Raises ``ConfigError`` for sizes that no decoder can have."""
    name = type(config).__name__
    check_activation(config, "hidden_act", config.hidden_act)
    if config.ffn_dim % 2:
        raise ConfigError(f"{name}: `ffn_dim={config.ffn_dim}` must be even")
    if config.hidden_size % config.num_attention_heads:
        raise ConfigError(
            f"{name}.num_attention_heads={config.num_attention_heads} does not divide hidden_size={config.hidden_size}"
        )
    if config.num_attention_heads % config.num_key_value_heads:
        raise ConfigError(
            f"{name}.num_key_value_heads={config.num_key_value_heads} does not divide "
            f"num_attention_heads={config.num_attention_heads}"
        )
    if not 0 <= config.attention_dropout <= 1:
        raise ConfigError(f"{name}.attention_dropout={config.attention_dropout}", expected="0 to 1")
    for field in ("rms_norm_eps", "initializer_range"):
        if not getattr(config, field) >= 0:
            raise ConfigError(f"{name}.{field}={getattr(config, field)}", expected="0 or more")


class MoshiDepthConfig(PreTrainedConfig):
    """Sizes of a decoder across codebooks; the defaults are Moshiko's.

    ``input_size`` is the width of the main decoder; ``ffn_dim`` counts both ways up of the gated layer;
    ``sliding_window`` is how many codebooks one sees, its own counted.
    """

    model_type: ClassVar[str] = "moshi_depth"
    positive: ClassVar[tuple[str, ...]] = (
        "vocab_size",
        "hidden_size",
        "input_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "audio_vocab_size",
        "max_position_embeddings",
        "head_dim",
        "sliding_window",
        "ffn_dim",
        "num_codebooks",
    )
    counts: ClassVar[tuple[str, ...]] = ("num_hidden_layers", "num_codebooks")

    vocab_size: int = 32000
    hidden_size: int = 1024
    input_size: int = 4096
    num_hidden_layers: int = 6
    num_attention_heads: int = 16
    num_key_value_heads: int | None = None
    audio_vocab_size: int = 2048
    max_position_embeddings: int = 9
    hidden_act: Any = "silu"
    head_dim: int | None = None
    initializer_range: float = 0.02
    use_cache: bool = True
    sliding_window: int = 8
    attention_dropout: float = 0.0
    ffn_dim: int = 5632
    rms_norm_eps: float = 1e-8
    num_codebooks: int = 8
    tie_word_embeddings: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    def derive(self) -> None:
        _derive_heads(self)

    def validate_architecture(self) -> None:
        _check_decoder(self)


class MoshiConfig(RotaryConfig):
    """Sizes of Moshi: its main decoder, its codec and its depth decoder; the defaults are Moshiko's.

    ``audio_encoder_config`` and ``depth_decoder_config`` are configurations, dicts, or their defaults; what a dict says
    of sizes that the main decoder decides is replaced, and a configuration has to agree with them.
    ``audio_vocab_size`` follows from the codec unless it is given. ``rope_theta`` is the older spelling of
    ``rope_parameters``.
    """

    model_type: ClassVar[str] = "moshi"
    sub_configs: ClassVar[dict[str, str]] = {"audio_encoder_config": "mimi", "depth_decoder_config": "moshi_depth"}
    # the documented name has one underscore too many
    attribute_map: ClassVar[dict[str, str]] = {"depth__config": "depth_decoder_config"}
    positive: ClassVar[tuple[str, ...]] = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "audio_vocab_size",
        "max_position_embeddings",
        "head_dim",
        "sliding_window",
        "ffn_dim",
        "num_codebooks",
    )
    counts: ClassVar[tuple[str, ...]] = ("num_hidden_layers", "num_codebooks")

    vocab_size: int = 32000
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    audio_vocab_size: int | None = None
    max_position_embeddings: int = 3000
    rope_parameters: dict[str, Any] | None = None
    hidden_act: Any = "silu"
    head_dim: int | None = None
    initializer_range: float = 0.02
    use_cache: bool = True
    sliding_window: int = 3000
    attention_dropout: float = 0.0
    ffn_dim: int = 22528
    rms_norm_eps: float = 1e-8
    num_codebooks: int = 8
    tie_word_embeddings: bool = False
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    audio_encoder_config: Any = None
    depth_decoder_config: Any = None

    def _sub_config(self, field: str, value: Any, model_type: str) -> PreTrainedConfig:
        if field == "depth_decoder_config":  # the codec's configuration is made by now
            if self.audio_vocab_size is None:
                self.audio_vocab_size = self.audio_encoder_config.codebook_size
            if value is None or isinstance(value, dict):
                ours = {theirs: getattr(self, name) for theirs, name in _COMMON_SIZES.items()}
                value = {**(value or {}), **ours}
        return super()._sub_config(field, value, model_type)

    def derive(self) -> None:
        super().derive()
        _derive_heads(self)

    def validate_architecture(self) -> None:
        super().validate_architecture()
        _check_decoder(self)
        if self.head_dim is None or self.head_dim % 2:
            raise ConfigError(f"MoshiConfig.head_dim={self.head_dim}", expected="an even width")
        most = self.audio_encoder_config.num_codebooks
        if self.num_codebooks > most:
            raise ConfigError(
                f"`num_codebooks={self.num_codebooks}` is greater than the maximum number of codebooks that the audio "
                f"encoder can deal with ({most})",
                fix="Lower it",
            )
        for theirs, name in _COMMON_SIZES.items():
            stated = getattr(self.depth_decoder_config, theirs)
            if stated != getattr(self, name):
                raise ConfigError(
                    f"depth_decoder_config.{theirs}={stated}",
                    expected=f"{name}={getattr(self, name)} of the main decoder",
                    fix="Give the depth decoder's configuration as a dict, or without sizes that are not its own",
                )

    @property
    def sampling_rate(self) -> int:
        """Of the codec, in Hz."""
        return int(self.audio_encoder_config.sampling_rate)

    @classmethod
    def from_audio_encoder_config(cls, audio_encoder_config: Any, **kwargs: Any) -> Self:
        """A configuration around a codec's; ``kwargs`` are its other fields."""
        return cls(audio_encoder_config=audio_encoder_config.to_dict(), **kwargs)
