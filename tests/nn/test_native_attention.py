"""Attention of one column and eight-bit columns: the kernels against torch, in every kind of store and mask."""

from __future__ import annotations

import ctypes

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.nn.native import attention, library
from antiphon.nn.native.attention import Stored, attended, store_columns


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["this machine", "plain"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    flags = [] if request.param == "this machine" else ["-DANTIPHON_PLAIN"]
    loaded = library.load(library.build(*flags))
    monkeypatch.setattr(attention, "native", lambda: loaded)
    return loaded


def stored(rows: int, heads: int, slots: int, width: int, dtype: torch.dtype) -> Stored:
    """Columns as a cache holds them: views of the filled part of longer tensors."""
    keys, values = noise(rows, heads, slots + 3, width, seed=1), noise(rows, heads, slots + 3, width, seed=2)
    if dtype is not torch.int8:
        return Stored(keys.to(dtype)[:, :, :slots], values.to(dtype)[:, :, :slots])
    codes = [torch.empty(rows, heads, slots + 3, width, dtype=torch.int8) for _ in range(2)]
    scales = [torch.empty(rows, heads, slots + 3) for _ in range(2)]
    store_columns(keys, codes[0], scales[0])
    store_columns(values, codes[1], scales[1])
    return Stored(*(part[:, :, :slots] for part in (*codes, *scales)))


def by_hand(query: Tensor, held: Stored, mask: Tensor | None, scale: float) -> Tensor:
    """The definition, in float64."""
    keys, values = held.floats(torch.float64)
    groups = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(groups, 1), values.repeat_interleave(groups, 1)
    scores = query.double() @ keys.transpose(2, 3) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype is torch.bool else scores + mask
    return torch.softmax(scores, -1) @ values


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize(("slots", "width"), [(1, 64), (16, 64), (37, 64), (300, 128), (5, 16), (20, 80), (3, 256)])
def test_one_column_attends_as_defined(kernels: ctypes.CDLL, dtype: torch.dtype, slots: int, width: int) -> None:
    query, held = noise(2, 4, 1, width), stored(2, 4, slots, width, dtype)
    got = attended(query, held, None, 0.3)
    assert got.shape == (2, 4, 1, width) and got.dtype is torch.float32
    torch.testing.assert_close(got, by_hand(query, held, None, 0.3).float(), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int8])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_query_heads_share_key_heads(kernels: ctypes.CDLL, dtype: torch.dtype, kv_heads: int) -> None:
    query, held = noise(3, 4, 1, 64), stored(3, kv_heads, 21, 64, dtype)
    got = attended(query, held, None, 0.125)
    torch.testing.assert_close(got, by_hand(query, held, None, 0.125).float(), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("kind", ["bool", "float", "of each head"])
def test_masks_hide_or_add(kernels: ctypes.CDLL, kind: str) -> None:
    query, held = noise(2, 4, 1, 64), stored(2, 4, 19, 64, torch.float32)
    shape = (2, 4, 1, 19) if kind == "of each head" else (2, 1, 1, 19)
    mask = noise(*shape, seed=7) if kind == "float" else noise(*shape, seed=7) > 0
    got = attended(query, held, mask, 0.125)
    torch.testing.assert_close(got, by_hand(query, held, mask, 0.125).float(), rtol=1e-5, atol=2e-6)


def test_large_scores_neither_overflow_nor_vanish(kernels: ctypes.CDLL) -> None:
    query, held = noise(1, 1, 1, 64) * 300, stored(1, 1, 40, 64, torch.float32)
    got = attended(query, held, None, 1.0)
    torch.testing.assert_close(got, by_hand(query, held, None, 1.0).float(), rtol=1e-3, atol=1e-4)


def test_what_sees_nothing_is_zero_and_what_is_nan_stays_nan(kernels: ctypes.CDLL) -> None:
    query, held = noise(2, 1, 1, 64), stored(2, 1, 5, 64, torch.float32)
    assert not attended(query, held, torch.zeros(2, 1, 1, 5, dtype=torch.bool), 0.1).any()
    query[1] = torch.nan
    got = attended(query, held, None, 0.1)
    assert got[0].isfinite().all() and got[1].isnan().all()


def test_bfloat16_queries_get_bfloat16_heads(kernels: ctypes.CDLL) -> None:
    query, held = noise(2, 4, 1, 64).bfloat16(), stored(2, 4, 50, 64, torch.bfloat16)
    got, exact = attended(query, held, None, 0.125), by_hand(query, held, None, 0.125)
    assert got.dtype is torch.bfloat16
    assert (got.double() - exact).abs().max() < exact.abs().max() * 2.0**-7


def test_threads_change_nothing(kernels: ctypes.CDLL) -> None:
    query, held = noise(2, 4, 1, 64), stored(2, 4, 600, 64, torch.float32)
    threads = torch.get_num_threads()
    one = attended(query, held, None, 0.125)
    try:
        torch.set_num_threads(2)
        assert torch.equal(attended(query, held, None, 0.125), one)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eight_bit_columns_are_the_same_by_the_kernel_and_by_torch(kernels: ctypes.CDLL, dtype: torch.dtype) -> None:
    columns = noise(2, 5, 3, 64).to(dtype).transpose(1, 2)
    columns[0, 0, 1], columns[1, 1, 0, 5], columns[1, 2, 3, 0] = 0.0, torch.nan, torch.inf
    columns[0, 1] *= 1e-30
    made = []
    for way in (store_columns, attention._store_columns_by_torch):
        codes = torch.zeros(2, 3, 9, 64, dtype=torch.int8)
        scales = torch.zeros(2, 3, 9)
        way(columns, codes[:, :, 2:7], scales[:, :, 2:7])
        made.append((codes, scales))
    assert torch.equal(made[0][0], made[1][0])
    torch.testing.assert_close(made[0][1], made[1][1], rtol=0, atol=0, equal_nan=True)
    back = attention.restored_columns(made[0][0][:, :, 2:7], made[0][1][:, :, 2:7], torch.float32)
    assert back[1, 1, 0].isnan().all() and back[1, 2, 3].isnan().all() and not back[0, 0, 1].any()
    step = columns[0, 2].float().abs().amax(-1, keepdim=True) / 127
    assert ((back[0, 2] - columns[0, 2].float()).abs() <= 0.5001 * step).all()


def test_what_the_kernel_does_not_take_goes_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "native", lambda: pytest.fail("the kernel was asked"))
    query, held = noise(2, 4, 1, 20), stored(2, 4, 6, 20, torch.float32)
    wanted = F.scaled_dot_product_attention(query, held.keys, held.values, scale=0.2)
    torch.testing.assert_close(attended(query, held, None, 0.2), wanted)
    half = noise(2, 4, 1, 64).half()
    assert attended(half, stored(2, 4, 6, 64, torch.float16), None, 0.2).dtype is torch.float16
    query = noise(2, 4, 1, 64).requires_grad_()
    assert attended(query, stored(2, 4, 6, 64, torch.float32), None, 0.2).requires_grad
