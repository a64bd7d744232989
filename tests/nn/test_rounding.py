"""Rounding of weights, against rounding by the largest magnitude and against what no choice of codes can beat."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.nn.rounding import restored, rounded

KINDS = {
    "gaussian": lambda: torch.randn(64, 256),
    "heavy tails": lambda: torch.distributions.StudentT(3.0).sample((64, 256)),
    "few large ones": lambda: torch.randn(64, 256) * (1 + 30 * (torch.rand(64, 256) < 0.01)),
    "one sign": lambda: torch.rand(64, 256),
}


def by_largest_magnitude(weight: Tensor, bits: int, group: int) -> Tensor:
    """The plainest rounding: the largest magnitude of a group becomes the highest level."""
    high = 2 ** (bits - 1) - 1
    groups = weight.view(len(weight), -1, group)
    scale = (groups.abs().amax(-1, keepdim=True) / high).bfloat16().float()
    return (scale * (groups / scale).round().clamp(-high, high)).view_as(weight)


def group_errors(weight: Tensor, other: Tensor, group: int) -> Tensor:
    return (weight - other).view(len(weight), -1, group).square().sum(-1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [4, 8])
def test_no_group_is_worse_than_rounded_by_its_largest_magnitude(kind: str, bits: int) -> None:
    torch.manual_seed(0)
    weight = KINDS[kind]()
    ours = group_errors(weight, restored(*rounded(weight, bits, 64), bits, 64), 64)
    plain = group_errors(weight, by_largest_magnitude(weight, bits, 64), 64)
    assert (ours <= plain * (1 + 1e-5)).all()
    if bits == 4:
        gained = 0.75 if kind == "gaussian" else 0.92
        assert ours.sum() < gained * plain.sum()


def test_the_error_of_four_bits_is_that_of_the_best_scale_of_many() -> None:
    torch.manual_seed(1)
    weight = torch.randn(256, 32)
    ours = group_errors(weight, restored(*rounded(weight, 4, 32), 4, 32), 32)[:, 0]
    largest = weight.abs().amax(1, keepdim=True)
    best = torch.full((256,), torch.inf)
    for level, sign in itertools.product(torch.arange(4.0, 14.0, 0.02).tolist(), (-1, 1)):
        scale = sign * largest / level
        best = torch.minimum(best, (weight - scale * (weight / scale).round().clamp(-8, 7)).square().sum(1))
    assert float(ours.sum() / best.sum()) < 1.02


def test_what_the_codes_can_say_comes_back_exactly() -> None:
    torch.manual_seed(2)
    levels = torch.randint(-8, 8, (16, 128)).float()
    levels[:, ::64], levels[:, 1::64] = -8, 7
    scales = torch.tensor([0.5, -0.25, 3.0, -(2.0**-10)]).repeat(4)[:, None]
    codes, kept = rounded(levels * scales, 4, 64)
    assert torch.equal(restored(codes, kept, 4, 64), levels * scales)
    assert torch.equal(kept.float(), scales.expand(16, 2))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize(
    ("outputs", "inputs", "group"), [(3, 17, 64), (5, 65, 64), (2, 96, 64), (7, 33, 16), (1, 1, 1)]
)
def test_a_shorter_last_group_is_rounded_by_itself(bits: int, outputs: int, inputs: int, group: int) -> None:
    torch.manual_seed(3)
    weight = torch.randn(outputs, inputs)
    codes, scales = rounded(weight, bits, group)
    assert codes.shape == weight.shape and codes.dtype is torch.uint8 and int(codes.max()) < 2**bits
    assert scales.shape == (outputs, -(-inputs // group)) and scales.dtype is torch.bfloat16
    last = (scales.shape[1] - 1) * group
    alone, alone_scales = rounded(weight[:, last:], bits, group)
    assert torch.equal(codes[:, last:], alone) and torch.equal(scales[:, -1:], alone_scales)


@pytest.mark.parametrize("threads", [1, 2])
def test_many_rows_are_rounded_as_each_row_alone_by_any_number_of_threads(threads: int) -> None:
    torch.manual_seed(4)
    weight = torch.randn(2500, 128)  # three blocks of the work
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        codes, scales = rounded(weight, 4, 64)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for row in (0, 1023, 1024, 2499):
        one, scale = rounded(weight[row : row + 1], 4, 64)
        assert torch.equal(codes[row : row + 1], one) and torch.equal(scales[row : row + 1], scale)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_float_types_are_rounded_as_their_float32_values(dtype: torch.dtype) -> None:
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(5)).to(dtype)
    for got, wanted in zip(rounded(weight, 4), rounded(weight.float(), 4), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("factor", [1e-25, 1e25, 1e37])
def test_the_size_of_the_weights_does_not_matter(factor: float) -> None:
    weight = torch.randn(8, 64, generator=torch.Generator().manual_seed(6))
    error = (restored(*rounded(weight * factor, 4), 4) / factor - weight).norm() / weight.norm()
    assert float(error) < 0.12


def test_zeros_stay_zeros_and_what_is_not_finite_is_seen() -> None:
    weight = torch.ones(4, 64)
    weight[0] = 0
    weight[1, 3] = torch.nan
    weight[2, 3] = torch.inf
    back = restored(*rounded(weight, 4), 4)
    assert (back[0] == 0).all()
    assert back[1].isnan().all() and back[2].isnan().all()
    torch.testing.assert_close(back[3], weight[3], rtol=0.003, atol=0)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"bits": 5}, "bits=5"),
        ({"bits": True}, "bits=True"),
        ({"bits": 4, "group_size": 0}, "group_size=0"),
        ({"bits": 4, "group_size": float("nan")}, "group_size=nan"),
        ({"bits": 4, "weight": torch.ones(3)}, r"shape \(3,\)"),
        ({"bits": 8, "weight": torch.ones(3, 3, dtype=torch.int8)}, "int8"),
    ],
)
def test_F029_what_cannot_be_rounded_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ParamError, match=named):
        rounded(**{"weight": torch.ones(2, 64), **given})
