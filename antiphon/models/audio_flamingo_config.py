"""The documented configurations of Audio Flamingo 3 and Music Flamingo."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from antiphon.errors import ConfigError
from antiphon.models.configuration import PreTrainedConfig, check_activation
from antiphon.models.qwen2_config import Qwen2Config
from antiphon.models.rotary_config import RotaryConfig

_ENCODER = "audioflamingo3_encoder"


class AudioFlamingo3EncoderConfig(PreTrainedConfig):
    """Sizes of the audio encoder; the defaults are those of the published checkpoints.

    ``scale_embedding`` is kept and has no effect, as in the reference.
    """

    model_type: ClassVar[str] = _ENCODER
    attribute_map: ClassVar[dict[str, str]] = {
        "d_model": "hidden_size",
        "encoder_layers": "num_hidden_layers",
        "encoder_attention_heads": "num_attention_heads",
        "encoder_ffn_dim": "intermediate_size",
        "encoder_layerdrop": "layerdrop",
    }
    positive: ClassVar[tuple[str, ...]] = (
        "num_mel_bins",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_size",
        "max_source_positions",
    )
    counts: ClassVar[tuple[str, ...]] = ("num_hidden_layers",)

    num_mel_bins: int = 128
    num_hidden_layers: int = 32
    num_attention_heads: int = 20
    intermediate_size: int = 5120
    layerdrop: float = 0.0
    activation_function: Any = "gelu"
    hidden_size: int = 1280
    dropout: float = 0.0
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    initializer_range: float = 0.02
    scale_embedding: bool = False
    max_source_positions: int = 1500

    def validate_architecture(self) -> None:
        check_activation(self, "activation_function", self.activation_function)
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"AudioFlamingo3EncoderConfig.num_attention_heads={self.num_attention_heads} does not divide "
                f"hidden_size={self.hidden_size}"
            )
        for field in ("layerdrop", "dropout", "attention_dropout", "activation_dropout"):
            if not 0 <= getattr(self, field) <= 1:
                raise ConfigError(f"AudioFlamingo3EncoderConfig.{field}={getattr(self, field)}", expected="0 to 1")
        if not self.initializer_range >= 0:
            raise ConfigError(
                f"AudioFlamingo3EncoderConfig.initializer_range={self.initializer_range}", expected="0 or more"
            )


def _part(field: str, value: Any) -> Any:
    """A sub-configuration as it was given; a dict without a type, or with that of preview files, gets ours."""
    if isinstance(value, dict):
        stated = value.get("model_type")
        if stated is None or (field == "audio_config" and stated == "musicflamingo_encoder"):
            return {name: part for name, part in value.items() if name != "model_type"}
    return value


def _check_parts(config: Any) -> None:
    """Raises ``ConfigError`` for parts of other kinds, and for a projector that there is not."""
    name = type(config).__name__
    check_activation(config, "projector_hidden_act", config.projector_hidden_act)
    for field, kind in (("audio_config", AudioFlamingo3EncoderConfig), ("text_config", Qwen2Config)):
        part = getattr(config, field)
        if not isinstance(part, kind):
            raise ConfigError(f"{name}.{field} of class {type(part).__name__}", expected=kind.__name__)


class AudioFlamingo3Config(PreTrainedConfig):
    """An audio encoder, a projector and a Qwen2; the parts are configurations, dicts, or their defaults."""

    model_type: ClassVar[str] = "audioflamingo3"
    sub_configs: ClassVar[dict[str, str]] = {"audio_config": _ENCODER, "text_config": "qwen2"}

    audio_config: Any = None
    text_config: Any = None
    audio_token_id: int = 151669
    projector_hidden_act: Any = "gelu"
    projector_bias: bool = True

    def _sub_config(self, field: str, value: Any, model_type: str) -> PreTrainedConfig:
        return super()._sub_config(field, _part(field, value), model_type)

    def validate_architecture(self) -> None:
        _check_parts(self)


class MusicFlamingoConfig(RotaryConfig):
    """An audio encoder, the rotary time embedding, a projector and a Qwen2.

    The parts are configurations, dicts, or their defaults. ``rope_parameters`` is of the time embedding: the base
    ``rope_theta``, which is also the longest recording in seconds, and ``partial_rotary_factor``, the share of the
    encoder's channels that each of two axes turns. ``head_dim`` and ``max_position_embeddings`` follow from these.
    """

    model_type: ClassVar[str] = "musicflamingo"
    sub_configs: ClassVar[dict[str, str]] = {"audio_config": _ENCODER, "text_config": "qwen2"}
    default_theta: ClassVar[float] = 1200.0

    audio_config: Any = None
    text_config: Any = None
    audio_token_id: int = 151669
    projector_hidden_act: Any = "gelu"
    projector_bias: bool = True
    audio_bos_token_id: int = 151670
    audio_eos_token_id: int = 151671
    audio_frame_step: float = 0.01
    rope_parameters: dict[str, Any] | None = None

    @property
    def partial_rotary_factor(self) -> float:
        """The share of the encoder's channels that each of two axes turns."""
        factor: float = (self.rope_parameters or {})["partial_rotary_factor"]
        return factor

    @partial_rotary_factor.setter
    def partial_rotary_factor(self, value: Any) -> None:
        self.rope_parameters = {**(self.rope_parameters or {}), "partial_rotary_factor": value}

    def _sub_config(self, field: str, value: Any, model_type: str) -> PreTrainedConfig:
        return super()._sub_config(field, _part(field, value), model_type)

    def derive(self) -> None:
        super().derive()
        if isinstance(self.rope_parameters, dict):
            self.rope_parameters = {"partial_rotary_factor": 0.2, **self.rope_parameters}
            self.max_position_embeddings = self.rope_theta
        self.head_dim = self.audio_config.hidden_size

    def validate_architecture(self) -> None:
        _check_parts(self)
        stated = dict(self.rope_parameters or {})
        factor = stated.pop("partial_rotary_factor", None)
        self.check_rotary(stated)
        # two axes turn channels of their own, in pairs
        if not (type(factor) in (int, float) and math.isfinite(factor) and 2 * int(self.head_dim * factor) >= 2):
            raise ConfigError(f"MusicFlamingoConfig: partial_rotary_factor={factor!r}", expected="0 to 0.5, above 0")
        if not 4 * ((int(self.head_dim * factor) + 1) // 2) <= self.head_dim:
            raise ConfigError(f"MusicFlamingoConfig: partial_rotary_factor={factor!r}", expected="0 to 0.5, above 0")
        if not 0 < self.audio_frame_step < math.inf:
            raise ConfigError(f"MusicFlamingoConfig.audio_frame_step={self.audio_frame_step}", expected="above 0")
