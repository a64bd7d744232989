"""Rotary positions: the definition pair by pair, distances alone, and the published dtype rules."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from antiphon.errors import ConfigError
from antiphon.nn.attention import Attention
from antiphon.nn.kv_cache import KVCache
from antiphon.nn.masks import causal_mask
from antiphon.nn.rotary import Rotary, rotate

CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_each_pair_turns_by_its_own_angle() -> None:
    x = noise(2, 3, 4, 8)
    positions = torch.tensor([[0, 1, 5, 9], [3, 4, 5, 6]])
    turned = rotate(x, Rotary(8, base=100.0).tables(positions, like=x))
    for row in range(2):
        for column in range(4):
            for pair in range(4):
                angle = float(positions[row, column]) * 100.0 ** (-pair / 4)
                first, second = x[row, 1, column, pair], x[row, 1, column, pair + 4]
                expected = first * math.cos(angle) - second * math.sin(angle)
                torch.testing.assert_close(turned[row, 1, column, pair], expected, atol=1e-5, rtol=1e-5)
                expected = second * math.cos(angle) + first * math.sin(angle)
                torch.testing.assert_close(turned[row, 1, column, pair + 4], expected, atol=1e-5, rtol=1e-5)


def test_scores_depend_on_distances_alone() -> None:
    query, key, rotary = noise(1, 1, 1, 16), noise(1, 1, 1, 16, seed=1), Rotary(16)

    def score(at: int, of: int) -> Tensor:
        turned = [rotate(x, rotary.tables(torch.tensor([[p]]), like=x)) for x, p in ((query, at), (key, of))]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(score(7, 3), score(107, 103), atol=1e-4, rtol=1e-4)
    assert abs(float(score(7, 3) - score(7, 4))) > 1e-3


def test_tables_are_computed_in_float32_and_then_rounded() -> None:
    positions = torch.tensor([[2999]])
    like = torch.zeros(1, dtype=torch.bfloat16)
    rounded, exact = Rotary(8).tables(positions, like=like), Rotary(8).tables(positions, like=torch.zeros(1))
    assert all(torch.equal(r, e.bfloat16()) for r, e in zip(rounded, exact, strict=True))


@pytest.mark.parametrize(("width", "base"), [(7, 10000.0), (0, 10000.0), (8, 0.0), (8, math.nan), (8, math.inf)])
def test_what_cannot_turn_is_refused(width: int, base: float) -> None:
    with pytest.raises(ConfigError, match="rotary"):
        Rotary(width, base)


def test_attention_keeps_rotated_keys_so_that_a_step_equals_the_whole() -> None:
    layer, rotary = Attention(16, 2, kv_heads=1).eval(), Rotary(8)
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=number) / 4)
        x, cache = noise(2, 6, 16, seed=9), KVCache()
        tables = rotary.tables(torch.arange(6)[None], like=x)
        whole, _ = layer(x, mask=causal_mask(6, 6, None, device=CPU), rotation=tables)
        plain, _ = layer(x, mask=causal_mask(6, 6, None, device=CPU))
        steps = []
        for t, column in enumerate(x.split(1, dim=1)):
            rotation = rotary.tables(torch.tensor([[t]]), like=x)
            steps.append(layer(column, cache=cache.layer(0), rotation=rotation)[0])
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-5, rtol=1e-5)
    assert float((whole - plain).abs().max()) > 1e-2
