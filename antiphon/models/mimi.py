"""The documented Mimi classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from antiphon.checkpoints.keys import KeyTable
from antiphon.codecs.mimi import MimiCodec
from antiphon.codecs.mimi_layers import MimiShape, MimiTransformerShape
from antiphon.codecs.mimi_streaming import MimiPaddingCache
from antiphon.codecs.seanet import SEANetShape
from antiphon.errors import ParamError
from antiphon.models.mimi_config import MimiConfig as MimiConfig
from antiphon.models.pretrained import PreTrainedModel, recorded, returned
from antiphon.nn.conv_weight import ConvWeight
from antiphon.nn.kv_cache import Cache, DynamicCache
from antiphon.nn.layer_scale import LayerScale
from antiphon.nn.linear import Linear
from antiphon.nn.quantizer import Codebook
from antiphon.outputs import ModelOutput


@dataclass
class MimiOutput(ModelOutput):
    """``audio_codes`` (B, K, T) int64, ``audio_values`` (B, C, N), and the caches of both transformers."""

    audio_codes: Tensor | None = None
    audio_values: Tensor | None = None
    encoder_past_key_values: Any = None
    decoder_past_key_values: Any = None


@dataclass
class MimiEncoderOutput(ModelOutput):
    """``audio_codes`` (B, K, T) int64, the cache, what the convolutions hold while streaming, and what was recorded."""

    audio_codes: Tensor | None = None
    encoder_past_key_values: Any = None
    padding_cache: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class MimiDecoderOutput(ModelOutput):
    """``audio_values`` (B, C, N), the cache, and what was recorded."""

    audio_values: Tensor | None = None
    decoder_past_key_values: Any = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


def _side_rules(side: str) -> list[tuple[str, str]]:
    """Names of the tensors of one side."""
    convolutions, layer = f"{side}.{side}_seanet.layers.{{}}", f"{side}.{side}_transformer.layers.{{}}"
    our_convolutions, our_layer = (
        f"codec.{side}.convolutions.layers.{{}}",
        f"codec.{side}.transformer.stack.layers.{{}}",
    )
    return [
        *(
            (f"{convolutions}{inner}.conv.{theirs}", f"{our_convolutions}{inner}.{ours}")
            for inner in ("", ".block.{}", ".shortcut")
            for theirs, ours in (("weight", "weight"), ("bias", "bias"))
        ),
        *(
            (f"{layer}.self_attn.{theirs}", f"{our_layer}.attention.{ours}")
            for theirs, ours in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("o_proj", "out"))
        ),
        (f"{layer}.input_layernorm", f"{our_layer}.attention_norm"),
        (f"{layer}.post_attention_layernorm", f"{our_layer}.mlp_norm"),
        (f"{layer}.mlp.fc1", f"{our_layer}.mlp.up"),
        (f"{layer}.mlp.fc2", f"{our_layer}.mlp.down"),
        (f"{layer}.self_attn_layer_scale", f"{our_layer}.attention_scale"),
        (f"{layer}.mlp_layer_scale", f"{our_layer}.mlp_scale"),
    ]


def _quantizer_rules(part: str) -> list[tuple[str, str]]:
    theirs, ours = f"quantizer.{part}_residual_vector_quantizer", f"codec.quantizer.{part}"
    return [
        *(
            (f"{theirs}.layers.{{}}.codebook.{one}", f"{ours}.codebooks.{{}}.{other}")
            for one, other in (
                ("initialized", "initialised"),
                ("cluster_usage", "cluster_size"),
                ("embed_sum", "vector_sums"),
            )
        ),
        (f"{theirs}.input_proj", f"{ours}.project_in"),
        (f"{theirs}.output_proj", f"{ours}.project_out"),
    ]


_KEYS = KeyTable(
    [
        *_side_rules("encoder"),
        *_side_rules("decoder"),
        ("encoder.downsample.conv", "codec.encoder.downsample"),
        ("decoder.upsample.conv", "codec.decoder.upsample"),
        *_quantizer_rules("semantic"),
        *_quantizer_rules("acoustic"),
    ]
)

# Files have the names that the classes had when the codec was published, when the sides were not models of their own.
_FILE_KEYS = KeyTable(
    [
        ("encoder.layers", "encoder.encoder_seanet.layers"),
        ("encoder_transformer", "encoder.encoder_transformer"),
        ("downsample", "encoder.downsample"),
        ("upsample", "decoder.upsample"),
        ("decoder_transformer", "decoder.decoder_transformer"),
        ("decoder.layers", "decoder.decoder_seanet.layers"),
    ]
)


def _transformer_shape(config: MimiConfig) -> MimiTransformerShape:
    return MimiTransformerShape(
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_width=config.head_dim or 0,
        hidden=config.intermediate_size,
        act=config.hidden_act,
        window=config.sliding_window,
        rotary_base=config.rope_theta,
        norm_eps=config.norm_eps,
        bias=config.attention_bias,
        dropout=config.attention_dropout,
        initial_scale=config.layer_scale_initial_scale,
    )


def mimi_shape(config: MimiConfig) -> MimiShape:
    """The sizes that a configuration gives."""
    return MimiShape(
        SEANetShape(
            channels=config.audio_channels,
            width=config.hidden_size,
            filters=config.num_filters,
            ratios=tuple(config.upsampling_ratios or ()),
            residual_layers=config.num_residual_layers,
            kernel=config.kernel_size,
            last_kernel=config.last_kernel_size,
            residual_kernel=config.residual_kernel_size,
            dilation_growth=config.dilation_growth_rate,
            compress=config.compress,
            lstm_layers=0,
            causal=config.use_causal_conv,
            pad_mode=config.pad_mode,
            norm="none",
            trim_right_ratio=config.trim_right_ratio,
            shortcut_conv=config.use_conv_shortcut,
        ),
        _transformer_shape(config),
        stride=config.latent_stride,
        upsample_groups=config.upsample_groups,
        codebooks=config.num_quantizers,
        semantic=config.num_semantic_quantizers,
        codebook_size=config.codebook_size,
        codebook_width=config.vector_quantization_hidden_dimension,
    )


class MimiModel(PreTrainedModel):
    """Mimi, the codec of Moshi.

    Streams that follow a conversation have explicit states: ``codec.encoder_state``, ``codec.encode_frames`` and their
    counterparts (``codecs/mimi_streaming.py``). ``use_streaming`` is the documents' way, for the encoder alone.

    Args:
        config: a ``MimiConfig``.
    """

    config_class = MimiConfig
    base_model_prefix = "mimi"
    main_input_name = "input_values"
    key_table = _KEYS
    file_keys = _FILE_KEYS
    stays_in_fp32 = True  # it is small, and rounding is heard in its sound and seen in its codes
    sections: ClassVar[dict[str, tuple[str, str]]] = {"moshi": ("audio_encoder_config", "audio_encoder.")}

    def __init__(self, config: MimiConfig) -> None:
        super().__init__(config)
        self.codec = MimiCodec(mimi_shape(config))
        self.post_init()

    def initialise(self) -> None:
        """Kaiming-normal convolutions, normal projections, empty codebooks."""
        for module in self.modules():
            if isinstance(module, ConvWeight):
                module.initialise()
            elif isinstance(module, Linear):
                nn.init.normal_(module.weight, std=self.config.initializer_range)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, LayerScale):
                nn.init.constant_(module.scale, self.config.layer_scale_initial_scale)
            elif isinstance(module, Codebook):
                for name, buffer in module.named_buffers():
                    buffer.fill_(0.0 if name == "vector_sums" else 1.0)

    @property
    def encoder(self) -> nn.Module:
        """(B, C, N) samples to latents (B, D, T)."""
        return self.codec.encoder

    @property
    def decoder(self) -> nn.Module:
        """Latents (B, D, T) to samples (B, C, N)."""
        return self.codec.decoder

    @property
    def quantizer(self) -> nn.Module:
        """Latents to codes and back."""
        return self.codec.quantizer

    def get_encoded_length(self, input_length: Any) -> Any:
        """How many frames ``input_length`` samples give; a tensor of counts, or an int, which gives a tensor ()."""
        length = torch.as_tensor(input_length)
        for ratio in (*reversed(self.config.upsampling_ratios), self.config.latent_stride):
            length = -(-length // ratio)
        return length

    def get_audio_codes_mask(self, padding_mask: Tensor, padding_side: str = "right") -> Tensor:
        """Which frames are real, (B, T) bool, from a mask of samples (B, N), 1 for those that are real.

        Raises:
            ParamError: a ``padding_side`` other than "right" and "left".
        """
        if padding_side not in ("right", "left"):
            raise ParamError(f"padding_side={padding_side!r}", expected="'right' or 'left'")
        lengths = self.get_encoded_length(padding_mask.sum(dim=-1))
        mask: Tensor = torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]
        return mask if padding_side == "right" else mask.flip(-1)

    def _codebooks(self, wanted: Any) -> int:
        most, least = self.config.num_quantizers, self.config.num_semantic_quantizers
        wanted = most if wanted is None else wanted
        if isinstance(wanted, bool) or not (least <= wanted <= most and wanted == int(wanted)):
            raise ParamError(f"num_quantizers={wanted}", expected=f"an integer from {least} to {most}")
        return int(wanted)

    def _checked(self, values: Tensor, mask: Tensor | None) -> Tensor:
        """The samples, silent where ``mask`` says that they are padding."""
        if values.dim() != 3:
            raise ParamError(f"input_values of shape {tuple(values.shape)}", expected="(batch, channels, samples)")
        channels, samples = values.shape[1:]
        if channels != self.config.audio_channels or samples < 1:
            expected = f"{self.config.audio_channels} channels and at least 1 sample"
            raise ParamError(f"input_values with {channels} channels and {samples} samples", expected=expected)
        if mask is None:
            return values
        silenced: Tensor = values * mask.view(mask.shape[0], -1, mask.shape[-1]).to(torch.bool)
        return silenced

    def encode(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: float | None = None,
        encoder_past_key_values: Cache | None = None,
        padding_cache: MimiPaddingCache | None = None,
        use_streaming: bool | None = None,
        return_dict: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> Any:
        """The codes of a sound, or of its next piece.

        Args:
            input_values: (B, C, N) float at the codec's sampling rate, N at least 1.
            padding_mask: (B, N) or (B, C, N), 0 where samples are padding; they are silenced.
            num_quantizers: K, the first so many codebooks; by default all.
            encoder_past_key_values: the transformer goes on from here; written in place.
            padding_cache: the convolutions go on from here; written in place.
            use_streaming: return the two caches, to be passed with the next piece. Only whole frames are encoded; what
                is left waits for the next piece. By default what the configuration says.
            output_hidden_states, output_attentions: also return what passes the transformer.

        Returns:
            ``MimiEncoderOutput``, or its fields as a tuple.

        Raises:
            ParamError: another number of dimensions, channels or codebooks, no samples, or ``padding_cache`` in a call
                that does not stream.
        """
        codebooks = self._codebooks(num_quantizers)
        values = self._checked(input_values, padding_mask)
        streams = bool(self.config.use_streaming if use_streaming is None else use_streaming)
        if padding_cache is not None and not streams:
            raise ParamError("padding_cache without use_streaming=True", fix="Pass both, or neither")
        record = recorded(self.config, output_hidden_states, output_attentions)
        cache = encoder_past_key_values
        if cache is None and (streams or self.config.use_cache):
            cache = DynamicCache()
        if streams:
            encoder = self.codec.encoder
            with torch.no_grad():
                padding_cache = padding_cache or MimiPaddingCache.of(encoder, len(values))
                latents = padding_cache.push(encoder, values, cache=cache, record=record)
                codes = self.codec.quantizer.encode(latents, codebooks)
        else:
            codes = self.codec.encode(values, codebooks, cache=cache, record=record)
        hidden_states, attentions, _ = record.tuples()
        output = MimiEncoderOutput(codes, cache, padding_cache, hidden_states, attentions)
        return returned(output, return_dict, self.config)

    def decode(
        self,
        audio_codes: Tensor,
        padding_mask: Tensor | None = None,
        decoder_past_key_values: Cache | None = None,
        return_dict: bool | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> Any:
        """The sound of codes.

        Args:
            audio_codes: (B, K, T) int64.
            padding_mask: (B, N) or (B, C, N): the sound is cut to its N samples.
            decoder_past_key_values: the transformer goes on from here; written in place. The convolutions begin anew,
                so that pieces decoded so differ from the whole at their beginnings; ``codec.decode_frames`` is exact.
            output_hidden_states, output_attentions: also return what passes the transformer.

        Returns:
            ``MimiDecoderOutput`` with ``audio_values`` (B, C, N), or a tuple.

        Raises:
            ParamError: codes outside the tables, or of another shape.
        """
        if audio_codes.dim() != 3 or not audio_codes.shape[1] or not audio_codes.shape[2]:
            shape = tuple(audio_codes.shape)
            raise ParamError(f"audio_codes of shape {shape}", expected="(batch, codebooks, frames), none of them 0")
        record = recorded(self.config, output_hidden_states, output_attentions)
        cache = decoder_past_key_values
        if cache is None and self.config.use_cache:
            cache = DynamicCache()
        values = self.codec.decode(audio_codes, cache=cache, record=record)
        if padding_mask is not None:
            values = values[..., : padding_mask.shape[-1]]
        hidden_states, attentions, _ = record.tuples()
        return returned(MimiDecoderOutput(values, cache, hidden_states, attentions), return_dict, self.config)

    def forward(
        self,
        input_values: Tensor,
        padding_mask: Tensor | None = None,
        num_quantizers: int | None = None,
        audio_codes: Tensor | None = None,
        encoder_past_key_values: Cache | None = None,
        decoder_past_key_values: Cache | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        """Encodes and decodes, or decodes ``audio_codes`` where they are given; the sound is as long as it came.

        Returns:
            ``MimiOutput``, or its fields as a tuple.

        Raises:
            ParamError: as ``encode`` and ``decode`` have it.
        """
        mask = torch.ones_like(input_values, dtype=torch.bool) if padding_mask is None else padding_mask
        if audio_codes is None:
            encoded = self.encode(input_values, padding_mask, num_quantizers, encoder_past_key_values, return_dict=True)
            audio_codes, encoder_past_key_values = encoded.audio_codes, encoded.encoder_past_key_values
        decoded = self.decode(audio_codes, mask, decoder_past_key_values, return_dict=True)
        output = MimiOutput(audio_codes, decoded.audio_values, encoder_past_key_values, decoded.decoder_past_key_values)
        return returned(output, return_dict, self.config)
