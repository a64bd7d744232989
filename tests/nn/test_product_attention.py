"""Attention of many queries by plain products: the formula, masks, grouped heads, and when it is taken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.nn import attention as attention_module
from antiphon.nn import dense
from antiphon.nn import product_attention as module
from antiphon.nn.attention import Attention
from antiphon.nn.masks import Mask, causal_mask, memory_mask
from antiphon.nn.product_attention import product_attention, suits_products


def heads(
    queries: int, keys: int, *, own: int = 4, shared: int = 2, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Query (2, 4, T, 16), key (2, 2, S, 16) and value (2, 2, S, 24), as projections leave them."""
    numbers = torch.Generator().manual_seed(0)
    sizes = (queries, own, 16), (keys, shared, 16), (keys, shared, 24)
    return [torch.randn(2, *size, generator=numbers).to(dtype).transpose(1, 2) for size in sizes]


def wanted(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, causal: bool) -> Tensor:
    """The same in float64."""
    exact = (t.double() for t in (query, key, value))
    return F.scaled_dot_product_attention(*exact, allowed, is_causal=causal, scale=0.3, enable_gqa=True)


@pytest.mark.parametrize("scores", [1, 200 * 50, 1 << 19])
@pytest.mark.parametrize("kind", ["all", "causal", "padded", "square", "per head"])
def test_any_blocks_give_the_formula(kind: str, scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SCORES", scores)
    given = heads(200, 200)
    allowed = None
    if kind == "padded":
        allowed = (torch.arange(200) < torch.tensor([[150], [200]]))[:, None, None]
    elif kind == "square":
        allowed = torch.ones(200, 200, dtype=torch.bool).tril(3)[None, None]
    elif kind == "per head":
        allowed = torch.rand(2, 4, 200, 200, generator=torch.Generator().manual_seed(1)) < 0.5
    with torch.no_grad():
        found = product_attention(*given, 0.3, allowed=allowed, causal=kind == "causal")
    assert found.shape == (2, 4, 200, 24)
    torch.testing.assert_close(found.double(), wanted(*given, allowed, kind == "causal"), atol=2e-6, rtol=2e-6)


def test_more_keys_than_queries_and_one_key() -> None:
    for keys in (1, 300):
        given = heads(130, keys)
        with torch.no_grad():
            found = product_attention(*given, 0.3)
        torch.testing.assert_close(found.double(), wanted(*given, None, False), atol=2e-6, rtol=2e-6)


def test_bfloat16_is_as_near_to_the_truth_as_torchs_own() -> None:
    given = heads(300, 300, dtype=torch.bfloat16)
    truth = wanted(*given, None, True)
    with torch.no_grad():
        found = product_attention(*given, 0.3, causal=True)
        torchs = F.scaled_dot_product_attention(*given, is_causal=True, scale=0.3, enable_gqa=True)
    assert found.dtype is torch.bfloat16
    assert (found.double() - truth).square().mean() < 1.02 * (torchs.double() - truth).square().mean()


@pytest.mark.parametrize("mask", ["none", "causal", "padded", "later"])
def test_a_layer_takes_it_for_many_queries_without_gradients(mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def counted(*given: Tensor | float, **how: object) -> Tensor:
        taken.append(how)
        return product_attention(*given, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(attention_module, "product_attention", counted)
    layer = Attention(32, 4, kv_heads=2).eval()
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) / 6)
    x = torch.randn(2, 150, 32, generator=torch.Generator().manual_seed(9))
    padding = (torch.arange(150) < torch.tensor([[0], [140]])).long()
    told = {
        "none": Mask(),
        "causal": causal_mask(150, 150, None, device=x.device),
        "padded": memory_mask(padding),  # of the first row nothing is to be seen
        "later": causal_mask(150, 150, padding, device=x.device, window=20),
    }[mask]
    found: dict[bool, Tensor] = {}
    for prefers in (False, True):
        monkeypatch.setattr(module, "prefers_onednn", lambda prefers=prefers: prefers)
        with torch.no_grad():
            found[prefers] = layer(x, mask=told)[0]
    assert len(taken) == 1
    torch.testing.assert_close(found[True], found[False], atol=2e-5, rtol=2e-5)
    layer(x, mask=told)  # learns
    with torch.no_grad():
        layer(x[:, :100])  # few
    assert len(taken) == 1


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "prefers_onednn", lambda: True)
    many = torch.zeros(1, 2, 128, 8)
    with torch.no_grad():
        assert suits_products(many)
        assert suits_products(many.bfloat16())
        assert not suits_products(many.half())
        assert not suits_products(many[:, :, :127])
        assert not suits_products(many[:0])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert not suits_products(many)
    assert not suits_products(many)
    assert dense.prefers_onednn() in (True, False)


def test_operands_lie_together_since_others_go_the_slow_way_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def product(x: Tensor, weight: Tensor) -> Tensor:
        seen.append(weight)
        return x @ weight.t()

    monkeypatch.setattr(module, "onednn_product", product)
    product_attention(*heads(1100, 1100), 0.3, causal=True)
    assert len(seen) > 2 * 2 * 4  # more than one block of queries in each head
    assert all(weight.is_contiguous() or weight.t().is_contiguous() for weight in seen)
