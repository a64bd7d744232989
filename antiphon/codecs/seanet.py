"""SEANet: the convolutional encoder and decoder between a waveform and its frames.

Source: Tagliasacchi et al., "SEANet", 2020, in the form of Défossez et al., "High Fidelity Neural Audio Compression",
2022, section 3.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError
from antiphon.nn.conv import Conv1d
from antiphon.nn.lstm import ResidualLSTM
from antiphon.nn.streaming import chain_push, chain_ready, chain_reset, chain_state
from antiphon.nn.transposed_conv import ConvTranspose1d

# Frames that run through the convolutions together: a fifth of a second of music, whose activations fit the caches.
_PIECE = 10
# Frames that run through the recurrent layers together: a call may pack all of their weights, which costs as much as 30
# frames.
_LONG_PIECE = 250


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
        block, shortcut: states of the layers. held: (B, n, C), outputs of the shortcut, which is never behind.
    """

    block: list[Any]
    shortcut: list[Any]
    held: Tensor

    def reset(self, rows: Tensor) -> None:
        """Lets ``rows`` (B,) bool begin anew; at the end of a frame nothing waits."""
        chain_reset([*self.block, *self.shortcut], rows)


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
        held = states[1].held[:, :0]  # the first convolution has the block's channels
        return BlockState(states, chain_state([self.shortcut], batch), held.clone())

    def ready(self, seen: int) -> int:
        """How many outputs are final after ``seen`` inputs of which none was the last."""
        return chain_ready(self.block, seen)

    def push(self, x: Tensor, state: BlockState, *, last: bool, live: Tensor | None = None) -> Tensor:
        """(B, C, N) to the outputs (B, C, M) that became final; all that are left with ``last``.

        Rows that are not ``live`` (B,) bool stand still.
        """
        out = chain_push(self.block, x, state.block, last=last, live=live)
        past = chain_push([self.shortcut], x, state.shortcut, last=last, live=live)
        waited, count = state.held.shape[1], out.shape[-1]
        if waited:
            past = torch.cat([state.held, past.transpose(1, 2)], dim=1).transpose(1, 2)
        state.held = past[..., count:].transpose(1, 2).clone()
        return out.add_(past[..., :count])


def _residual_blocks(shape: SEANetShape, channels: int) -> list[nn.Module]:
    return [ResidualBlock(shape, channels, shape.dilation_growth**depth) for depth in range(shape.residual_layers)]


class _Layers(nn.Module):
    """Layers that run on the whole or piece by piece; without gradients the whole, too, is pieces in a row.

    Memory is then bounded however long the input is, and what is in work stays in the caches.

    Args:
        front, back: layers that take pieces of one size and of another. sizes: of these pieces, in inputs of each, for
            one row. channels: of what comes out. rate: how many outputs an input gives.
    """

    def __init__(
        self,
        front: Sequence[nn.Module],
        back: Sequence[nn.Module],
        *,
        sizes: tuple[int, int],
        channels: int,
        rate: Fraction,
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(*front, *back)
        self.channels = channels
        self._depth, self._sizes, self._rate = len(front), sizes, rate

    def forward(self, x: Tensor) -> Tensor:
        whole = torch.is_grad_enabled() or torch.is_autocast_enabled(x.device.type)
        state = None if whole else self._state_if_any(len(x))
        if state is None:
            at_once: Tensor = self.layers(x)
            return at_once
        out, done = x.new_empty(len(x), self.channels, math.ceil(x.shape[-1] * self._rate)), 0
        for piece in self._pieces(x, state, last=True):
            out[..., done : done + piece.shape[-1]] = piece
            done += piece.shape[-1]
        return out

    def _state_if_any(self, batch: int) -> list[Any] | None:
        """``None`` where a layer normalises over all of time, or is not one of ours."""
        try:
            return self.state(batch)
        except ConfigError:
            return None

    def state(self, batch: int) -> list[Any]:
        """The layers' states before the first input, for ``batch`` rows.

        Raises:
            ConfigError: the layers normalise over all of time.
        """
        return chain_state(self.layers, batch)

    def ready(self, seen: int) -> int:
        """How many outputs are final after ``seen`` inputs of which none was the last."""
        return chain_ready(self.layers, seen)

    def push(self, x: Tensor, state: list[Any], *, last: bool, live: Tensor | None = None) -> Tensor:
        """The outputs that became final with the inputs ``x``; all that are left with ``last``.

        Rows that are not ``live`` (B,) bool stand still; the pieces are then whole frames.
        """
        pieces = list(self._pieces(x, state, last=last, live=live))
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)

    def _pieces(self, x: Tensor, state: list[Any], *, last: bool, live: Tensor | None = None) -> Iterator[Tensor]:
        """What ``push`` gives, in pieces of bounded size."""
        depth, (front, back) = self._depth, [max(1, size // max(1, len(x))) for size in self._sizes]
        layers, waiting = list(self.layers), list[Tensor]()
        parts = x.split(front, dim=-1)
        for number, part in enumerate(parts):
            ended = number == len(parts) - 1
            fresh = chain_push(layers[:depth], part, state[:depth], last=last and ended, live=live)
            waiting.append(fresh)
            if not ended and sum(between.shape[-1] for between in waiting) < back:
                continue
            together = waiting[0] if len(waiting) == 1 else torch.cat(waiting, dim=-1)
            waiting.clear()
            pieces = together.split(back, dim=-1)
            for turn, piece in enumerate(pieces):
                finished = ended and turn == len(pieces) - 1
                yield chain_push(layers[depth:], piece, state[depth:], last=last and finished, live=live)


class SEANetEncoder(_Layers):
    """(B, C, N) samples to (B, D, T) frames, ``T = ceil(N / product of ratios)``."""

    def __init__(self, shape: SEANetShape) -> None:
        channels = shape.filters
        layers: list[nn.Module] = [shape.conv(shape.channels, channels, shape.kernel)]
        for ratio in reversed(shape.ratios):
            layers += _residual_blocks(shape, channels)
            layers += [nn.ELU(), shape.conv(channels, channels * 2, ratio * 2, stride=ratio)]
            channels *= 2
        back: list[nn.Module] = [ResidualLSTM(channels, shape.lstm_layers)] if shape.lstm_layers else []
        back += [nn.ELU(), shape.conv(channels, shape.width, shape.last_kernel)]
        hop = math.prod(shape.ratios)
        sizes = (_PIECE * hop, _LONG_PIECE)
        super().__init__(layers, back, sizes=sizes, channels=shape.width, rate=Fraction(1, hop))


class SEANetDecoder(_Layers):
    """(B, D, T) frames to (B, C, N) samples, ``N = T * product of ratios``."""

    def __init__(self, shape: SEANetShape) -> None:
        channels = shape.filters * 2 ** len(shape.ratios)
        front: list[nn.Module] = [shape.conv(shape.width, channels, shape.kernel)]
        if shape.lstm_layers:
            front.append(ResidualLSTM(channels, shape.lstm_layers))
        layers: list[nn.Module] = []
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
        hop = math.prod(shape.ratios)
        sizes = (_LONG_PIECE, _PIECE)
        super().__init__(front, layers, sizes=sizes, channels=shape.channels, rate=Fraction(hop))
        self.hop_samples = hop
