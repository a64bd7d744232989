"""A recurrent layer for convolutional inputs."""

from __future__ import annotations

from torch import Tensor, nn


class ResidualLSTM(nn.Module):
    """An LSTM over time with its input added to its output; the state starts at zero.

    Args:
        width: channels in and out. layers: stacked LSTM layers.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width, layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) to (B, C, T)."""
        steps = x.permute(2, 0, 1)  # (T, B, C), the layout the LSTM runs in
        out, _ = self.lstm(steps)
        joined: Tensor = out + steps
        return joined.permute(1, 2, 0)
