"""A recurrent layer for convolutional inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from antiphon.nn.linear import linear

# On a CPU torch packs all weights anew for every call. That costs as much as this many steps taken one by one,
_FEW_STEPS = 32
# and a second copy of the weights; from this size on the steps themselves are no slower one by one.
_LARGE_BYTES = 4 << 20


@dataclass
class LSTMState:
    """What the layers remember: ``hidden`` and ``cell``, each (layers, B, C)."""

    hidden: Tensor
    cell: Tensor

    def reset(self, rows: Tensor) -> None:
        """Lets ``rows`` (B,) bool begin anew."""
        for part in (self.hidden, self.cell):
            part.masked_fill_(rows[:, None], 0)


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

    def push(self, x: Tensor, state: LSTMState, *, last: bool, live: Tensor | None = None) -> Tensor:
        """(B, C, T) to (B, C, T), T from 0; ``state`` moves on by T steps in the rows that are ``live`` (B,) bool."""
        if not x.shape[-1]:
            return x
        steps = x.permute(2, 0, 1)  # (T, B, C)
        before = state.hidden, state.cell
        weight = self.lstm.all_weights[0][1]
        large = weight.numel() * weight.element_size() >= _LARGE_BYTES
        if x.device.type == "cpu" and (large or len(steps) <= _FEW_STEPS):
            out = self._one_by_one(steps, state)
        else:
            out, (state.hidden, state.cell) = self.lstm(steps, (state.hidden, state.cell))
        if live is not None:
            state.hidden = torch.where(live[:, None], state.hidden, before[0])
            state.cell = torch.where(live[:, None], state.cell, before[1])
        joined: Tensor = out + steps
        return joined.permute(1, 2, 0)

    def _one_by_one(self, steps: Tensor, state: LSTMState) -> Tensor:
        """What the LSTM gives, (T, B, C), without packing its weights."""
        hidden, cell, width = list(state.hidden), list(state.cell), self.lstm.hidden_size
        for layer, (w_in, w_back, b_in, b_back) in enumerate(self.lstm.all_weights):
            gates = linear(steps, w_in, b_in + b_back)  # (T, B, 4 C): input, forget, new, output
            out = []
            for gate in gates:
                sums = linear(hidden[layer], w_back).add_(gate)
                new = sums[..., 2 * width : 3 * width].tanh()
                taken, kept, _, shown = sums.sigmoid_().split(width, dim=-1)
                cell[layer] = (kept * cell[layer]).addcmul_(taken, new)
                hidden[layer] = shown * cell[layer].tanh()
                out.append(hidden[layer])
            steps = torch.stack(out)
        state.hidden, state.cell = torch.stack(hidden), torch.stack(cell)
        return steps
