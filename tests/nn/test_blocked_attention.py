"""Attention block by block while learning: that of the plain formula, and its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.nn import attention as attention_module
from antiphon.nn import blocked_attention as module
from antiphon.nn.attention import Attention
from antiphon.nn.blocked_attention import blocked_attention, learns_in_bfloat16
from antiphon.nn.masks import causal_mask, memory_mask


def heads(columns: int, dtype: torch.dtype, *, seed: int = 0) -> list[Tensor]:
    """Query, key and value (2, 3, T, 8), laid out as projections leave them."""
    made = torch.randn(3, 2, columns, 3, 8, generator=torch.Generator().manual_seed(seed))
    return [t.to(dtype).transpose(1, 2).requires_grad_() for t in made]


def relative(one: Tensor, other: Tensor) -> float:
    return float(((one.double() - other.double()).norm() / other.double().norm()).detach())


@pytest.mark.parametrize("columns", [1, 5, 16, 23])
@pytest.mark.parametrize("scores", [1, 16 * 23 * 4])
def test_any_blocks_give_causal_attention_and_its_gradients(
    columns: int, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", 8)
    monkeypatch.setattr(module, "_SCORES", scores)
    given = heads(columns, torch.float32)
    by = torch.randn(2, 3, columns, 8, generator=torch.Generator().manual_seed(4))
    found = blocked_attention(*given, 0.3)
    expected = F.scaled_dot_product_attention(*given, is_causal=True, scale=0.3)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected, given, by)
    for one, other in zip(torch.autograd.grad(found, given, by), wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_bfloat16_is_as_near_to_the_truth_as_torchs_own() -> None:
    given = heads(150, torch.bfloat16)
    exact = [t.detach().float().requires_grad_() for t in given]
    by = torch.randn(2, 3, 150, 8, generator=torch.Generator().manual_seed(4)).bfloat16()
    truth = F.scaled_dot_product_attention(*exact, is_causal=True)
    wanted = [truth, *torch.autograd.grad(truth, exact, by.float())]
    for attend in (
        lambda q, k, v: blocked_attention(q, k, v, 8**-0.5),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    ):
        out = attend(*given)
        for one, other in zip([out, *torch.autograd.grad(out, given, by)], wanted, strict=True):
            assert relative(one, other) < 0.01


def test_it_is_taken_for_bfloat16_with_gradients_only() -> None:
    query, key, _ = heads(4, torch.bfloat16)
    assert learns_in_bfloat16(query, key)
    assert not learns_in_bfloat16(query.float(), key.float())
    assert not learns_in_bfloat16(query.detach(), key.detach())
    with torch.no_grad():
        assert not learns_in_bfloat16(query, key)


@pytest.mark.parametrize("memory", [False, True])
def test_layers_learning_in_bfloat16_come_near_to_float32(memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = Attention(24, 3)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 9, 24, requires_grad=True)
    places = torch.randn(2, 6, 24) if memory else None
    padding = torch.tensor([[1, 1, 1, 1, 0, 0], [0] * 6])  # the second row sees nothing
    mask = memory_mask(padding) if memory else causal_mask(9, 9, None, device=x.device)

    def gradients(reduced: bool) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            out, _ = layer(x, memory=places, mask=mask)
        return [out.float(), *torch.autograd.grad(out.float().square().sum(), [x, *layer.parameters()])]

    exact = gradients(False)
    calls: list[int] = []
    real = {"blocked": attention_module.blocked_attention, "eager": Attention._eager}
    monkeypatch.setattr(attention_module, "blocked_attention", lambda *a: calls.append(0) or real["blocked"](*a))
    monkeypatch.setattr(Attention, "_eager", lambda *a: calls.append(1) or real["eager"](*a))
    for one, other in zip(gradients(True), exact, strict=True):
        assert relative(one, other) < 0.03
    assert calls == [int(memory)]
    if memory:
        assert not exact[0][1].any()
        assert not gradients(True)[0][1].any()


def test_gradients_of_gradients_are_refused() -> None:
    given = heads(4, torch.float32)
    (first,) = torch.autograd.grad(blocked_attention(*given, 1.0).square().sum(), given[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
