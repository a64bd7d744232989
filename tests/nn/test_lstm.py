"""The recurrent layer: torch's own LSTM, and a way past it."""

from __future__ import annotations

import pytest
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


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("sizes", [[1], [3, 1], [40], [33, 2]])
def test_pieces_carry_the_state_from_one_to_the_next(layers: int, sizes: list[int]) -> None:
    """Few steps are taken one by one, many by torch's own layer: both are the same layer."""
    torch.manual_seed(0)
    layer, x = ResidualLSTM(5, layers), torch.randn(2, 5, 60)
    with torch.no_grad():
        state, parts, start, turn = layer.state(2), [], 0, 0
        while start < 60:
            stop = start + sizes[turn % len(sizes)]
            parts.append(layer.push(x[..., start:stop], state, last=False))
            start, turn = stop, turn + 1
        parts.append(layer.push(x[..., :0], state, last=True))
        torch.testing.assert_close(torch.cat(parts, dim=-1), layer(x), atol=1e-6, rtol=1e-5)


def test_large_layers_are_never_packed_and_give_the_same() -> None:
    torch.manual_seed(0)
    layer = ResidualLSTM(512, 2)  # its recurrent weights have 4 MiB
    x = torch.randn(2, 512, 40)
    with torch.no_grad():
        state = layer.state(2)
        called: list[int] = []
        layer.lstm.register_forward_hook(lambda *_: called.append(1))
        streamed = layer.push(x, state, last=True)
        assert called == []
        assert (streamed - layer(x)).abs().max() < 1e-5


@pytest.mark.parametrize("size", [1, 40])
def test_rows_begin_anew_and_stand_still_alone(size: int) -> None:
    torch.manual_seed(0)
    layer, x = ResidualLSTM(6, 2), torch.randn(3, 6, 3 * size)
    with torch.no_grad():
        state = layer.state(3)
        layer.push(x[..., :size], state, last=False)
        layer.push(x[..., size : 2 * size], state, last=False, live=torch.tensor([False, True, True]))
        state.reset(torch.tensor([False, False, True]))
        out = layer.push(x[..., 2 * size :], state, last=True)
        still = layer(torch.cat([x[..., :size], x[..., 2 * size :]], dim=-1))
        torch.testing.assert_close(out[0], still[0, :, size:], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(out[1], layer(x)[1, :, 2 * size :], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(out[2], layer(x[..., 2 * size :])[2], atol=1e-6, rtol=1e-5)
