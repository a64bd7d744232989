"""Convolutions that keep the frame grid: padded so that ``ceil(N / stride)`` frames come out, causal or centred.

They run on the whole (``forward``) or piece by piece (``state`` and ``push``, see ``nn/streaming.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import ConfigError

NORMS = ("weight_norm", "time_group_norm", "none")
PAD_MODES = ("reflect", "constant", "replicate")

# Inputs up to which a transposed convolution on a CPU is a matrix product: reading the weights is then all it costs,
# and torch's own kernels take up to ten times as long for it.
_FEW_INPUTS = 64


def pad_time(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    """Pads the last axis; reflection also works on inputs shorter than the padding.

    A short input is lengthened with zeros on the right first, as the reference does, and the excess is cut again.

    Args:
        x: (..., N). mode: a mode of ``torch.nn.functional.pad``.
    """
    if mode != "reflect":
        return F.pad(x, (left, right), mode=mode)
    length = x.shape[-1]
    missing = max(left, right) - length + 1
    if missing > 0:
        x = F.pad(x, (0, missing))
    # three pieces joined: the same numbers as F.pad(mode="reflect"), and a cheaper gradient
    pieces = [x[..., 1 : left + 1].flip(-1)] if left else []
    pieces.append(x)
    if right:
        pieces.append(x[..., x.shape[-1] - 1 - right : x.shape[-1] - 1].flip(-1))
    padded = torch.cat(pieces, dim=-1) if len(pieces) > 1 else x
    return padded[..., : padded.shape[-1] - missing] if missing > 0 else padded


@dataclass
class ConvState:
    """What a convolution remembers between two pieces.

    Attributes:
        weight: (C', C, k), folded when the state was made: folding it for every piece would cost more than a short
            piece itself.
        held: (B, C, n), inputs that outputs to come still need; padded on the left once ``started``.
        seen: inputs so far. given: outputs so far.
        started: the left padding, which may reflect inputs, has been made.
    """

    weight: Tensor
    held: Tensor
    seen: int = 0
    given: int = 0
    started: bool = False


@dataclass
class ConvTransposeState:
    """What a transposed convolution remembers between two pieces.

    Attributes:
        weight: (C, C', k), folded when the state was made.
        held: (B, C', k - stride), what inputs so far add to outputs that are not final, without the bias.
        cut: outputs at the beginning that are still to be trimmed.
    """

    weight: Tensor
    held: Tensor
    cut: int


class _NormedWeight(nn.Module):
    """A convolution's weight, stored whole or as magnitude and direction (weight normalisation over axis 0)."""

    def __init__(self, shape: tuple[int, int, int], bias: int, norm: str) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ConfigError(f"norm_type {norm!r}", expected=f"one of {NORMS}")
        self.normed = norm == "weight_norm"
        if self.normed:
            self.magnitude = nn.Parameter(torch.empty(shape[0], 1, 1))
            self.direction = nn.Parameter(torch.empty(shape))
        else:
            self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(bias))
        # one group over channels and time: not streamable, used by the 48 kHz codec on whole segments only
        self.group_norm = nn.GroupNorm(1, bias) if norm == "time_group_norm" else None

    def effective(self) -> Tensor:
        """The weight to convolve with."""
        if not self.normed:
            return self.weight
        folded: Tensor = torch._weight_norm(self.direction, self.magnitude, 0)
        return folded

    def _rest(self, batch: int, channels: int, length: int) -> Tensor:
        return torch.zeros(batch, channels, length, dtype=self.bias.dtype, device=self.bias.device)

    def initialise(self) -> None:
        """Kaiming-normal weight, uniform bias within ``1 / sqrt(fan in)``."""
        raw = self.direction if self.normed else self.weight
        nn.init.kaiming_normal_(raw)
        bound = (raw.shape[1] * raw.shape[2]) ** -0.5
        nn.init.uniform_(self.bias, -bound, bound)
        if self.normed:
            with torch.no_grad():
                self.magnitude.copy_(self.direction.flatten(1).norm(dim=1).view(-1, 1, 1))


def _refuse_group_norm(norm: nn.Module | None) -> None:
    if norm is not None:
        raise ConfigError(
            "a convolution normalised over all of time cannot run piece by piece", fix="Run it on a whole segment"
        )


class Conv1d(_NormedWeight):
    """A convolution whose output has ``ceil(N / stride)`` frames.

    Args:
        causal: all padding on the left (what fills the last frame stays on the right).
        pad_mode: ``reflect``, ``constant`` or ``replicate``.
        norm: one of ``NORMS``.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        causal: bool = False,
        pad_mode: str = "reflect",
        norm: str = "weight_norm",
    ) -> None:
        super().__init__((channels_out, channels_in, kernel), channels_out, norm)
        self.stride = stride
        self.dilation = dilation
        self.causal = causal
        self.pad_mode = pad_mode
        self.padding_total = (kernel - 1) * dilation + 1 - stride
        self.reach = (kernel - 1) * dilation  # input samples that an output sees at most, on one side
        self._right = 0 if causal else self.padding_total // 2
        self._left = self.padding_total - self._right
        # inputs that the padding at the end may need: it also fills the last frame, hence the stride
        self._mirror = self._right + stride - 1
        if self._mirror:
            self._mirror = {"reflect": self._mirror + 1, "replicate": 1}.get(pad_mode, 0)
        # before there are so many inputs, the offline padding may still go the way of inputs that are too short
        self._start = max(self._left + 1, self._mirror) if pad_mode == "reflect" else 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) to (B, C', ceil(N / stride))."""
        extra = -x.shape[-1] % self.stride
        x = pad_time(x, self._left, self._right + extra, self.pad_mode)
        x = F.conv1d(x, self.effective(), self.bias, stride=self.stride, dilation=self.dilation)
        return x if self.group_norm is None else self.group_norm(x)

    def state(self, batch: int) -> ConvState:
        """A state before the first input, for ``batch`` rows.

        Raises:
            ConfigError: the layer normalises over all of time.
        """
        _refuse_group_norm(self.group_norm)
        weight = self.effective().detach()
        return ConvState(weight, self._rest(batch, weight.shape[1], 0))

    def ready(self, seen: int) -> int:
        """How many outputs are final after ``seen`` inputs of which none was the last."""
        return 0 if seen < self._start else max(0, (self._left + seen - self.reach - 1) // self.stride + 1)

    def push(self, x: Tensor, state: ConvState, *, last: bool) -> Tensor:
        """(B, C, N) to the outputs (B, C', M) that became final; all that are left with ``last``."""
        if state.held.shape[-1]:
            x = torch.cat([state.held, x], dim=-1)
        state.seen += x.shape[-1] - state.held.shape[-1]
        if state.seen < self._start and not last:
            state.held = x.clone()  # not the caller's own memory
            return self._rest(len(x), state.weight.shape[0], 0)
        end = self._left + state.seen  # of x, counted from the first sample of the left padding
        left, right = 0 if state.started else self._left, 0
        if last:
            right = self._right + -state.seen % self.stride if state.seen else 0
        if state.seen and (left or right):
            x = pad_time(x, left, right, self.pad_mode)
        state.started, end = True, end + right
        return self._convolve(x, state, end)

    def _convolve(self, x: Tensor, state: ConvState, end: int) -> Tensor:
        first = state.given * self.stride - (end - x.shape[-1])  # where the next output's inputs begin in x
        count = max(0, (x.shape[-1] - first - self.reach - 1) // self.stride + 1)
        out = self._rest(len(x), state.weight.shape[0], 0)
        if count:
            used = x[..., first : first + (count - 1) * self.stride + self.reach + 1]
            out = F.conv1d(used, state.weight, self.bias, stride=self.stride, dilation=self.dilation)
        state.given += count
        keep = min(first + count * self.stride, x.shape[-1] - self._mirror)
        state.held = x[..., keep:].clone()  # a view would hold all of x
        return out


class ConvTranspose1d(_NormedWeight):
    """A transposed convolution whose output has ``N * stride`` samples.

    Args:
        trim_right_ratio: share of the surplus cut on the right when causal; centred layers cut half on each side.

    Raises:
        ConfigError: a ratio other than 1 on a layer that is not causal.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int,
        causal: bool = False,
        trim_right_ratio: float = 1.0,
        norm: str = "weight_norm",
    ) -> None:
        super().__init__((channels_in, channels_out, kernel), channels_out, norm)
        if not causal and trim_right_ratio != 1.0:
            raise ConfigError(f"trim_right_ratio={trim_right_ratio} without use_causal_conv", expected="1.0")
        self.stride = stride
        surplus = kernel - stride
        self.reach = -(-kernel // stride)  # input frames that an output sees at most, on one side
        # ceil without going through floats that do not hold the ratio exactly
        self.trim_right = -int(-surplus * trim_right_ratio // 1) if causal else surplus // 2
        self.trim_left = surplus - self.trim_right

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T * stride)."""
        x = F.conv_transpose1d(x, self.effective(), self.bias, stride=self.stride)
        x = x if self.group_norm is None else self.group_norm(x)
        return x[..., self.trim_left : x.shape[-1] - self.trim_right]

    def state(self, batch: int) -> ConvTransposeState:
        """A state before the first input, for ``batch`` rows.

        Raises:
            ConfigError: the layer normalises over all of time.
        """
        _refuse_group_norm(self.group_norm)
        weight = self.effective().detach()
        held = self._rest(batch, weight.shape[1], weight.shape[2] - self.stride)
        return ConvTransposeState(weight, held, self.trim_left)

    def ready(self, seen: int) -> int:
        """How many outputs are final after ``seen`` inputs of which none was the last."""
        return max(0, seen * self.stride - self.trim_left)

    def push(self, x: Tensor, state: ConvTransposeState, *, last: bool) -> Tensor:
        """(B, C, N) to the outputs (B, C', M) that became final; all that are left with ``last``."""
        surplus, out = state.held.shape[-1], state.held
        if x.shape[-1]:
            few = x.device.type == "cpu" and len(x) * x.shape[-1] <= _FEW_INPUTS
            out = self._product(x, state.weight) if few else F.conv_transpose1d(x, state.weight, stride=self.stride)
            out[..., :surplus] += state.held
        final = x.shape[-1] * self.stride
        state.held = out[..., final:].clone()
        stop = out.shape[-1] - self.trim_right if last else final
        begin = min(state.cut, stop)
        state.cut -= begin
        return out[..., begin:stop] + self.bias[:, None]

    def _product(self, x: Tensor, weight: Tensor) -> Tensor:
        """What ``conv_transpose1d`` gives, (B, C', (T - 1) * stride + k), as a matrix product and shifted sums."""
        rows, inputs = x.shape[0], x.shape[-1]
        channels, kernel = weight.shape[1:]
        spread = (x.transpose(1, 2) @ weight.flatten(1)).view(rows, inputs, channels, kernel)
        shifts = -(-kernel // self.stride)
        out = x.new_zeros(rows, channels, inputs + shifts - 1, self.stride)
        for shift in range(shifts):
            part = spread[..., shift * self.stride : (shift + 1) * self.stride]
            out[:, :, shift : shift + inputs, : part.shape[-1]] += part.transpose(1, 2)
        return out.flatten(2)[..., : (inputs - 1) * self.stride + kernel]
