"""SEANet: the convolutional encoder and decoder between a waveform and its frames.

Source: Tagliasacchi et al., "SEANet", 2020, in the form of Défossez et al., "High Fidelity Neural Audio Compression",
2022, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.nn.conv import Conv1d, ConvTranspose1d
from antiphon.nn.lstm import ResidualLSTM
from antiphon.nn.streaming import chain_push, chain_ready, chain_state

# Frames decoded at once: a second of music, whose activations fit the caches.
_TILE = 50


@dataclass(frozen=True)
class SEANetShape:
    """The sizes both directions share.

    ``ratios`` are the upsampling factors of the decoder in its order; the encoder takes them backwards.
    """

    channels: int
    width: int
    filters: int
    ratios: tuple[int, ...]
    residual_layers: int = 1
    kernel: int = 7
    last_kernel: int = 7
    residual_kernel: int = 3
    dilation_growth: int = 2
    compress: int = 2
    lstm_layers: int = 2
    causal: bool = False
    pad_mode: str = "reflect"
    norm: str = "weight_norm"
    trim_right_ratio: float = 1.0
    shortcut_conv: bool = False

    def conv(self, channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> Conv1d:
        """A convolution in this codec's padding and normalisation."""
        return Conv1d(
            channels_in,
            channels_out,
            kernel,
            stride=stride,
            dilation=dilation,
            causal=self.causal,
            pad_mode=self.pad_mode,
            norm=self.norm,
        )


@dataclass
class BlockState:
    """What a residual block remembers: of its layers, of the way past them, and what of that way waits for them.

    Attributes:
        block, shortcut: states of the layers. held: (B, C, n), outputs of the shortcut, which is never behind.
    """

    block: list[Any]
    shortcut: list[Any]
    held: Tensor


class ResidualBlock(nn.Module):
    """Two convolutions around a bottleneck, and a way past them."""

    def __init__(self, shape: SEANetShape, channels: int, dilation: int) -> None:
        super().__init__()
        hidden = channels // shape.compress
        self.block = nn.Sequential(
            nn.ELU(),
            shape.conv(channels, hidden, shape.residual_kernel, dilation=dilation),
            nn.ELU(),
            shape.conv(hidden, channels, 1),
        )
        self.shortcut = shape.conv(channels, channels, 1) if shape.shortcut_conv else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) to (B, C, N)."""
        out: Tensor = self.shortcut(x) + self.block(x)
        return out

    def state(self, batch: int) -> BlockState:
        """A state before the first input, for ``batch`` rows."""
        states = chain_state(self.block, batch)
        held = states[1].held  # the first convolution has the block's channels, and has seen nothing
        return BlockState(states, chain_state([self.shortcut], batch), held.clone())

    def ready(self, seen: int) -> int:
        """How many outputs are final after ``seen`` inputs of which none was the last."""
        return chain_ready(self.block, seen)

    def push(self, x: Tensor, state: BlockState, *, last: bool) -> Tensor:
        """(B, C, N) to the outputs (B, C, M) that became final; all that are left with ``last``."""
        out = chain_push(self.block, x, state.block, last=last)
        past = chain_push([self.shortcut], x, state.shortcut, last=last)
        past = torch.cat([state.held, past], dim=-1)
        state.held = past[..., out.shape[-1] :].clone()
        return past[..., : out.shape[-1]] + out


def _residual_blocks(shape: SEANetShape, channels: int) -> list[nn.Module]:
    return [ResidualBlock(shape, channels, shape.dilation_growth**depth) for depth in range(shape.residual_layers)]


def reach(layers: Sequence[nn.Module]) -> int:
    """A bound on the input frames that any sample of these layers sees on either side of its own frame."""
    frames, rate = 0.0, 1
    for layer in layers:
        if isinstance(layer, ConvTranspose1d):
            frames += layer.reach / rate
            rate *= layer.stride
        elif isinstance(layer, Conv1d):
            frames += layer.reach / rate
        elif isinstance(layer, ResidualBlock):
            frames += sum(inner.reach for inner in layer.block if isinstance(inner, Conv1d)) / rate
    return math.ceil(frames) + 1


class _Layers(nn.Module):
    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out

    def state(self, batch: int) -> list[Any]:
        """The layers' states before the first input, for ``batch`` rows.

        Raises:
            ConfigError: the layers normalise over all of time.
        """
        return chain_state(self.layers, batch)

    def ready(self, seen: int) -> int:
        """How many outputs are final after ``seen`` inputs of which none was the last."""
        return chain_ready(self.layers, seen)

    def push(self, x: Tensor, state: list[Any], *, last: bool) -> Tensor:
        """The outputs that became final with the inputs ``x``; all that are left with ``last``."""
        return chain_push(self.layers, x, state, last=last)


class SEANetEncoder(_Layers):
    """(B, C, N) samples to (B, D, T) frames, ``T = ceil(N / product of ratios)``."""

    def __init__(self, shape: SEANetShape) -> None:
        channels = shape.filters
        layers: list[nn.Module] = [shape.conv(shape.channels, channels, shape.kernel)]
        for ratio in reversed(shape.ratios):
            layers += _residual_blocks(shape, channels)
            layers += [nn.ELU(), shape.conv(channels, channels * 2, ratio * 2, stride=ratio)]
            channels *= 2
        if shape.lstm_layers:
            layers.append(ResidualLSTM(channels, shape.lstm_layers))
        layers += [nn.ELU(), shape.conv(channels, shape.width, shape.last_kernel)]
        super().__init__(layers)


class SEANetDecoder(_Layers):
    """(B, D, T) frames to (B, C, N) samples, ``N = T * product of ratios``.

    Long inputs are decoded tile by tile: the convolutions behind the recurrent layer see a few frames only, so that a
    tile with that many frames more on both sides comes out as it would from the whole, in a fraction of the memory.
    """

    def __init__(self, shape: SEANetShape) -> None:
        channels = shape.filters * 2 ** len(shape.ratios)
        layers: list[nn.Module] = [shape.conv(shape.width, channels, shape.kernel)]
        if shape.lstm_layers:
            layers.append(ResidualLSTM(channels, shape.lstm_layers))
        for ratio in shape.ratios:
            up = ConvTranspose1d(
                channels,
                channels // 2,
                ratio * 2,
                stride=ratio,
                causal=shape.causal,
                trim_right_ratio=shape.trim_right_ratio,
                norm=shape.norm,
            )
            layers += [nn.ELU(), up]
            channels //= 2
            layers += _residual_blocks(shape, channels)
        layers += [nn.ELU(), shape.conv(channels, shape.channels, shape.last_kernel)]
        super().__init__(layers)
        self._whole = 2 if shape.lstm_layers else 1
        self.hop_samples = math.prod(shape.ratios)
        # the 48 kHz codec's normalisation is over all of a segment's samples
        self._halo = None if shape.norm == "time_group_norm" else reach(layers[self._whole :])

    def forward(self, x: Tensor) -> Tensor:
        if self._halo is None or torch.is_grad_enabled() or x.shape[-1] <= _TILE + 2 * self._halo:
            return super().forward(x)
        x = self.layers[: self._whole](x)
        upsample, frames, halo = self.layers[self._whole :], x.shape[-1], self._halo
        tiles = []
        for start in range(0, frames, _TILE):
            stop = min(start + _TILE, frames)
            first, last = max(0, start - halo), min(frames, stop + halo)
            samples = upsample(x[..., first:last])
            tiles.append(samples[..., (start - first) * self.hop_samples : (stop - first) * self.hop_samples])
        return torch.cat(tiles, dim=-1)
