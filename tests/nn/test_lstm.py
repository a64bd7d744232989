"""The recurrent layer: torch's own LSTM, and a way past it."""

from __future__ import annotations

import torch

from antiphon.nn.lstm import ResidualLSTM


def made() -> tuple[ResidualLSTM, torch.Tensor]:
    torch.manual_seed(0)
    return ResidualLSTM(6, 2), torch.randn(3, 6, 11)


def test_the_input_is_added_to_what_torchs_lstm_gives() -> None:
    layer, x = made()
    with torch.no_grad():
        steps = x.permute(2, 0, 1)
        torch.testing.assert_close(layer(x), (layer.lstm(steps)[0] + steps).permute(1, 2, 0))


def test_no_state_is_left_behind_and_the_future_is_not_heard() -> None:
    layer, x = made()
    with torch.no_grad():
        whole = layer(x)
        assert torch.equal(layer(x), whole)
        torch.testing.assert_close(layer(x[..., :4]), whole[..., :4])
        torch.testing.assert_close(layer(x[1:2]), whole[1:2])
