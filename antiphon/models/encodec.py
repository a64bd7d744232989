"""The documented EnCodec classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from antiphon.checkpoints.keys import KeyTable
from antiphon.codecs.encodec import EncodecCodec
from antiphon.codecs.seanet import SEANetShape
from antiphon.codecs.segment_streaming import EncodecSegmentDecoderStream, EncodecSegmentEncoderStream
from antiphon.codecs.streaming import EncodecDecoderStream, EncodecEncoderStream
from antiphon.errors import ConfigError, ParamError
from antiphon.models.configuration import PreTrainedConfig
from antiphon.models.pretrained import PreTrainedModel, returned
from antiphon.nn.conv import PAD_MODES
from antiphon.nn.conv_weight import NORMS, ConvWeight
from antiphon.outputs import ModelOutput


class EncodecConfig(PreTrainedConfig):
    """Sizes of an EnCodec; the defaults are the 24 kHz causal one's.

    ``chunk_length_s`` and ``overlap`` cut the sound into overlapping segments, as the 48 kHz codec does.
    """

    model_type: ClassVar[str] = "encodec"
    positive: ClassVar[tuple[str, ...]] = (
        "sampling_rate",
        "audio_channels",
        "hidden_size",
        "num_filters",
        "kernel_size",
        "last_kernel_size",
        "residual_kernel_size",
        "dilation_growth_rate",
        "compress",
        "codebook_size",
    )
    counts: ClassVar[tuple[str, ...]] = ("num_residual_layers", "num_lstm_layers")

    target_bandwidths: list[float] = [1.5, 3.0, 6.0, 12.0, 24.0]  # noqa: RUF012  # copied for every instance
    sampling_rate: int = 24_000
    audio_channels: int = 1
    normalize: bool = False
    chunk_length_s: float | None = None
    overlap: float | None = None
    hidden_size: int = 128
    num_filters: int = 32
    num_residual_layers: int = 1
    upsampling_ratios: list[int] = [8, 5, 4, 2]  # noqa: RUF012
    norm_type: str = "weight_norm"
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    use_causal_conv: bool = True
    pad_mode: str = "reflect"
    compress: int = 2
    num_lstm_layers: int = 2
    trim_right_ratio: float = 1.0
    codebook_size: int = 1024
    codebook_dim: int | None = None
    use_conv_shortcut: bool = True

    def derive(self) -> None:
        if self.codebook_dim is None:
            self.codebook_dim = self.hidden_size

    def validate_architecture(self) -> None:
        if self.norm_type not in NORMS[:2]:
            raise ConfigError(f"EncodecConfig.norm_type={self.norm_type!r}", expected=f"one of {NORMS[:2]}")
        if self.pad_mode not in PAD_MODES:
            raise ConfigError(f"EncodecConfig.pad_mode={self.pad_mode!r}", expected=f"one of {PAD_MODES}")
        if not 1 <= len(self.upsampling_ratios) <= 16 or min(self.upsampling_ratios) < 1 or self.hop_length > 2**24:
            raise ConfigError(
                f"EncodecConfig.upsampling_ratios={self.upsampling_ratios}", expected="1 to 16 positive factors"
            )
        if 2 ** (self.codebook_size.bit_length() - 1) != self.codebook_size:
            raise ConfigError(f"EncodecConfig.codebook_size={self.codebook_size}", expected="a power of 2")
        if self.audio_channels > 2:
            raise ConfigError(f"EncodecConfig.audio_channels={self.audio_channels}", expected="1 or 2")
        if self.compress > self.num_filters:
            raise ConfigError(
                f"EncodecConfig.compress={self.compress}", expected=f"at most num_filters={self.num_filters}"
            )
        if not self.target_bandwidths or min(self.target_bandwidths) <= 0 or not 1 <= self.num_quantizers <= 4096:
            raise ConfigError(
                f"EncodecConfig.target_bandwidths={self.target_bandwidths}",
                expected="kbit/s above 0, the last of them enough for 1 to 4096 codebooks",
            )
        self._validate_segments()

    def _validate_segments(self) -> None:
        if self.chunk_length_s is not None and not (self.chunk_length or 0) >= 1:
            raise ConfigError(f"EncodecConfig.chunk_length_s={self.chunk_length_s}", expected="at least one sample")
        if self.overlap is not None and not 0 <= self.overlap < 1:
            raise ConfigError(f"EncodecConfig.overlap={self.overlap}", expected="0 or more, less than 1")
        if not 0 <= self.trim_right_ratio <= 1:
            raise ConfigError(f"EncodecConfig.trim_right_ratio={self.trim_right_ratio}", expected="0 to 1")

    @property
    def chunk_length(self) -> int | None:
        """Samples of a segment; ``None``: clips are taken whole."""
        return None if self.chunk_length_s is None else int(self.chunk_length_s * self.sampling_rate)

    @property
    def chunk_stride(self) -> int | None:
        """Samples between the starts of two segments."""
        if self.chunk_length is None or self.overlap is None:
            return None
        return max(1, int((1.0 - self.overlap) * self.chunk_length))

    @property
    def hop_length(self) -> int:
        """Samples of a frame."""
        return math.prod(self.upsampling_ratios)

    @property
    def codebook_nbits(self) -> int:
        """Bits of a code."""
        return math.ceil(math.log2(self.codebook_size))

    @property
    def frame_rate(self) -> int:
        """Frames a second."""
        return math.ceil(self.sampling_rate / self.hop_length)

    @property
    def num_quantizers(self) -> int:
        """Codebooks at the highest bandwidth."""
        return int(1000 * self.target_bandwidths[-1] // (self.frame_rate * self.codebook_nbits))

    def codebooks_at(self, bandwidth: float | None) -> int:
        """Codebooks used at ``bandwidth`` kbit/s, the lowest by default.

        Raises:
            ParamError: the codec was not trained for it.
        """
        bandwidth = self.target_bandwidths[0] if bandwidth is None else bandwidth
        if bandwidth not in self.target_bandwidths:
            raise ParamError(f"bandwidth={bandwidth}", expected=f"one of {list(self.target_bandwidths)} (kbit/s)")
        bits = math.log2(self.codebook_size) * self.frame_rate
        return min(int(max(1, bandwidth * 1000 // bits)), self.num_quantizers)


@dataclass
class EncodecOutput(ModelOutput):
    """``audio_codes`` (F, B, K, T) int64 and ``audio_values`` (B, C, N)."""

    audio_codes: Tensor | None = None
    audio_values: Tensor | None = None


@dataclass
class EncodecEncoderOutput(ModelOutput):
    """``audio_codes`` (F, B, K, T) int64, F ``audio_scales`` (B, 1) or ``None`` each, frames padded at the end."""

    audio_codes: Tensor | None = None
    audio_scales: Any = None
    last_frame_pad_length: int | None = None


@dataclass
class EncodecDecoderOutput(ModelOutput):
    """``audio_values`` (B, C, N)."""

    audio_values: Tensor | None = None


_KEYS = KeyTable(
    [
        *(
            (f"{side}.layers.{{}}{inner}.conv.{theirs}", f"codec.{side}.layers.{{}}{inner}.{ours}")
            for side in ("encoder", "decoder")
            for inner in ("", ".block.{}", ".shortcut")
            for theirs, ours in (
                ("parametrizations.weight.original0", "magnitude"),
                ("parametrizations.weight.original1", "direction"),
                ("weight", "weight"),
                ("bias", "bias"),
            )
        ),
        *(
            (f"{side}.layers.{{}}{inner}.norm", f"codec.{side}.layers.{{}}{inner}.group_norm")
            for side in ("encoder", "decoder")
            for inner in ("", ".block.{}", ".shortcut")
        ),
        *(
            (f"quantizer.layers.{{}}.codebook.{theirs}", f"codec.quantizer.codebooks.{{}}.{ours}")
            for theirs, ours in (
                ("inited", "initialised"),
                ("cluster_size", "cluster_size"),
                ("embed_avg", "vector_sums"),
                ("embed", "vectors"),
            )
        ),
        ("encoder", "codec.encoder"),
        ("decoder", "codec.decoder"),
    ]
)


class EncodecModel(PreTrainedModel):
    """EnCodec of all published kinds: 24 kHz causal, 32 kHz centred, 48 kHz stereo in segments.

    Args:
        config: an ``EncodecConfig``.
    """

    config_class = EncodecConfig
    base_model_prefix = "encodec"
    main_input_name = "input_values"
    key_table = _KEYS
    sections: ClassVar[dict[str, tuple[str, str]]] = dict.fromkeys(
        ("musicgen", "musicgen_melody"), ("audio_encoder", "audio_encoder.")
    )
    supports_gradient_checkpointing = False

    def __init__(self, config: EncodecConfig) -> None:
        super().__init__(config)
        shape = SEANetShape(
            channels=config.audio_channels,
            width=config.hidden_size,
            filters=config.num_filters,
            ratios=tuple(config.upsampling_ratios),
            residual_layers=config.num_residual_layers,
            kernel=config.kernel_size,
            last_kernel=config.last_kernel_size,
            residual_kernel=config.residual_kernel_size,
            dilation_growth=config.dilation_growth_rate,
            compress=config.compress,
            lstm_layers=config.num_lstm_layers,
            causal=config.use_causal_conv,
            pad_mode=config.pad_mode,
            norm=config.norm_type,
            trim_right_ratio=config.trim_right_ratio,
            shortcut_conv=config.use_conv_shortcut,
        )
        self.codec = EncodecCodec(
            shape,
            codebooks=config.num_quantizers,
            codebook_size=config.codebook_size,
            normalise=config.normalize,
        )
        self.post_init()

    def initialise(self) -> None:
        """Kaiming-normal convolutions; torch's own start for the LSTM; empty codebooks."""
        for module in self.modules():
            if isinstance(module, ConvWeight):
                module.initialise()
            elif isinstance(module, (nn.LSTM, nn.GroupNorm)):
                module.reset_parameters()
        for codebook in self.codec.quantizer.codebooks:
            for name, buffer in codebook.named_buffers():
                buffer.fill_(1.0 if name == "initialised" else 0.0)

    @property
    def encoder(self) -> nn.Module:
        """(B, C, N) samples to (B, D, T) frames."""
        return self.codec.encoder

    @property
    def decoder(self) -> nn.Module:
        """(B, D, T) frames to (B, C, N) samples."""
        return self.codec.decoder

    @property
    def quantizer(self) -> nn.Module:
        """Frames to codes and back."""
        return self.codec.quantizer

    def encode(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        bandwidth: float | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """The codes of a sound.

        Args:
            input_values: (B, C, N) float at the codec's sampling rate, N at least 1.
            padding_mask: (B, N) or (B, C, N), 0 where samples are padding; they are silenced.
            bandwidth: kbit/s, one of ``config.target_bandwidths``; the lowest by default.

        Returns:
            ``EncodecEncoderOutput``, or its fields as a tuple.

        Raises:
            ParamError: another number of dimensions or channels, no samples, or an unknown bandwidth.
        """
        if input_values.dim() != 3:
            shape = tuple(input_values.shape)
            raise ParamError(f"input_values of shape {shape}", expected="(batch, channels, samples)")
        channels, samples = input_values.shape[1:]
        if channels != self.config.audio_channels or samples < 1:
            expected = f"{self.config.audio_channels} channels and at least 1 sample"
            raise ParamError(f"input_values with {channels} channels and {samples} samples", expected=expected)
        mask = None
        if padding_mask is not None:
            mask = padding_mask.view(padding_mask.shape[0], -1, padding_mask.shape[-1])
        codes, scales, missing = self.codec.encode(
            input_values,
            mask,
            codebooks=self.config.codebooks_at(bandwidth),
            segment=self.config.chunk_length,
            stride=self.config.chunk_stride,
        )
        wanted = self.config.use_return_dict if return_dict is None else return_dict
        # the tuple keeps its three places whatever they hold
        return EncodecEncoderOutput(codes, scales, missing) if wanted else (codes, scales, missing)

    def decode(
        self,
        audio_codes: Tensor,
        audio_scales: Any,
        padding_mask: Tensor | None = None,
        return_dict: bool | None = None,
        last_frame_pad_length: int | None = 0,
    ) -> Any:
        """The sound of codes.

        Args:
            audio_codes: (F, B, K, T) int64, F segments; one for codecs that take clips whole.
            audio_scales: F volumes (B, 1), or ``None`` each.
            padding_mask: (B, N) or (B, C, N): the sound is cut to its N samples.
            last_frame_pad_length: frames at the end of the last segment to leave out.

        Returns:
            ``EncodecDecoderOutput`` with ``audio_values`` (B, C, N), or a tuple.

        Raises:
            ParamError: codes outside the tables, or several segments where one is expected.
        """
        if audio_codes.dim() != 4:
            shape = tuple(audio_codes.shape)
            raise ParamError(f"audio_codes of shape {shape}", expected="(segments, batch, codebooks, frames)")
        values = self.codec.decode(
            audio_codes,
            [None] * len(audio_codes) if audio_scales is None else audio_scales,
            segment=self.config.chunk_length,
            stride=self.config.chunk_stride,
            missing=last_frame_pad_length or 0,
        )
        if padding_mask is not None:
            values = values[..., : padding_mask.shape[-1]]
        return returned(EncodecDecoderOutput(values), return_dict, self.config)

    def decoder_stream(self, batch_size: int = 1) -> EncodecDecoderStream | EncodecSegmentDecoderStream:
        """Sound from codes that come piece by piece; all pieces joined are what ``decode`` gives for all codes.

        ``push(codes)`` gives the samples (B, C, N) that became final with the codes (B, K, T), ``flush()`` the rest.
        The 48 kHz codec's stream takes whole segments: ``push(codes, scales)`` with codes (F, B, K, T).

        Args:
            batch_size: B, rows that run side by side.

        Raises:
            ParamError: ``batch_size`` below 1.
        """
        cut = self._cut()
        if cut is None:
            return EncodecDecoderStream(self.codec, batch_size)
        return EncodecSegmentDecoderStream(self.codec, segment=cut[0], stride=cut[1], batch=batch_size)

    def encoder_stream(
        self, bandwidth: float | None = None, batch_size: int = 1
    ) -> EncodecEncoderStream | EncodecSegmentEncoderStream:
        """Codes from sound that comes piece by piece; all pieces joined are what ``encode`` gives for the whole sound.

        ``push(samples)`` gives the codes (B, K, T) int64 that became final with the samples (B, C, N), ``flush()`` the
        rest. The 48 kHz codec's stream gives the codes (F, B, K, T) of whole segments, and their volumes.

        Args:
            bandwidth: kbit/s, one of ``config.target_bandwidths``; the lowest by default. batch_size: B.

        Raises:
            ParamError: an unknown bandwidth, or ``batch_size`` below 1.
        """
        codebooks, cut = self.config.codebooks_at(bandwidth), self._cut()
        if cut is None:
            return EncodecEncoderStream(self.codec, codebooks, batch_size)
        return EncodecSegmentEncoderStream(self.codec, codebooks, segment=cut[0], stride=cut[1], batch=batch_size)

    def _cut(self) -> tuple[int, int] | None:
        """Samples of a segment and between the starts of two; ``None``: clips are taken whole."""
        size = self.config.chunk_length
        return None if size is None else (size, self.config.chunk_stride or size)

    def forward(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        bandwidth: float | None = None,
        audio_codes: Tensor | None = None,
        audio_scales: Any = None,
        return_dict: bool | None = None,
        last_frame_pad_length: int | None = 0,
    ) -> Any:
        """Encodes and decodes, or decodes ``audio_codes`` with ``audio_scales`` where they are given.

        Returns:
            ``EncodecOutput``, or ``(audio_codes, audio_values)``.

        Raises:
            ParamError: only one of ``audio_codes`` and ``audio_scales`` is given.
        """
        if (audio_codes is None) != (audio_scales is None):
            raise ParamError("only one of audio_codes and audio_scales was given", expected="both or none")
        if padding_mask is None:
            padding_mask = torch.ones_like(input_values, dtype=torch.bool)
        if audio_codes is None:
            audio_codes, audio_scales, last_frame_pad_length = self.encode(input_values, padding_mask, bandwidth, False)
        (values,) = self.decode(
            audio_codes, audio_scales, padding_mask, return_dict=False, last_frame_pad_length=last_frame_pad_length
        )
        return returned(EncodecOutput(audio_codes, values), return_dict, self.config)
