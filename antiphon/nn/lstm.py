"""A recurrent layer for convolutional inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class LSTMState:
    """What the layers remember: ``hidden`` and ``cell``, each (layers, B, C)."""

    hidden: Tensor
    cell: Tensor


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

    def state(self, batch: int) -> LSTMState:
        """The state before the first step, for ``batch`` rows."""
        weight = next(self.lstm.parameters())
        shape = (self.lstm.num_layers, batch, self.lstm.hidden_size)
        return LSTMState(*(torch.zeros(shape, dtype=weight.dtype, device=weight.device) for _ in range(2)))

    def ready(self, seen: int) -> int:
        """All of them: no step waits for another."""
        return seen

    def push(self, x: Tensor, state: LSTMState, *, last: bool) -> Tensor:
        """(B, C, T) to (B, C, T), T from 0; ``state`` moves on by T steps."""
        if not x.shape[-1]:
            return x
        steps = x.permute(2, 0, 1)  # (T, B, C)
        out, (state.hidden, state.cell) = self.lstm(steps, (state.hidden, state.cell))
        joined: Tensor = out + steps
        return joined.permute(1, 2, 0)
