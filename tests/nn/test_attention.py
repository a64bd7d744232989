"""Attention: the ways of computing it agree, masks hide what they say, and a row that sees nothing gives zero."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from antiphon.errors import ConfigError, ParamError
from antiphon.nn.attention import PROJECTIONS, Attention
from antiphon.nn.kv_cache import LayerCache
from antiphon.nn.masks import Mask, causal_mask, memory_mask

CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(
    width: int = 16, heads: int = 4, *, implementation: str = "sdpa", seed: int = 1, **options: object
) -> Attention:
    layer = Attention(width, heads, **options).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=seed + number) / math.sqrt(parameter.shape[-1]))
    layer.implementation = implementation
    return layer


def by_hand(layer: Attention, x: Tensor, memory: Tensor, allowed: Tensor | None, bias: Tensor | None = None) -> Tensor:
    """The definition, one head and one query at a time."""
    query, key, value = layer.query(x), layer.key(memory), layer.value(memory)
    width, group = layer.head_width, layer.heads // layer.kv_heads
    out = torch.zeros(*x.shape[:2], layer.heads * width, dtype=x.dtype)
    for b in range(x.shape[0]):
        for h in range(layer.heads):
            own, shared = slice(h * width, (h + 1) * width), slice(h // group * width, (h // group + 1) * width)
            for t in range(x.shape[1]):
                scores = key[b, :, shared] @ query[b, t, own] * layer.scale
                if bias is not None:
                    scores = scores + bias[0, h, t]
                if allowed is not None:
                    row = allowed.expand(x.shape[0], 1, x.shape[1], memory.shape[1])[b, 0, t]
                    if not bool(row.any()):
                        continue
                    scores = scores.masked_fill(~row, -math.inf)
                out[b, t, own] = scores.softmax(0) @ value[b, :, shared]
    return layer.out(out)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("bias", [False, True])
def test_both_implementations_follow_the_definition(implementation: str, kv_heads: int, bias: bool) -> None:
    layer = made(implementation=implementation, kv_heads=kv_heads, bias=bias)
    x = noise(2, 5, 16)
    with torch.no_grad():
        out, weights = layer(x, mask=causal_mask(5, 5, None, device=CPU))
        expected = by_hand(layer, x, x, torch.ones(1, 1, 5, 5, dtype=torch.bool).tril())
    assert weights is None
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_a_head_width_a_scale_and_a_position_bias_of_ones_own(implementation: str) -> None:
    layer = made(12, 3, head_width=8, scale=1.0, implementation=implementation)
    x, bias = noise(2, 4, 12), noise(1, 3, 4, 4, seed=5)
    allowed = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=torch.bool)[:, None, None]
    with torch.no_grad():
        out, _ = layer(x, mask=Mask.of(allowed, bias=bias))
        torch.testing.assert_close(out, by_hand(layer, x, x, allowed, bias), atol=1e-5, rtol=1e-5)
        bare, _ = layer(x, mask=Mask.of(None, bias=bias))
        torch.testing.assert_close(bare, by_hand(layer, x, x, None, bias), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_over_a_memory(implementation: str) -> None:
    layer = made(implementation=implementation)
    x, memory = noise(2, 3, 16), noise(2, 6, 16, seed=4)
    padding = torch.tensor([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    with torch.no_grad():
        out, _ = layer(x, memory=memory, mask=memory_mask(padding))
        torch.testing.assert_close(out, by_hand(layer, x, memory, padding.bool()[:, None, None]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_rows_that_see_nothing_give_zero_and_never_nan(dtype: torch.dtype, scale: float) -> None:
    layer = made().to(dtype)
    x = (noise(2, 4, 16) * scale).to(dtype)
    padding = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])  # columns 0 and 1 of item 0 see no real column
    mask = causal_mask(4, 4, padding, device=CPU)
    with torch.no_grad():
        out, _ = layer(x, mask=mask)
        assert out.isfinite().all()
        assert not out[0, :2].any()
        assert out[0, 2:].any(dim=-1).all()
        alone, _ = layer(x[1:], mask=causal_mask(4, 4, None, device=CPU))
    torch.testing.assert_close(out[1:], alone, atol=2e-2 * scale, rtol=2e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_eager_rows_that_see_nothing_are_finite_too(dtype: torch.dtype, sign: float) -> None:
    """They are the mean of the values, as the reference's eager form has it; large scores must not overflow there."""
    layer = made(implementation="eager").to(dtype)
    with torch.no_grad():
        layer.key.weight.copy_(sign * layer.query.weight)
    x, memory = torch.full((1, 2, 16), 20.0, dtype=dtype), torch.full((1, 3, 16), 20.0, dtype=dtype)
    with torch.no_grad():
        out, _ = layer(x, memory=memory, mask=memory_mask(torch.zeros(1, 3)))
        expected = layer.out(layer.value(memory).mean(1, keepdim=True)).expand(1, 2, 16)
    assert out.isfinite().all()
    torch.testing.assert_close(out, expected, atol=0.5 if dtype is not torch.float32 else 1e-3, rtol=2e-2)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_hidden_columns_have_no_influence_at_all(implementation: str) -> None:
    layer = made(implementation=implementation)
    x = noise(1, 6, 16)
    changed = x.clone()
    changed[:, 4:] = 1e3
    padding = torch.tensor([[1, 1, 1, 1, 0, 0]])
    with torch.no_grad():
        causal = [layer(v, mask=causal_mask(6, 6, None, device=CPU))[0] for v in (x, changed)]
        padded = [layer(x, memory=v, mask=memory_mask(padding))[0] for v in (x, changed)]
    assert torch.equal(causal[0][:, :4], causal[1][:, :4])
    assert torch.equal(padded[0], padded[1])


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("cuts", [[1] * 7, [3, 4], [5, 1, 1], [7]])
@pytest.mark.parametrize("padded", [False, True])
def test_columns_through_a_cache_equal_all_at_once(implementation: str, cuts: list[int], padded: bool) -> None:
    layer = made(implementation=implementation, kv_heads=2)
    x, cache = noise(2, 7, 16), LayerCache()
    padding = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7]) if padded else None
    with torch.no_grad():
        whole, _ = layer(x, mask=causal_mask(7, 7, padding, device=CPU))
        parts, past = [], 0
        for cut in cuts:
            mask = causal_mask(cut, past + cut, padding, device=CPU)
            parts.append(layer(x[:, past : past + cut], mask=mask, cache=cache)[0])
            past += cut
    seen = slice(2, None) if padded and implementation == "eager" else slice(None)
    torch.testing.assert_close(torch.cat(parts, 1)[:, seen], whole[:, seen], atol=1e-5, rtol=1e-5)


def test_a_memory_is_projected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, cache = made(), LayerCache()
    x, memory = noise(2, 1, 16), noise(2, 6, 16, seed=4)
    with torch.no_grad():
        first, _ = layer(x, memory=memory, cache=cache)
        again, _ = layer(x, memory=torch.full_like(memory, math.nan), cache=cache)
    assert cache.length == 6
    assert torch.equal(first, again)


def test_asking_for_weights_gives_them_and_the_same_output() -> None:
    layer = made()
    x = noise(2, 5, 16)
    mask = causal_mask(5, 5, None, device=CPU)
    with torch.no_grad():
        plain, none = layer(x, mask=mask)
        out, weights = layer(x, mask=mask, need_weights=True)
    assert none is None
    assert weights.shape == (2, 4, 5, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 5))
    assert not weights.triu(1).any()
    torch.testing.assert_close(out, plain, atol=1e-5, rtol=1e-5)


def test_a_head_mask_silences_heads_in_eager_attention_only() -> None:
    layer = made(implementation="eager")
    x = noise(1, 3, 16)
    with torch.no_grad():
        silent, _ = layer(x, head_mask=torch.zeros(4))
        full, _ = layer(x)
        summed = sum(layer(x, head_mask=torch.eye(4)[h])[0] for h in range(4))
        layer.implementation = "sdpa"
        ignored, _ = layer(x, head_mask=torch.zeros(4))
    assert not silent.any()
    torch.testing.assert_close(summed, full, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ignored, full, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_dropout_acts_in_training_only(implementation: str) -> None:
    layer = made(dropout=0.5, implementation=implementation)
    x = noise(1, 8, 16)
    with torch.no_grad():
        assert torch.equal(layer(x)[0], layer(x)[0])
        layer.train()
        torch.manual_seed(0)
        assert not torch.equal(layer(x)[0], layer(x)[0])


def test_gradients_are_equal_in_both_implementations() -> None:
    found = []
    for implementation in ("eager", "sdpa"):
        layer = made(implementation=implementation)
        layer(noise(2, 5, 16), mask=causal_mask(5, 5, None, device=CPU))[0].pow(2).sum().backward()
        found.append([p.grad for p in layer.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 attention heads do not divide the hidden size 16"):
        Attention(16, 3)
    with pytest.raises(ConfigError, match="3 key heads do not divide 4"):
        Attention(16, 4, kv_heads=3)


def test_flash_attention_on_a_cpu_is_refused_by_name() -> None:
    with pytest.raises(ParamError, match="flash attention on cpu"):
        made(implementation="flash_attention_2")(noise(1, 2, 16))


def test_biases_are_where_they_are_named() -> None:
    for named in (True, False, ("query", "value", "out"), ("query", "key", "value"), ()):
        made = Attention(8, 2, kv_heads=1, bias=named)
        has = {name for name, layer in made.named_children() if layer.bias is not None}
        assert has == set(PROJECTIONS if named is True else named or ())


def test_the_projections_over_one_input_are_one_group() -> None:
    layer = made()
    assert layer.stacks() == [[layer.query, layer.key, layer.value]]
    assert all(isinstance(one, nn.Linear) for one in layer.stacks()[0])


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("cuts", [[1] * 7, [3, 4], [5, 1, 1]])
@pytest.mark.parametrize("width", [16, 64])
def test_columns_through_an_eight_bit_cache_are_near_the_exact_ones(
    implementation: str, cuts: list[int], width: int
) -> None:
    layer = made(width, implementation=implementation, kv_heads=2)
    x, cache, memory_cache = noise(2, 7, width), LayerCache(dtype="int8"), LayerCache(dtype="int8")
    with torch.no_grad():
        whole, _ = layer(x, mask=causal_mask(7, 7, None, device=CPU))
        beside, _ = layer(x, memory=x)
        parts, past = [], 0
        for cut in cuts:
            mask = causal_mask(cut, past + cut, None, device=CPU)
            parts.append(layer(x[:, past : past + cut], mask=mask, cache=cache)[0])
            past += cut
        again = torch.cat([layer(x[:, i : i + 1], memory=x, cache=memory_cache)[0] for i in range(7)], 1)
    for got, wanted in ((torch.cat(parts, 1), whole), (again, beside)):
        assert 0 < (got - wanted).norm() < 0.01 * wanted.norm()


def test_a_memory_without_places_needs_no_cache() -> None:
    layer, cache = made(), LayerCache()
    with torch.no_grad():
        out, _ = layer(noise(2, 1, 16), memory=noise(2, 0, 16), cache=cache)
    assert not out.any()
