"""The transposed convolution that keeps the frame grid: ``stride`` samples for every frame, whole or piece by piece."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.errors import ConfigError, SessionError
from antiphon.nn.conv_weight import ConvWeight, as_image, hold, in_rows, product, refuse_group_norm

# Channels whose weights are laid out anew together: few megabytes.
_TURNED = 64


@dataclass
class ConvTransposeState:
    """What a transposed convolution remembers between two pieces.

    Attributes:
        weight: (stride * C', q * C), laid out when the state was made; q inputs make ``stride`` outputs. With G groups
            (G, q * C / G, stride * C' / G).
        bias: (stride * C',) or ``None``.
        held: (B, q - 1, C), the latest inputs, silence at first.
        cut: outputs at the beginning that are still to be trimmed. apart: whether rows may begin anew by themselves.
    """

    weight: Tensor
    bias: Tensor | None
    held: Tensor
    cut: int
    apart: bool

    def reset(self, rows: Tensor) -> None:
        """Lets ``rows`` (B,) bool begin anew.

        Raises:
            SessionError: a layer that trims its beginning, whose rows have to go together.
        """
        if not self.apart:
            raise SessionError("rows begin anew in a layer that waits", expected="one that trims nothing on the left")
        self.held.masked_fill_(rows[:, None, None], 0)


class ConvTranspose1d(ConvWeight):
    """A transposed convolution whose output has ``N * stride`` samples.

    Args:
        trim_right_ratio: share of the surplus cut on the right when causal; centred layers cut half on each side.
        groups: G parts of the channels that do not hear each other. norm: one of ``NORMS``. bias: whether there is one.

    Raises:
        ConfigError: a ratio other than 1 on a layer that is not causal, or groups that do not divide the channels.
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
        groups: int = 1,
        norm: str = "weight_norm",
        bias: bool = True,
    ) -> None:
        if channels_in % groups or channels_out % groups:
            raise ConfigError(f"{groups} groups do not divide {channels_in} and {channels_out} channels")
        super().__init__((channels_in, channels_out // groups, kernel), channels_out, norm, bias=bias)
        if not causal and trim_right_ratio != 1.0:
            raise ConfigError(f"trim_right_ratio={trim_right_ratio} without use_causal_conv", expected="1.0")
        self.stride = stride
        self.groups = groups
        surplus = kernel - stride
        self.reach = -(-kernel // stride)  # inputs that an output sees at most
        # ceil without going through floats that do not hold the ratio exactly
        self.trim_right = -int(-surplus * trim_right_ratio // 1) if causal else surplus // 2
        self.trim_left = surplus - self.trim_right

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C', T * stride)."""
        if in_rows(x):
            image = as_image(x.transpose(1, 2))
            weight = self.effective().unsqueeze(2)
            x = F.conv_transpose2d(image, weight, self.bias, (1, self.stride), groups=self.groups).squeeze(2)
        else:
            x = F.conv_transpose1d(x, self.effective(), self.bias, stride=self.stride, groups=self.groups)
        x = x if self.group_norm is None else self.group_norm(x)
        return x[..., self.trim_left : x.shape[-1] - self.trim_right]

    def state(self, batch: int) -> ConvTransposeState:
        """A state before the first input, for ``batch`` rows.

        Raises:
            ConfigError: the layer normalises over all of time.
        """
        refuse_group_norm(self.group_norm)
        with torch.no_grad():
            weight = self._laid_out()
            bias = None if self.bias is None else self.bias.repeat(self.stride)
        held = weight.new_zeros(batch, self.reach - 1, len(self.raw))
        return ConvTransposeState(weight, bias, held, self.trim_left, apart=not self.trim_left)

    def _laid_out(self) -> Tensor:
        """The weight (stride * C', q * C) with which a row of q neighbouring inputs gives ``stride`` outputs.

        With groups (G, q * C / G, stride * C' / G).
        """
        raw, scale, missing = self.raw, self.scale(), -self.raw.shape[2] % self.stride
        if missing:
            raw = F.pad(raw, (0, missing))
        inputs, outputs = raw.shape[:2]
        if self.groups > 1:
            scaled = (raw * scale[:, None, None]).to(raw.dtype)
            parts = scaled.view(self.groups, -1, outputs, self.reach, self.stride)
            return parts.flip(3).permute(0, 3, 1, 4, 2).reshape(self.groups, -1, self.stride * outputs)
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

    def push(self, x: Tensor, state: ConvTransposeState, *, last: bool, live: Tensor | None = None) -> Tensor:
        """(B, C, N) to the outputs (B, C', M) that became final; all that are left with ``last``.

        Rows that are not ``live`` (B,) bool stand still: their inputs are not kept, and their outputs mean nothing.
        """
        rows, more = x.transpose(1, 2), self.reach - 1 if last else 0
        if self.reach > 1:
            rows = torch.cat([state.held, rows, rows.new_zeros(len(rows), more, rows.shape[2])], dim=1)
            state.held = hold(state.held, rows[:, rows.shape[1] - self.reach + 1 :], live)
        count = rows.shape[1] - self.reach + 1
        if not count:
            return x.new_zeros(len(x), self.channels_out, 0)
        out = self._of_rows(rows, state).view(len(rows), count * self.stride, -1)
        stop = out.shape[1] - (more * self.stride - self.trim_left if last else 0)
        begin = min(state.cut, stop)
        state.cut -= begin
        return out[:, begin:stop].transpose(1, 2)

    def _of_rows(self, rows: Tensor, state: ConvTransposeState) -> Tensor:
        """(B, N, C) to (B, N - q + 1, stride * C'), the outputs of each place one after the other."""
        if self.groups == 1:
            return product(rows, state.weight, state.bias, kernel=self.reach)
        batch, count, groups = len(rows), rows.shape[1] - self.reach + 1, self.groups
        spans = rows.unfold(1, self.reach, 1).unflatten(2, (groups, -1))  # (B, M, G, C / G, q), a view
        spans = spans.permute(2, 0, 1, 4, 3).reshape(groups, batch * count, -1)
        out = torch.bmm(spans, state.weight).view(groups, batch, count, self.stride, -1)
        out = out.permute(1, 2, 3, 0, 4).reshape(batch, count, -1)  # (G, B, M, stride, C' / G) -> (B, M, stride * C')
        return out if state.bias is None else out + state.bias
