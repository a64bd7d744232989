"""Convolutions that keep the frame grid: padded so that ``ceil(N / stride)`` frames come out, causal or centred.

They run on the whole (``forward``) or piece by piece (``state`` and ``push``, see ``nn/streaming.py``). A piece is one
matrix product: its samples lie in memory as rows of all channels, so that neighbouring rows are read as one longer row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import ConfigError
from antiphon.nn.linear import linear

NORMS = ("weight_norm", "time_group_norm", "none")
PAD_MODES = ("reflect", "constant", "replicate")

# Channels whose weights are laid out anew together: few megabytes.
_TURNED = 64


def pad_time(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    """Pads the last axis; reflection also works on inputs shorter than the padding.

    A short input is lengthened with zeros on the right first, as the reference does, and the excess is cut again.

    Args:
        x: (..., N). mode: a mode of ``torch.nn.functional.pad``.
    """
    if mode != "reflect":
        return F.pad(x, (left, right), mode=mode)
    return _reflected(x, left, right, axis=-1)


def _reflected(x: Tensor, left: int, right: int, *, axis: int) -> Tensor:
    """``x`` with its ends mirrored along ``axis``: three pieces joined, whose gradient is cheaper than torch's."""
    length = x.shape[axis]
    missing = max(left, right) - length + 1
    if missing > 0:
        shape = list(x.shape)
        shape[axis] = missing
        x = torch.cat([x, x.new_zeros(shape)], dim=axis)
    pieces = [x.narrow(axis, 1, left).flip(axis)] if left else []
    pieces.append(x)
    if right:
        pieces.append(x.narrow(axis, x.shape[axis] - 1 - right, right).flip(axis))
    padded = torch.cat(pieces, dim=axis) if len(pieces) > 1 else x
    return padded.narrow(axis, 0, padded.shape[axis] - missing) if missing > 0 else padded


def _in_rows(x: Tensor) -> bool:
    """Whether a layer that is being trained takes its input as rows of all channels.

    On a CPU a whole training step of an EnCodec takes half the time so: torch's kernels for one dimension want the time
    of each channel together, which suits few channels badly and their gradients worse.
    """
    kinds = (torch.float32, torch.bfloat16) if torch.is_autocast_enabled("cpu") else (torch.float32,)
    return torch.is_grad_enabled() and x.dtype in kinds and x.device.type == "cpu"


def _as_image(rows: Tensor) -> Tensor:
    """(B, N, C) as an image (B, C, 1, N) whose channels lie together, the layout of the faster kernels."""
    return rows.contiguous().transpose(1, 2).unsqueeze(2)


def _product(rows: Tensor, weight: Tensor, bias: Tensor, *, kernel: int, stride: int = 1, dilation: int = 1) -> Tensor:
    """A convolution (B, M, O) of ``rows`` (B, N, C) with ``weight`` (O, kernel * C)."""
    if kernel > 1 or stride > 1:
        spans = rows.unfold(1, (kernel - 1) * dilation + 1, stride)[..., ::dilation]  # (B, M, C, kernel), a view
        rows = spans.transpose(2, 3).flatten(2)  # (B, M, kernel * C)
    return linear(rows, weight, bias)


def _narrow_product(rows: Tensor, weight: Tensor, bias: Tensor, *, kernel: int, dilation: int) -> Tensor:
    """The same of ``weight`` (kernel * O, C) for few outputs: each row once, and sums of what it gives to each."""
    count = rows.shape[1] - (kernel - 1) * dilation
    given = linear(rows, weight).view(len(rows), rows.shape[1], kernel, -1)  # (B, N, kernel, O)
    out = given[:, :count, 0] + bias
    for tap in range(1, kernel):
        out += given[:, tap * dilation : tap * dilation + count, tap]
    return out


@dataclass
class ConvState:
    """What a convolution remembers between two pieces.

    Attributes:
        weight: (C', k * C) or, in narrow layers, (k * C', C), folded and laid out for a product when the state was
            made: doing it for every piece would cost more than a short piece itself.
        bias: (C',).
        held: (B, n, C), inputs that outputs to come still need; padded on the left once ``started``.
        seen: inputs so far. given: outputs so far.
        started: the left padding, which may reflect inputs, has been made.
    """

    weight: Tensor
    bias: Tensor
    held: Tensor
    seen: int = 0
    given: int = 0
    started: bool = False


@dataclass
class ConvTransposeState:
    """What a transposed convolution remembers between two pieces.

    Attributes:
        weight: (stride * C', q * C), laid out when the state was made; q inputs make ``stride`` outputs.
        bias: (stride * C',).
        held: (B, q - 1, C), the latest inputs, silence at first.
        cut: outputs at the beginning that are still to be trimmed.
    """

    weight: Tensor
    bias: Tensor
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

    @property
    def raw(self) -> Tensor:
        """The weight as it is stored: what the model uses is this times ``scale`` along axis 0."""
        return self.direction if self.normed else self.weight

    def scale(self) -> Tensor:
        """(first axis of the weight,), at least float32."""
        raw = self.raw
        precise = torch.promote_types(raw.dtype, torch.float32)
        if not self.normed:
            return raw.new_ones(len(raw), dtype=precise)
        length = torch.linalg.vector_norm(raw, dim=(1, 2), dtype=precise)
        scale: Tensor = self.magnitude.flatten() / length
        return scale

    def initialise(self) -> None:
        """Kaiming-normal weight, uniform bias within ``1 / sqrt(fan in)``."""
        raw = self.raw
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
        self.kernel = kernel
        self.stride = stride
        self.dilation = dilation
        self.causal = causal
        self.pad_mode = pad_mode
        # neighbouring rows as one would be a longer row than all that it gives
        self._narrow = stride == 1 < kernel and channels_out * kernel <= channels_in
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
        if _in_rows(x):
            x = self._trained(x, extra)
            return x if self.group_norm is None else self.group_norm(x)
        x = pad_time(x, self._left, self._right + extra, self.pad_mode)
        if x.dtype is torch.bfloat16 and x.device.type == "cpu":
            # where the processor multiplies bfloat16 itself, torch's kernel gives wrong numbers for some strides
            x = self._of_rows(x.transpose(1, 2), self._laid_out(), self.bias).transpose(1, 2)
        else:
            x = F.conv1d(x, self.effective(), self.bias, stride=self.stride, dilation=self.dilation)
        return x if self.group_norm is None else self.group_norm(x)

    def _trained(self, x: Tensor, extra: int) -> Tensor:
        """The convolution whose gradient is asked for, with ``extra`` samples more on the right."""
        rows, right = x.transpose(1, 2), self._right + extra
        if self.pad_mode == "reflect":
            rows = _reflected(rows, self._left, right, axis=1)
        else:
            rows = pad_time(x, self._left, right, self.pad_mode).transpose(1, 2)
        if self.kernel == 1 and self.stride == 1:
            return linear(rows, self.effective().squeeze(2), self.bias).transpose(1, 2)
        weight = self.effective().unsqueeze(2)
        return F.conv2d(_as_image(rows), weight, self.bias, (1, self.stride), 0, (1, self.dilation)).squeeze(2)

    def _of_rows(self, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The convolution (B, M, C') of padded rows (B, N, C) with a weight that is laid out for it."""
        if self._narrow:
            return _narrow_product(rows, weight, bias, kernel=self.kernel, dilation=self.dilation)
        return _product(rows, weight, bias, kernel=self.kernel, stride=self.stride, dilation=self.dilation)

    def _laid_out(self) -> Tensor:
        """The weight (C', k * C) for a product; (k * C', C) in a narrow layer."""
        if self._narrow:
            return self.effective().permute(2, 0, 1).flatten(0, 1)
        return self.effective().transpose(1, 2).flatten(1)

    def state(self, batch: int) -> ConvState:
        """A state before the first input, for ``batch`` rows.

        Raises:
            ConfigError: the layer normalises over all of time.
        """
        _refuse_group_norm(self.group_norm)
        with torch.no_grad():
            weight = self._laid_out()
        return ConvState(weight, self.bias.detach(), weight.new_zeros(batch, 0, self.raw.shape[1]))

    def ready(self, seen: int) -> int:
        """How many outputs are final after ``seen`` inputs of which none was the last."""
        return 0 if seen < self._start else max(0, (self._left + seen - self.reach - 1) // self.stride + 1)

    def push(self, x: Tensor, state: ConvState, *, last: bool) -> Tensor:
        """(B, C, N) to the outputs (B, C', M) that became final; all that are left with ``last``."""
        rows = x.transpose(1, 2)
        state.seen += rows.shape[1]
        if state.held.shape[1]:
            rows = torch.cat([state.held, rows], dim=1)
        if state.seen < self._start and not last:
            state.held = rows.clone()  # not the caller's own memory
            return x.new_zeros(len(x), len(state.bias), 0)
        end = self._left + state.seen  # of the rows, counted from the first sample of the left padding
        left, right = 0 if state.started else self._left, 0
        if last:
            right = self._right + -state.seen % self.stride if state.seen else 0
        if state.seen and (left or right):
            rows = pad_time(rows.transpose(1, 2), left, right, self.pad_mode).transpose(1, 2)
        state.started = True
        return self._convolve(rows, state, end + right).transpose(1, 2)

    def _convolve(self, rows: Tensor, state: ConvState, end: int) -> Tensor:
        """(B, N, C), of which the last is the one before ``end``, to all outputs (B, M, C') that they allow."""
        length = rows.shape[1]
        first = state.given * self.stride - (end - length)  # where the next output's inputs begin
        count = max(0, (length - first - self.reach - 1) // self.stride + 1)
        out = rows.new_zeros(len(rows), 0, len(state.bias))
        if count:
            used = rows[:, first : first + (count - 1) * self.stride + self.reach + 1]
            out = self._of_rows(used, state.weight, state.bias)
        state.given += count
        keep = min(first + count * self.stride, length - self._mirror)
        state.held = rows[:, keep:].clone()  # a view would hold all of the rows
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
        self.reach = -(-kernel // stride)  # inputs that an output sees at most
        # ceil without going through floats that do not hold the ratio exactly
        self.trim_right = -int(-surplus * trim_right_ratio // 1) if causal else surplus // 2
        self.trim_left = surplus - self.trim_right

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T * stride)."""
        if _in_rows(x):
            image = _as_image(x.transpose(1, 2))
            x = F.conv_transpose2d(image, self.effective().unsqueeze(2), self.bias, (1, self.stride)).squeeze(2)
        else:
            x = F.conv_transpose1d(x, self.effective(), self.bias, stride=self.stride)
        x = x if self.group_norm is None else self.group_norm(x)
        return x[..., self.trim_left : x.shape[-1] - self.trim_right]

    def state(self, batch: int) -> ConvTransposeState:
        """A state before the first input, for ``batch`` rows.

        Raises:
            ConfigError: the layer normalises over all of time.
        """
        _refuse_group_norm(self.group_norm)
        with torch.no_grad():
            weight = self._laid_out()
            bias = self.bias.repeat(self.stride)
        held = weight.new_zeros(batch, self.reach - 1, weight.shape[1] // self.reach)
        return ConvTransposeState(weight, bias, held, self.trim_left)

    def _laid_out(self) -> Tensor:
        """The weight (stride * C', q * C) with which a row of q neighbouring inputs gives ``stride`` outputs."""
        raw, scale, missing = self.raw, self.scale(), -self.raw.shape[2] % self.stride
        if missing:
            raw = F.pad(raw, (0, missing))
        inputs, outputs = raw.shape[:2]
        out = raw.new_empty(self.stride, outputs, self.reach, inputs)
        # some channels at a time are transposed as a matrix and their rows then moved whole: half the time of moving
        # single numbers, and no second copy
        for first in range(0, outputs, _TURNED):
            turned = raw[:, first : first + _TURNED].flatten(1).t().contiguous()
            turned = turned.view(-1, self.reach, self.stride, inputs).transpose(0, 2)  # (stride, q, some, C)
            for delay in range(self.reach):  # the inputs of a row are in the order of time, the latest with delay 0
                place = out[:, first : first + _TURNED, self.reach - 1 - delay]
                torch.mul(turned[:, delay], scale, out=place)
        return out.view(self.stride * outputs, -1)

    def ready(self, seen: int) -> int:
        """How many outputs are final after ``seen`` inputs of which none was the last."""
        return max(0, seen * self.stride - self.trim_left)

    def push(self, x: Tensor, state: ConvTransposeState, *, last: bool) -> Tensor:
        """(B, C, N) to the outputs (B, C', M) that became final; all that are left with ``last``."""
        rows, more = x.transpose(1, 2), self.reach - 1 if last else 0
        if self.reach > 1:
            rows = torch.cat([state.held, rows, rows.new_zeros(len(rows), more, rows.shape[2])], dim=1)
            state.held = rows[:, rows.shape[1] - self.reach + 1 :].clone()
        count = rows.shape[1] - self.reach + 1
        if not count:
            return x.new_zeros(len(x), len(self.bias), 0)
        out = _product(rows, state.weight, state.bias, kernel=self.reach)
        out = out.view(len(rows), count * self.stride, -1)  # (B, count, stride * C') has them in order
        stop = out.shape[1] - (more * self.stride - self.trim_left if last else 0)
        begin = min(state.cut, stop)
        state.cut -= begin
        return out[:, begin:stop].transpose(1, 2)
