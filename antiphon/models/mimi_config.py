"""The documented configuration of Mimi."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from antiphon.errors import ConfigError, ParamError
from antiphon.models.configuration import check_activation
from antiphon.models.rotary_config import RotaryConfig
from antiphon.nn.conv import PAD_MODES

_RATIOS = [8, 6, 5, 4]


class MimiConfig(RotaryConfig):
    """Sizes of a Mimi; the defaults are the published codec's: 24 kHz, 12.5 Hz, 32 codebooks.

    ``frame_rate`` may be stated, as older files do; by default there is one frame for two of the convolutions'.
    """

    model_type: ClassVar[str] = "mimi"
    positive: ClassVar[tuple[str, ...]] = (
        "sampling_rate",
        "hidden_size",
        "num_filters",
        "kernel_size",
        "last_kernel_size",
        "residual_kernel_size",
        "dilation_growth_rate",
        "compress",
        "codebook_size",
        "codebook_dim",
        "upsample_groups",
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "sliding_window",
        "max_position_embeddings",
    )
    counts: ClassVar[tuple[str, ...]] = (
        "num_residual_layers",
        "num_hidden_layers",
        "num_quantizers",
        "num_semantic_quantizers",
    )

    sampling_rate: int = 24_000
    audio_channels: int = 1
    hidden_size: int = 512
    num_filters: int = 64
    num_residual_layers: int = 1
    upsampling_ratios: list[int] | None = None
    kernel_size: int = 7
    last_kernel_size: int = 3
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    use_causal_conv: bool = True
    pad_mode: str = "constant"
    compress: int = 2
    trim_right_ratio: float = 1.0
    codebook_size: int = 2048
    codebook_dim: int | None = 256
    num_quantizers: int = 32
    use_conv_shortcut: bool = False
    vector_quantization_hidden_dimension: int = 256
    num_semantic_quantizers: int = 1
    upsample_groups: int = 512
    num_hidden_layers: int = 8
    intermediate_size: int = 2048
    num_attention_heads: int = 8
    num_key_value_heads: int = 8
    head_dim: int | None = None
    hidden_act: str = "gelu"
    max_position_embeddings: int = 8000
    initializer_range: float = 0.02
    norm_eps: float = 1e-5
    use_cache: bool = False
    use_streaming: bool = False
    rope_parameters: dict[str, Any] | None = None
    sliding_window: int = 250
    attention_dropout: float = 0.0
    layer_scale_initial_scale: float = 0.01
    attention_bias: bool = False
    tie_word_embeddings: bool = True
    _frame_rate: ClassVar[float | None] = None  # what was stated; an attribute of the instance hides it

    def derive(self) -> None:
        super().derive()
        if not self.upsampling_ratios:
            self.upsampling_ratios = list(_RATIOS)
        if self.codebook_dim is None:
            self.codebook_dim = self.hidden_size
        if self.head_dim is None and type(self.num_attention_heads) is int and self.num_attention_heads > 0:
            self.head_dim = self.hidden_size // self.num_attention_heads

    def validate_architecture(self) -> None:
        super().validate_architecture()
        check_activation(self, "hidden_act", self.hidden_act)
        self._validate_convolutions()
        self._validate_transformer()
        if not 1 <= self.num_semantic_quantizers < self.num_quantizers:
            self._refuse("num_semantic_quantizers", f"at least 1, and less than num_quantizers={self.num_quantizers}")
        if self.codebook_size & (self.codebook_size - 1):
            self._refuse("codebook_size", "a power of 2")
        if self.codebook_dim != self.vector_quantization_hidden_dimension:
            wanted = f"vector_quantization_hidden_dimension={self.vector_quantization_hidden_dimension}"
            self._refuse("codebook_dim", wanted)
        for half in ("encoder_config", "decoder_config"):
            if half in vars(self):
                self._refuse(half, "no such key: both halves have the fields of the whole and are always there")

    def _validate_convolutions(self) -> None:
        ratios = self.upsampling_ratios or []
        if not 1 <= len(ratios) <= 16 or min(ratios) < 1 or math.prod(ratios) > 2**24:
            self._refuse("upsampling_ratios", "1 to 16 positive factors")
        if not 1 <= self.audio_channels <= 2:
            self._refuse("audio_channels", "1 or 2")
        if self.pad_mode not in PAD_MODES:
            self._refuse("pad_mode", f"one of {PAD_MODES}")
        if self.compress > self.num_filters:
            self._refuse("compress", f"at most num_filters={self.num_filters}")
        if not 0 <= self.trim_right_ratio <= 1:
            self._refuse("trim_right_ratio", "0 to 1")
        if not self.frame_rate > 0 or not 1 <= self.latent_stride <= 4096:
            self._refuse("frame_rate", f"above 0, up to the {self.encodec_frame_rate} Hz of the convolutions")
        if self.hidden_size % self.upsample_groups:
            self._refuse("upsample_groups", f"a divisor of hidden_size={self.hidden_size}")

    def _validate_transformer(self) -> None:
        if self.hidden_size % self.num_attention_heads:
            self._refuse("num_attention_heads", f"a divisor of hidden_size={self.hidden_size}")
        if self.num_attention_heads % self.num_key_value_heads:
            self._refuse("num_key_value_heads", f"a divisor of num_attention_heads={self.num_attention_heads}")
        if self.head_dim is None or self.head_dim % 2:
            self._refuse("head_dim", "an even width")
        if not 0 <= self.attention_dropout < 1:
            self._refuse("attention_dropout", "0 or more, less than 1")
        if not self.norm_eps > 0:
            self._refuse("norm_eps", "above 0")

    def _refuse(self, field: str, expected: str) -> None:
        raise ConfigError(f"MimiConfig.{field}={getattr(self, field)!r}", expected=expected)

    @property
    def encodec_frame_rate(self) -> int:
        """Frames a second between the convolutions and the resampling."""
        return math.ceil(self.sampling_rate / math.prod(self.upsampling_ratios or _RATIOS))

    @property
    def frame_rate(self) -> float:
        """Frames of codes a second."""
        return self.sampling_rate / self.frame_size if self._frame_rate is None else self._frame_rate

    @frame_rate.setter
    def frame_rate(self, value: float | None) -> None:
        if value is not None and not (type(value) in (int, float) and math.isfinite(value)):
            raise ConfigError(f"MimiConfig.frame_rate={value!r}", expected="Hz, or None")
        object.__setattr__(self, "_frame_rate", value)

    @property
    def frame_size(self) -> int:
        """Samples of a frame of codes, where no ``frame_rate`` is stated."""
        return 2 * math.prod(self.upsampling_ratios or _RATIOS)

    @property
    def latent_stride(self) -> int:
        """The convolutions' frames to a frame of codes."""
        return int(self.encodec_frame_rate / self.frame_rate)

    @property
    def latent_dim(self) -> int:
        """Width of the latents."""
        return self.hidden_size

    @property
    def hop_length(self) -> int:
        """Samples of a frame of codes."""
        return math.prod(self.upsampling_ratios or _RATIOS) * self.latent_stride

    @property
    def chunk_length(self) -> None:
        """Clips are taken whole."""
        return None

    def codebooks_at(self, bandwidth: float | None) -> int:
        """Codebooks used at ``bandwidth`` kbit/s, all by default.

        Raises:
            ParamError: less than those for what is said need, or more than there are.
        """
        if bandwidth is None:
            return self.num_quantizers
        each = self.frame_rate * math.log2(self.codebook_size) / 1000
        least, most = self.num_semantic_quantizers, self.num_quantizers
        if not least * each <= bandwidth <= most * each + 1e-9:
            raise ParamError(
                f"bandwidth={bandwidth}",
                expected=f"{least * each:g} to {most * each:g} kbit/s, of which every codebook takes {each:g}",
            )
        return int(bandwidth / each + 1e-9)

    @property
    def num_codebooks(self) -> int:
        """Another name of ``num_quantizers``."""
        return self.num_quantizers

    def to_dict(self) -> dict[str, Any]:
        out = super().to_dict()
        stated = out.pop("_frame_rate", None)
        return out if stated is None else {**out, "frame_rate": stated}
