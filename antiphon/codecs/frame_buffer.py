"""Sound that comes in pieces of any length, regrouped into whole frames."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.nn.conv import pad_time


class FrameBuffer:
    """Holds what is less than a frame until the rest comes. All rows are filled alike.

    Args:
        batch: B. channels: C. frame_samples: samples of a frame.

    Raises:
        ParamError: one of them below 1.
    """

    def __init__(self, batch: int, channels: int, frame_samples: int) -> None:
        if not (batch >= 1 and channels >= 1 and frame_samples >= 1):
            raise ParamError(
                f"frames of {frame_samples} samples of {batch} x {channels}", expected="at least 1 of each"
            )
        self.frame_samples = frame_samples
        self._held = torch.zeros(batch, channels, 0)

    @property
    def held_samples(self) -> int:
        """Samples that wait for the rest of their frame."""
        return self._held.shape[-1]

    def push(self, samples: Tensor) -> Tensor:
        """(B, C, N) float, N from 0, to the whole frames (B, C, ``frame_samples * n``) that there are now, n from 0.

        Raises:
            ParamError: samples of another shape or not floating point; what is held stays.
        """
        batch, channels, waiting = self._held.shape
        if samples.dim() != 3 or samples.shape[:2] != (batch, channels) or not samples.is_floating_point():
            raise ParamError(
                f"samples of shape {tuple(samples.shape)} and dtype {samples.dtype}",
                expected=f"({batch}, {channels}, samples), floating point",
            )
        whole = torch.cat([self._held.to(samples), samples], dim=-1) if waiting else samples
        cut = whole.shape[-1] - whole.shape[-1] % self.frame_samples
        self._held = whole[..., cut:].clone()  # not the caller's own memory
        return whole[..., :cut]

    def flush(self) -> Tensor:
        """The last frame (B, C, ``frame_samples``), filled up with silence, or none (B, C, 0); then forgets it."""
        last, missing = self._held, -self._held.shape[-1] % self.frame_samples
        self.clear()
        return pad_time(last, 0, missing, "constant")

    def silence(self, rows: Sequence[int]) -> None:
        """Replaces what is held of some rows with silence, so that frames still end together."""
        self._held[list(rows)] = 0

    def clear(self) -> None:
        """Forgets what is held."""
        self._held = self._held[..., :0].clone()
