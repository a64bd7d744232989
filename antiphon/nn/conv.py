"""Convolutions that keep the frame grid: padded so that ``ceil(N / stride)`` frames come out, causal or centred.

They run on the whole (``forward``) or piece by piece (``state`` and ``push``, see ``nn/streaming.py``). A piece is one
matrix product: its samples lie in memory as rows of all channels, so that neighbouring rows are read as one longer row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.errors import SessionError
from antiphon.nn.conv_weight import ConvWeight, as_image, hold, in_rows, product, refuse_group_norm
from antiphon.nn.linear import linear

PAD_MODES = ("reflect", "constant", "replicate")


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


def _narrow_product(rows: Tensor, weight: Tensor, bias: Tensor | None, *, kernel: int, dilation: int) -> Tensor:
    """The same of ``weight`` (kernel * O, C) for few outputs: each row once, and sums of what it gives to each."""
    count = rows.shape[1] - (kernel - 1) * dilation
    given = linear(rows, weight).view(len(rows), rows.shape[1], kernel, -1)  # (B, N, kernel, O)
    out = given[:, :count, 0].clone() if bias is None else given[:, :count, 0] + bias
    for tap in range(1, kernel):
        out += given[:, tap * dilation : tap * dilation + count, tap]
    return out


@dataclass
class ConvState:
    """What a convolution remembers between two pieces.

    Attributes:
        weight: (C', k * C) or, in narrow layers, (k * C', C), folded and laid out for a product when the state was
            made: doing it for every piece would cost more than a short piece itself.
        bias: (C',) or ``None``.
        held: (B, n, C), inputs that outputs to come still need, the padding on the left among them.
        padding: samples of padding on the left. apart: whether rows may begin anew and stand still by themselves.
        fresh: (B,) bool, rows whose padding repeats the first input, which has not come yet; ``None``: there is none.
        seen: inputs so far. given: outputs so far.
        started: the left padding is there; one that reflects inputs has to wait for them.
    """

    weight: Tensor
    bias: Tensor | None
    held: Tensor
    padding: int
    apart: bool
    replicates: bool
    fresh: Tensor | None = None
    seen: int = 0
    given: int = 0
    started: bool = True

    def begin(self, first: Tensor, live: Tensor | None) -> None:
        """Repeats the first inputs (B, 1, C) of rows that are fresh."""
        if self.fresh is not None:
            self.held = torch.where(self.fresh[:, None, None], first, self.held)
            self.fresh = None if live is None else self.fresh & ~live

    def reset(self, rows: Tensor) -> None:
        """Lets ``rows`` (B,) bool begin anew.

        Raises:
            SessionError: within a frame, or a layer whose rows have to go together.
        """
        if not self.apart or self.held.shape[1] != self.padding:
            raise SessionError("rows begin anew within a frame, or in a layer that waits", expected="whole frames")
        self.held.masked_fill_(rows[:, None, None], 0)
        if self.replicates:
            self.fresh = rows.clone() if self.fresh is None else self.fresh | rows


class Conv1d(ConvWeight):
    """A convolution whose output has ``ceil(N / stride)`` frames.

    Args:
        causal: all padding on the left (what fills the last frame stays on the right).
        pad_mode: ``reflect``, ``constant`` or ``replicate``.
        norm: one of ``NORMS``. bias: whether there is one.
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
        bias: bool = True,
    ) -> None:
        super().__init__((channels_out, channels_in, kernel), channels_out, norm, bias=bias)
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
        if in_rows(x):
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
        return F.conv2d(as_image(rows), weight, self.bias, (1, self.stride), 0, (1, self.dilation)).squeeze(2)

    def _of_rows(self, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution (B, M, C') of padded rows (B, N, C) with a weight that is laid out for it."""
        if self._narrow:
            return _narrow_product(rows, weight, bias, kernel=self.kernel, dilation=self.dilation)
        return product(rows, weight, bias, kernel=self.kernel, stride=self.stride, dilation=self.dilation)

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
        refuse_group_norm(self.group_norm)
        with torch.no_grad():
            weight = self._laid_out()
        reflects = self.pad_mode == "reflect" and self.padding_total > 0
        replicates = self.pad_mode == "replicate" and self._left > 0
        held = weight.new_zeros(batch, 0 if reflects else self._left, self.raw.shape[1])
        fresh = torch.ones(batch, dtype=torch.bool, device=weight.device) if replicates else None
        return ConvState(
            weight,
            None if self.bias is None else self.bias.detach(),
            held,
            padding=self._left,
            apart=not reflects and not self._right,
            replicates=replicates,
            fresh=fresh,
            started=not reflects,
        )

    def ready(self, seen: int) -> int:
        """How many outputs are final after ``seen`` inputs of which none was the last."""
        return 0 if seen < self._start else max(0, (self._left + seen - self.reach - 1) // self.stride + 1)

    def push(self, x: Tensor, state: ConvState, *, last: bool, live: Tensor | None = None) -> Tensor:
        """(B, C, N) to the outputs (B, C', M) that became final; all that are left with ``last``.

        Rows that are not ``live`` (B,) bool stand still: their inputs are not kept, and their outputs mean nothing.
        """
        rows = x.transpose(1, 2)
        if rows.shape[1]:
            state.begin(rows[:, :1], live)
        state.seen += rows.shape[1]
        if state.held.shape[1]:
            rows = torch.cat([state.held, rows], dim=1)
        if state.seen < self._start and not last:
            state.held = rows.clone()  # not the caller's own memory
            return x.new_zeros(len(x), self.channels_out, 0)
        end = self._left + state.seen  # of the rows, counted from the first sample of the left padding
        left, right = 0 if state.started else self._left, 0
        if last:
            right = self._right + -state.seen % self.stride if state.seen else 0
        if state.seen and (left or right):
            rows = pad_time(rows.transpose(1, 2), left, right, self.pad_mode).transpose(1, 2)
        state.started = True
        return self._convolve(rows, state, end + right, live).transpose(1, 2)

    def _convolve(self, rows: Tensor, state: ConvState, end: int, live: Tensor | None) -> Tensor:
        """(B, N, C), of which the last is the one before ``end``, to all outputs (B, M, C') that they allow."""
        length = rows.shape[1]
        first = state.given * self.stride - (end - length)  # where the next output's inputs begin
        count = max(0, (length - first - self.reach - 1) // self.stride + 1)
        out = rows.new_zeros(len(rows), 0, self.channels_out)
        if count:
            used = rows[:, first : first + (count - 1) * self.stride + self.reach + 1]
            out = self._of_rows(used, state.weight, state.bias)
        state.given += count
        keep = min(first + count * self.stride, length - self._mirror)
        state.held = hold(state.held, rows[:, keep:], live)
        return out
