"""Layers in a row that run piece by piece."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from antiphon.errors import ConfigError
from antiphon.nn.conv import Conv1d
from antiphon.nn.streaming import chain_push, chain_ready, chain_reset, chain_state, state_bytes


def test_layers_in_a_row_give_what_the_whole_gives() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(Conv1d(2, 3, 5), nn.ELU(), Conv1d(3, 2, 4, stride=2))
    for layer in (layers[0], layers[2]):
        layer.initialise()
    x = torch.randn(1, 2, 31)
    with torch.no_grad():
        states, out = chain_state(layers, 1), []
        for seen in range(31):
            assert sum(part.shape[-1] for part in out) == chain_ready(layers, seen)
            out.append(chain_push(layers, x[..., seen : seen + 1], states, last=seen == 30))
        torch.testing.assert_close(torch.cat(out, dim=-1), layers(x), atol=1e-6, rtol=1e-5)


def test_a_layer_that_sees_all_of_time_is_refused() -> None:
    with pytest.raises(ConfigError, match="a Softmax cannot run piece by piece"):
        chain_state([nn.Softmax(dim=-1)], 1)


def test_the_memory_of_a_state_is_that_of_its_tensors_without_weights() -> None:
    layer = Conv1d(2, 3, 5, pad_mode="constant")
    layer.initialise()
    states = chain_state([layer, nn.ELU()], 4)
    assert state_bytes(states) == 4 * 2 * 2 * 4  # B, C, the padding on the left, float32
    chain_push([layer, nn.ELU()], torch.zeros(4, 2, 10), states, last=False)
    assert state_bytes(states) == 4 * 2 * 4 * 4  # B, C, the kernel less one, float32


def test_rows_of_layers_in_a_row_begin_anew_and_stand_still_alone() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(
        Conv1d(2, 3, 5, causal=True, pad_mode="constant"),
        nn.ELU(),
        Conv1d(3, 2, 4, stride=2, causal=True, pad_mode="replicate", bias=False, norm="none"),
    )
    for layer in (layers[0], layers[2]):
        layer.initialise()
    x = torch.randn(3, 2, 12)
    with torch.no_grad():
        states = chain_state(layers, 3)
        chain_push(layers, x[..., :4], states, last=False)
        chain_push(layers, x[..., 4:6] + 1, states, last=False, live=torch.tensor([False, True, True]))
        chain_reset(states, torch.tensor([False, False, True]))
        out = chain_push(layers, x[..., 4:], states, last=False)
        torch.testing.assert_close(out[0], layers(x)[0, :, 2:])
        torch.testing.assert_close(out[2], layers(x[2:, :, 4:])[0])
