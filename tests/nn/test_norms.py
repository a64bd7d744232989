"""Normalisation by the root mean square."""

from __future__ import annotations

import pytest
import torch

from antiphon.nn.norms import RMSNorm


def test_it_follows_the_definition() -> None:
    norm = RMSNorm(6, eps=1e-3)
    x = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        norm.weight.copy_(torch.arange(6.0))
        expected = x / (x.pow(2).mean(-1, keepdim=True) + 1e-3).sqrt() * torch.arange(6.0)
        torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_squares_in_float32_and_comes_back_in_half(dtype: torch.dtype) -> None:
    norm = RMSNorm(4).to(dtype)
    x = torch.full((1, 4), 3000.0, dtype=dtype)  # its square is beyond float16
    with torch.no_grad():
        out = norm(x)
    assert out.dtype is dtype
    torch.testing.assert_close(out, torch.ones(1, 4, dtype=dtype))


def test_the_result_is_rounded_before_it_is_scaled() -> None:
    norm = RMSNorm(3).to(torch.bfloat16)
    x = torch.tensor([[1.0, 2.0, 4.0]], dtype=torch.bfloat16)
    with torch.no_grad():
        norm.weight.fill_(1.1)
        rounded = (x.float() * torch.rsqrt(x.float().pow(2).mean() + 1e-6)).to(torch.bfloat16)
        assert torch.equal(norm(x), norm.weight * rounded)


def test_silence_stays_silence() -> None:
    assert not RMSNorm(5)(torch.zeros(2, 5)).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scaled_in_float32_the_product_is_rounded_once(dtype: torch.dtype) -> None:
    norm = RMSNorm(4, eps=1e-8, scaled_in_float32=True).to(dtype)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(2)).to(dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.1, -0.3, 2.7, 0.9]))
        wide = x.float() / (x.float().pow(2).mean(-1, keepdim=True) + 1e-8).sqrt() * norm.weight.float()
        out = norm(x)
    assert out.dtype is dtype
    torch.testing.assert_close(out, wide.to(dtype))
