"""What Mimi remembers between frames: a state for each direction.

Rows begin anew alone and stand still alone, and what a state holds does not grow. Frames are computed one after the
other however many come at once, so that a cut of the input changes no bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from antiphon.codecs.mimi_layers import MimiDecoder, MimiEncoder
from antiphon.errors import ConfigError, ParamError
from antiphon.nn.conv import ConvState
from antiphon.nn.kv_cache import KVCache
from antiphon.nn.quantizer import Codewords, SplitResidualQuantizer
from antiphon.nn.ring_cache import RingCache
from antiphon.nn.streaming import chain_reset, state_bytes
from antiphon.nn.transformer import Record
from antiphon.nn.transposed_conv import ConvTransposeState

Rows = Sequence[int] | Tensor | None


@dataclass
class MimiPaddingCache:
    """What the encoder's convolutions hold between two pieces.

    Attributes:
        layers: states of the convolutions before the transformer. downsample: that behind it, where there is one.
    """

    layers: list[Any]
    downsample: ConvState | None

    @classmethod
    def of(cls, encoder: MimiEncoder, batch: int) -> Self:
        """What they hold before the first sample of ``batch`` rows.

        Raises:
            ConfigError: a codec that is not causal, or whose padding mirrors what has not come yet.
        """
        _check_streams(encoder, batch)
        down = encoder.downsample
        return cls(encoder.convolutions.state(batch), None if down is None else down.state(batch))

    def push(
        self,
        encoder: MimiEncoder,
        x: Tensor,
        *,
        cache: KVCache | None = None,
        record: Record | None = None,
        live: Tensor | None = None,
    ) -> Tensor:
        """(B, C, N) samples to the latents (B, D, T) that became final, T from 0."""
        x = encoder.convolutions.push(x, self.layers, last=False, live=live)
        if x.shape[-1]:
            x = encoder.transformer(x, cache=cache, record=record, live=live)
        if encoder.downsample is None or self.downsample is None:
            return x
        return encoder.downsample.push(x, self.downsample, last=False, live=live)

    def reset(self, rows: Tensor) -> None:
        """Lets ``rows`` (B,) bool begin anew.

        Raises:
            SessionError: the last piece ended within a frame.
        """
        chain_reset([*self.layers, self.downsample], rows)


@dataclass
class MimiEncoderState:
    """A session's way from sound to codes.

    Attributes:
        batch: B. codebooks: K. padding: what the convolutions hold. ring: the transformer's window.
        words: codewords of the codebooks, laid out for the search.
    """

    batch: int
    codebooks: int
    padding: MimiPaddingCache
    ring: RingCache
    words: list[Codewords]

    @classmethod
    def of(cls, encoder: MimiEncoder, quantizer: SplitResidualQuantizer, batch: int, codebooks: int) -> Self:
        """The state before the first frame."""
        with torch.no_grad():
            padding, words = MimiPaddingCache.of(encoder, batch), quantizer.laid_out(codebooks)
        return cls(batch, codebooks, padding, _ring(encoder, batch), words)

    @property
    def state_bytes(self) -> int:
        """Memory of what is remembered, in bytes, weights not counted."""
        return state_bytes([self.padding.layers, self.padding.downsample, _held(self.ring)])

    def reset(self, rows: Rows = None) -> None:
        """Lets rows begin anew and leaves the others as they are.

        Args:
            rows: row numbers, or (B,) bool; by default all.
        """
        mask = _row_mask(rows, self.batch, self.ring.positions.device)
        self.padding.reset(mask)
        self.ring.reset(None if rows is None else mask)

    def step(
        self, encoder: MimiEncoder, quantizer: SplitResidualQuantizer, frame: Tensor, live: Tensor | None
    ) -> Tensor:
        """The codes (B, K, 1) of the next frame (B, C, N)."""
        weight = next(encoder.parameters())
        if not frame.shape[-1]:
            return torch.zeros(self.batch, self.codebooks, 0, dtype=torch.int64, device=weight.device)
        frame = frame.to(device=weight.device, dtype=weight.dtype)
        latents = self.padding.push(encoder, frame, cache=self.ring, live=live)
        codes = quantizer.encode(latents, self.codebooks, words=self.words)
        return codes if live is None else codes * live[:, None, None]


@dataclass
class MimiDecoderState:
    """A session's way from codes to sound.

    Attributes:
        batch: B. codebooks: the most that come. upsample, layers: states of the convolutions before and behind the
            transformer. ring: the transformer's window. words: codewords of the codebooks.
    """

    batch: int
    codebooks: int
    upsample: ConvTransposeState | None
    layers: list[Any]
    ring: RingCache
    words: list[Codewords]

    @classmethod
    def of(cls, decoder: MimiDecoder, quantizer: SplitResidualQuantizer, batch: int, codebooks: int) -> Self:
        """The state before the first frame.

        Raises:
            ConfigError: a codec that is not causal, or that looks ahead.
        """
        _check_streams(decoder, batch)
        with torch.no_grad():
            up = None if decoder.upsample is None else decoder.upsample.state(batch)
            layers, words = decoder.convolutions.state(batch), quantizer.laid_out(codebooks)
        return cls(batch, codebooks, up, layers, _ring(decoder, batch), words)

    @property
    def state_bytes(self) -> int:
        """Memory of what is remembered, in bytes, weights not counted."""
        return state_bytes([self.upsample, self.layers, _held(self.ring)])

    def reset(self, rows: Rows = None) -> None:
        """Lets rows begin anew and leaves the others as they are.

        Args:
            rows: row numbers, or (B,) bool; by default all.
        """
        mask = _row_mask(rows, self.batch, self.ring.positions.device)
        chain_reset([self.upsample, *self.layers], mask)
        self.ring.reset(None if rows is None else mask)

    def step(
        self, decoder: MimiDecoder, quantizer: SplitResidualQuantizer, codes: Tensor, live: Tensor | None
    ) -> Tensor:
        """The samples (B, C, N) of the next frame's codes (B, K, 1)."""
        weight = next(decoder.parameters())
        if not codes.shape[-1]:
            channels = decoder.convolutions.channels
            return torch.zeros(self.batch, channels, 0, dtype=weight.dtype, device=weight.device)
        x = quantizer.decode(codes.to(weight.device), words=self.words).to(weight.dtype)
        if decoder.upsample is not None and self.upsample is not None:
            x = decoder.upsample.push(x, self.upsample, last=False, live=live)
        x = decoder.transformer(x, cache=self.ring, live=live)
        sound = decoder.convolutions.push(x, self.layers, last=False, live=live)
        return sound if live is None else sound * live[:, None, None]


def _check_streams(side: MimiEncoder | MimiDecoder, batch: int) -> None:
    if batch < 1:
        raise ParamError(f"batch={batch}", expected="at least 1 row")
    if not side.streams:
        raise ConfigError(
            "this Mimi cannot run frame by frame: its convolutions look ahead or mirror their beginning",
            expected="use_causal_conv=True, pad_mode 'constant' or 'replicate', and trim_right_ratio=1.0",
        )


def _ring(side: MimiEncoder | MimiDecoder, batch: int) -> RingCache:
    return RingCache(side.transformer.window, batch, at_once=side.stride, device=next(side.parameters()).device)


def _held(ring: RingCache) -> list[Tensor]:
    """The tensors that a ring keeps columns in."""
    filled = [ring.layer(index).slots for index in range(len(ring)) if ring.layer(index).length]
    return [ring.positions, *(part for slots in filled for part in (slots.keys, slots.values))]


def check_live(live: Tensor | None, batch: int) -> None:
    """Raises ``ParamError`` unless ``live`` is (B,) bool or ``None``."""
    if live is not None and (live.shape != (batch,) or live.dtype is not torch.bool):
        raise ParamError(f"live of shape {tuple(live.shape)} and dtype {live.dtype}", expected=f"({batch},) of bool")


def _row_mask(rows: Rows, batch: int, device: torch.device) -> Tensor:
    """(B,) bool of rows that are named by number or by such a mask.

    Raises:
        ParamError: rows that there are not.
    """
    if rows is None:
        return torch.ones(batch, dtype=torch.bool, device=device)
    if isinstance(rows, Tensor) and rows.dtype is torch.bool:
        if rows.shape != (batch,):
            raise ParamError(f"a mask of rows of shape {tuple(rows.shape)}", expected=f"({batch},)")
        return rows.to(device)
    numbers = rows.tolist() if isinstance(rows, Tensor) else list(rows)
    if not all(isinstance(number, int) and 0 <= number < batch for number in numbers):
        raise ParamError(f"rows {numbers}", expected=f"numbers from 0 to {batch - 1}")
    mask = torch.zeros(batch, dtype=torch.bool)
    mask[numbers] = True
    return mask.to(device)
