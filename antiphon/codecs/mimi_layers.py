"""The two sides of Mimi: SEANet, a transformer that looks back over a window, and a change of rate.

Source: Défossez et al., "Moshi: a speech-text foundation model for real-time dialogue", 2024, section 3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from antiphon.codecs.seanet import SEANetDecoder, SEANetEncoder, SEANetShape
from antiphon.nn.attention import Attention
from antiphon.nn.conv import Conv1d
from antiphon.nn.kv_cache import KVCache
from antiphon.nn.layer_scale import LayerScale
from antiphon.nn.masks import causal_mask
from antiphon.nn.mlp import MLP
from antiphon.nn.ring_cache import RingCache
from antiphon.nn.rotary import Rotary
from antiphon.nn.transformer import Context, Record, Transformer, TransformerLayer
from antiphon.nn.transposed_conv import ConvTranspose1d

# Columns from which on a sound passes the transformer in pieces of a window: a mask of all against all would be larger
# than what it hides.
_MANY_COLUMNS = 2048


@dataclass(frozen=True)
class MimiTransformerShape:
    """The sizes of the transformers on both sides; ``window`` columns are seen, a column's own counted."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    act: str = "gelu"
    window: int = 250
    rotary_base: float = 10000.0
    norm_eps: float = 1e-5
    bias: bool = False
    dropout: float = 0.0
    initial_scale: float = 0.01

    def layer(self) -> TransformerLayer:
        """One layer."""
        return TransformerLayer(
            attention=Attention(
                self.width,
                self.heads,
                kv_heads=self.kv_heads,
                head_width=self.head_width,
                bias=self.bias,
                dropout=self.dropout,
            ),
            mlp=MLP(self.width, self.hidden, act=self.act),
            norms=[nn.LayerNorm(self.width, eps=self.norm_eps) for _ in range(2)],
            scales=(LayerScale(self.width, self.initial_scale), LayerScale(self.width, self.initial_scale)),
        )


@dataclass(frozen=True)
class MimiShape:
    """The sizes of a Mimi.

    ``stride`` of the convolutions' frames make a frame of codes. ``codebooks`` in all, ``semantic`` of them for what is
    said; each has ``codebook_size`` words of ``codebook_width``.
    """

    convolutions: SEANetShape
    transformer: MimiTransformerShape
    stride: int = 2
    upsample_groups: int = 512
    codebooks: int = 32
    semantic: int = 1
    codebook_size: int = 2048
    codebook_width: int = 256

    @property
    def frame_samples(self) -> int:
        """Samples of a frame of codes."""
        return math.prod(self.convolutions.ratios) * self.stride

    @property
    def streams(self) -> bool:
        """Whether every frame is final when it has come, whatever follows."""
        shape = self.convolutions
        return shape.causal and shape.pad_mode != "reflect" and shape.trim_right_ratio == 1.0


class MimiTransformer(nn.Module):
    """A stack with rotary positions over (B, D, T)."""

    def __init__(self, shape: MimiTransformerShape) -> None:
        super().__init__()
        self.stack = Transformer([shape.layer() for _ in range(shape.layers)], nn.Identity())
        self.rotary = Rotary(shape.head_width, shape.rotary_base)
        self.window = shape.window

    def forward(
        self,
        x: Tensor,
        *,
        cache: KVCache | None = None,
        record: Record | None = None,
        live: Tensor | None = None,
    ) -> Tensor:
        """(B, D, T) to (B, D, T).

        Args:
            cache: the columns before, written in place; of a ``RingCache`` only rows that are ``live`` (B,) bool go on.
            record: what to keep on the way.
        """
        columns = x.transpose(1, 2)
        keeps = record is not None and (record.hidden_states is not None or record.attentions is not None)
        if columns.shape[1] > _MANY_COLUMNS and not (cache is not None or keeps or torch.is_grad_enabled()):
            ring = RingCache(self.window, len(x), device=x.device)
            pieces = [self._columns(piece, ring, None, None) for piece in columns.split(self.window, dim=1)]
            return torch.cat(pieces, dim=1).transpose(1, 2)
        return self._columns(columns, cache, record, live).transpose(1, 2)

    def _columns(self, x: Tensor, cache: KVCache | None, record: Record | None, live: Tensor | None) -> Tensor:
        count = x.shape[1]
        if isinstance(cache, RingCache):
            step = cache.begin(count, live)
            positions, mask = step.positions, step.mask
        else:
            past = 0 if cache is None else cache.get_seq_length()
            positions = torch.arange(past, past + count, device=x.device)[None]
            mask = causal_mask(count, past + count, None, device=x.device, window=self.window)
        context = Context(mask=mask, cache=cache, rotation=self.rotary.tables(positions, like=x))
        out: Tensor = self.stack(x, context, record)
        return out


class MimiEncoder(nn.Module):
    """(B, C, N) samples to latents (B, D, T), ``T = ceil(N / frame_samples)``."""

    def __init__(self, shape: MimiShape) -> None:
        super().__init__()
        width = shape.transformer.width
        self.streams, self.stride = shape.streams, shape.stride
        self.convolutions = SEANetEncoder(shape.convolutions)
        self.transformer = MimiTransformer(shape.transformer)
        self.downsample: Conv1d | None = None
        if shape.stride > 1:
            self.downsample = Conv1d(
                width,
                width,
                2 * shape.stride,
                stride=shape.stride,
                causal=shape.convolutions.causal,
                pad_mode="replicate",
                norm="none",
                bias=False,
            )

    def forward(self, x: Tensor, *, cache: KVCache | None = None, record: Record | None = None) -> Tensor:
        """The latents; the transformer goes on from ``cache``, and fills ``record`` in place."""
        x = self.transformer(self.convolutions(x), cache=cache, record=record)
        return x if self.downsample is None else self.downsample(x)


class MimiDecoder(nn.Module):
    """Latents (B, D, T) to samples (B, C, ``T * frame_samples``)."""

    def __init__(self, shape: MimiShape) -> None:
        super().__init__()
        width = shape.transformer.width
        self.streams, self.stride = shape.streams, shape.stride
        self.upsample: ConvTranspose1d | None = None
        if shape.stride > 1:
            self.upsample = ConvTranspose1d(
                width,
                width,
                2 * shape.stride,
                stride=shape.stride,
                causal=shape.convolutions.causal,
                trim_right_ratio=shape.convolutions.trim_right_ratio,
                groups=shape.upsample_groups,
                norm="none",
                bias=False,
            )
        self.transformer = MimiTransformer(shape.transformer)
        self.convolutions = SEANetDecoder(shape.convolutions)

    def forward(self, latents: Tensor, *, cache: KVCache | None = None, record: Record | None = None) -> Tensor:
        """The samples; the transformer goes on from ``cache``, and fills ``record`` in place."""
        x = latents if self.upsample is None else self.upsample(latents)
        out: Tensor = self.convolutions(self.transformer(x, cache=cache, record=record))
        return out
