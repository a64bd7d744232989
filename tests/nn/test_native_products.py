"""The compiled products against plain torch: every format, every number of rows, every code path of the source."""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from antiphon.nn.linear import linear
from antiphon.nn.native import library, products
from antiphon.nn.native.products import (
    Codes,
    bfloat16_product,
    coded_product,
    float32_product,
    written_out_product,
)
from antiphon.nn.quantized_linear import packed
from antiphon.nn.rounding import rounded


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stored(outputs: int, inputs: int, bits: int, group: int = 64) -> Codes:
    codes, scales = rounded(noise(outputs, inputs, seed=outputs), bits, group)
    return Codes(packed(codes, bits), scales, bits, group, inputs)


@pytest.fixture(params=["this machine", "plain"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    """The kernels as built for this machine, and as built for one without AVX-512."""
    flags = [] if request.param == "this machine" else ["-DANTIPHON_PLAIN"]
    loaded = library.load(library.build(*flags))
    monkeypatch.setattr(products, "native", lambda: loaded)
    return loaded


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 33])
def test_a_product_with_codes_is_the_product_with_the_weight_they_stand_for(
    kernels: ctypes.CDLL, bits: int, rows: int
) -> None:
    weight = stored(37, 160, bits)  # a last group of 32, and outputs that fill no tile
    x, bias = noise(rows, 160, seed=1), noise(37, seed=2)
    wanted = (x.double() @ weight.weight(torch.float64).T + bias).float()
    torch.testing.assert_close(coded_product(x, weight, bias), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(written_out_product(x, weight, bias), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6])
def test_a_bfloat16_product_is_rounded_once_at_its_end(kernels: ctypes.CDLL, rows: int) -> None:
    x, weight, bias = (noise(*shape, seed=3).bfloat16() for shape in ((rows, 96), (37, 96), (37,)))
    got = bfloat16_product(x, weight, bias)
    assert got is not None and got.dtype is torch.bfloat16
    exact = x.double() @ weight.double().T + bias.double()
    assert ((got.double() - exact).abs() <= exact.abs() * 2.0**-8 + 1e-6).all()
    assert (got == exact.float().bfloat16()).float().mean() > 0.99


@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_float32_product_with_a_large_weight_is_the_product(kernels: ctypes.CDLL, rows: int) -> None:
    weight, bias = noise(133, 512, seed=1), noise(133, seed=2)
    x = noise(1, rows + 3, 256).unfold(1, 2, 1).transpose(2, 3).flatten(2)[:, :rows]  # rows that overlap, as a view
    assert x.stride(1) == 256
    exact = (x.double() @ weight.double().T + bias).float()
    torch.testing.assert_close(float32_product(x, weight, bias), exact, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(linear(x, weight), exact - bias, rtol=1e-5, atol=1e-4)


def test_many_rows_and_small_weights_in_float32_go_by_torch(kernels: ctypes.CDLL) -> None:
    weight = noise(128, 512)
    assert float32_product(noise(1, 512), weight, None) is not None
    assert float32_product(noise(5, 512), weight, None) is None
    assert float32_product(noise(1, 512), weight[:127], None) is None
    assert float32_product(noise(1, 512).double(), weight.double(), None) is None


def test_a_row_does_not_depend_on_its_neighbours_nor_on_threads(kernels: ctypes.CDLL) -> None:
    weight, x = stored(130, 1024, 4), noise(16, 1024)
    together = coded_product(x, weight)
    for row in range(16):
        assert torch.equal(coded_product(x[row : row + 1], weight)[0], together[row])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(coded_product(x, weight), together)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_what_is_not_finite_stays_so(kernels: ctypes.CDLL, value: float) -> None:
    x, weight = torch.full((1, 32), value).bfloat16(), torch.eye(32)[:5].bfloat16()
    wanted = x.float() @ weight.float().T
    torch.testing.assert_close(bfloat16_product(x, weight, None), wanted.bfloat16(), equal_nan=True)


def test_views_are_read_where_they_lie(kernels: ctypes.CDLL) -> None:
    x, weight = noise(3, 2, 128)[:, 1, 32:96], stored(9, 64, 4)
    torch.testing.assert_close(coded_product(x, weight), written_out_product(x, weight), rtol=1e-5, atol=1e-5)
    columns = noise(64, 3).T
    torch.testing.assert_close(
        coded_product(columns, weight), written_out_product(columns, weight), rtol=1e-5, atol=1e-5
    )
    wide = noise(20, 128).bfloat16()[::2, 32:96]
    x = noise(2, 64).bfloat16()
    torch.testing.assert_close(bfloat16_product(x, wide, None), x @ wide.T, rtol=2e-2, atol=2e-2)


def test_two_threads_of_python_at_once_do_not_mix(kernels: ctypes.CDLL) -> None:
    weight = stored(64, 256, 8)
    inputs = [noise(4, 256, seed=seed) for seed in range(40)]
    wanted = [coded_product(x, weight) for x in inputs]
    with ThreadPoolExecutor(2) as pool:
        for got, one in zip(pool.map(lambda x: coded_product(x, weight), inputs), wanted, strict=True):
            assert torch.equal(got, one)


def test_gradients_and_autocast_and_other_dtypes_go_by_torch(kernels: ctypes.CDLL) -> None:
    x, weight = noise(2, 64).bfloat16(), noise(5, 64).bfloat16()
    assert bfloat16_product(x.requires_grad_(), weight, None) is None
    x = x.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert bfloat16_product(x, weight, None) is None
    assert bfloat16_product(x.half(), weight.half(), None) is None
    assert bfloat16_product(x[:, :33], weight[:, :33], None) is None
    assert bfloat16_product(noise(17, 64).bfloat16(), weight, None) is None
    with pytest.raises(RuntimeError):
        linear(x[:, :32], weight)
    half = coded_product(x.half(), stored(5, 64, 4))
    assert half.dtype is torch.float16
