"""Convolutions that keep the frame grid: padded so that ``ceil(N / stride)`` frames come out, causal or centred."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import ConfigError

NORMS = ("weight_norm", "time_group_norm", "none")
PAD_MODES = ("reflect", "constant", "replicate")


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

    def initialise(self) -> None:
        """Kaiming-normal weight, uniform bias within ``1 / sqrt(fan in)``."""
        raw = self.direction if self.normed else self.weight
        nn.init.kaiming_normal_(raw)
        bound = (raw.shape[1] * raw.shape[2]) ** -0.5
        nn.init.uniform_(self.bias, -bound, bound)
        if self.normed:
            with torch.no_grad():
                self.magnitude.copy_(self.direction.flatten(1).norm(dim=1).view(-1, 1, 1))


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

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) to (B, C', ceil(N / stride))."""
        extra = -x.shape[-1] % self.stride
        right = 0 if self.causal else self.padding_total // 2
        x = pad_time(x, self.padding_total - right, right + extra, self.pad_mode)
        x = F.conv1d(x, self.effective(), self.bias, stride=self.stride, dilation=self.dilation)
        return x if self.group_norm is None else self.group_norm(x)


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
