"""Rotary time embedding: frames of sound turned by when they are heard.

Source: Ghosh et al., "Music Flamingo: Scaling Music Understanding in Audio Language Models", 2025, section 3; the
numbers are those of the published checkpoints as transformers 5.23 reads them, which differ from the paper's formula:
two axes, the window and the frame within it, whose angles are both multiplied by the time in seconds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.nn.rotary import Rotation


@dataclass(frozen=True)
class RotaryTime:
    """The angles of frames of one kind. Not a module: nothing of it is learned, stored, or cast with a model.

    Args:
        width: channels that turn by each of the two axes. base: the slowest pair of an axis turns nearly ``base`` times
            slower than the fastest. longest: what positions of both axes are divided by. frame_s: seconds of a frame.

    Raises:
        ConfigError: a width, base, length or step that is not above 0.
    """

    width: int
    base: float
    longest: float
    frame_s: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise ConfigError(f"rotary time embedding of {name}={value}", expected="a number above 0")

    def tables(self, windows: Tensor, frames: int, window_frames: int) -> Rotation:
        """Cosines and sines, computed in float32 whatever a model's dtype.

        Args:
            windows: (W,) int64, each window's number within its recording. frames: T, of a window's first frames.
            window_frames: that a full window has.

        Returns:
            Two tensors (W, T, channels) float32.
        """
        device = windows.device
        speeds = 1.0 / self.base ** (torch.arange(0, self.width, 2, dtype=torch.float32, device=device) / self.width)
        within = torch.arange(frames, dtype=torch.float32, device=device)
        # the order of these roundings is the reference's
        seconds = (windows.to(torch.int64) * window_frames * self.frame_s)[:, None] + within * self.frame_s
        starts = torch.round(seconds[:, :1] / (self.frame_s * window_frames)) / self.longest
        of_window = (starts * speeds).repeat_interleave(2, dim=-1)[:, None]  # (W, 1, width)
        of_frame = ((within / self.longest * (2 * math.pi))[:, None] * speeds).repeat_interleave(2, dim=-1)
        angles = torch.cat(torch.broadcast_tensors(of_window, of_frame), dim=-1)  # (W, T, 2 * width)
        angles = angles * (-seconds * 2 * math.pi)[..., None]
        return angles.cos(), angles.sin()

    def turned(self, frames: Tensor, windows: Tensor, window_frames: int) -> Tensor:
        """Frames (W, T, D) with neighbouring numbers of their first channels turned together, the others as they are.

        Computed in float64, or float32 where a device has no more, and returned in the dtype of ``frames``.
        """
        precise = torch.float32 if frames.device.type == "mps" else torch.float64
        tables = self.tables(windows.to(frames.device), frames.shape[1], window_frames)
        cosines, sines = (table.to(precise) for table in tables)
        channels = cosines.shape[-1]
        x = frames[..., :channels].to(precise)
        first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
        crossed = torch.stack([-second, first], dim=-1).flatten(-2)
        return torch.cat([(x * cosines + crossed * sines).to(frames.dtype), frames[..., channels:]], dim=-1)
