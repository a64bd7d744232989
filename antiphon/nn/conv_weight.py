"""What convolutions and transposed ones have in common: how a weight is stored, and which kernel computes it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError, SessionError
from antiphon.nn.linear import linear

NORMS = ("weight_norm", "time_group_norm", "none")


def in_rows(x: Tensor) -> bool:
    """Whether a layer that is being trained takes its input as rows of all channels.

    On a CPU a whole training step of an EnCodec takes half the time so: torch's kernels for one dimension want the time
    of each channel together, which suits few channels badly and their gradients worse.
    """
    kinds = (torch.float32, torch.bfloat16) if torch.is_autocast_enabled("cpu") else (torch.float32,)
    return torch.is_grad_enabled() and x.dtype in kinds and x.device.type == "cpu"


def as_image(rows: Tensor) -> Tensor:
    """(B, N, C) as an image (B, C, 1, N) whose channels lie together, the layout of the faster kernels."""
    return rows.contiguous().transpose(1, 2).unsqueeze(2)


def product(
    rows: Tensor, weight: Tensor, bias: Tensor | None, *, kernel: int, stride: int = 1, dilation: int = 1
) -> Tensor:
    """A convolution (B, M, O) of ``rows`` (B, N, C) with ``weight`` (O, kernel * C)."""
    if kernel > 1 or stride > 1:
        spans = rows.unfold(1, (kernel - 1) * dilation + 1, stride)[..., ::dilation]  # (B, M, C, kernel), a view
        rows = spans.transpose(2, 3).flatten(2)  # (B, M, kernel * C)
    return linear(rows, weight, bias)


class ConvWeight(nn.Module):
    """A convolution's weight, stored whole or as magnitude and direction (weight normalisation over axis 0).

    Args:
        shape: of the weight. channels_out: C'. norm: one of ``NORMS``. bias: whether there is one.
    """

    def __init__(self, shape: tuple[int, int, int], channels_out: int, norm: str, *, bias: bool = True) -> None:
        super().__init__()
        self.channels_out = channels_out
        if norm not in NORMS:
            raise ConfigError(f"norm_type {norm!r}", expected=f"one of {NORMS}")
        self.normed = norm == "weight_norm"
        if self.normed:
            self.magnitude = nn.Parameter(torch.empty(shape[0], 1, 1))
            self.direction = nn.Parameter(torch.empty(shape))
        else:
            self.weight = nn.Parameter(torch.empty(shape))
        self.bias = nn.Parameter(torch.empty(channels_out)) if bias else None
        # one group over channels and time: not streamable, used by the 48 kHz codec on whole segments only
        self.group_norm = nn.GroupNorm(1, channels_out) if norm == "time_group_norm" else None

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
        if self.bias is not None:
            bound = (raw.shape[1] * raw.shape[2]) ** -0.5
            nn.init.uniform_(self.bias, -bound, bound)
        if self.normed:
            with torch.no_grad():
                self.magnitude.copy_(self.direction.flatten(1).norm(dim=1).view(-1, 1, 1))


def refuse_group_norm(norm: nn.Module | None) -> None:
    """Raises ``ConfigError`` for a layer that normalises over all of time."""
    if norm is not None:
        raise ConfigError(
            "a convolution normalised over all of time cannot run piece by piece", fix="Run it on a whole segment"
        )


def hold(held: Tensor, latest: Tensor, live: Tensor | None) -> Tensor:
    """What a layer holds after a piece: its latest inputs, in the memory of those before where they are as many.

    Args:
        held, latest: (B, n, C), the inputs held so far and the latest ones. live: (B,) bool, rows that moved on.

    Raises:
        SessionError: some rows stand still while others have moved by a part of a frame.
    """
    if latest.shape == held.shape:
        held.copy_(latest if live is None else torch.where(live[:, None, None], latest, held))
        return held
    if live is not None:
        raise SessionError("rows stand still beside others that move by parts of frames", expected="whole frames")
    return latest.clone()  # a view would hold all inputs of the piece
