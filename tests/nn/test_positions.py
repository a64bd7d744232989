"""Position tables and T5's bucketed distances, against their published formulas."""

from __future__ import annotations

import math

import pytest
import torch

from antiphon.nn.positions import RelativePositionBias, SinusoidalPositions, sinusoids

LIKE = torch.zeros(1)


@pytest.mark.parametrize("width", [2, 3, 8, 9, 64])
def test_the_table_follows_the_formula(width: int) -> None:
    table, half = sinusoids(20, width), width // 2
    assert table.shape == (20, width)
    for position in (0, 1, 7, 19):
        for i in range(half):
            angle = position * 10000 ** (-i / max(half - 1, 1))
            assert math.isclose(table[position, i], math.cos(angle), abs_tol=2e-5)
            assert math.isclose(table[position, half + i], math.sin(angle), abs_tol=2e-5)
    if width % 2:
        assert not table[:, -1].any()


def test_the_table_grows_and_says_the_same_before_and_after() -> None:
    positions = SinusoidalPositions(8, positions=4)
    first = positions.between(0, 4, like=LIKE)
    far = positions.between(3, 50, like=LIKE)
    assert torch.equal(far, sinusoids(50, 8)[3:])
    assert torch.equal(positions.between(0, 4, like=LIKE), first)


def test_rows_can_be_picked_by_position() -> None:
    positions = SinusoidalPositions(8, positions=4)
    picked = positions.at(torch.tensor([[0, 6], [2, 2]]), 6, like=LIKE)
    assert torch.equal(picked, sinusoids(7, 8)[torch.tensor([[0, 6], [2, 2]])])


def test_a_change_of_dtype_starts_from_exact_numbers() -> None:
    positions = SinusoidalPositions(8)
    exact = positions.between(0, 9, like=LIKE)
    half = positions.between(0, 9, like=LIKE.to(torch.bfloat16))
    assert torch.equal(half, exact.to(torch.bfloat16))
    assert torch.equal(positions.between(0, 9, like=LIKE), exact)  # back again without the rounding


def published_bucket(distance: int, buckets: int, max_distance: int) -> int:
    """The rule in the text of the T5 paper and its first implementation, for both directions, in plain Python."""
    side = buckets // 2
    bucket = side if distance > 0 else 0
    distance = abs(distance)
    exact = side // 2
    if distance < exact:
        return bucket + distance
    far = exact + int(math.log(distance / exact) / math.log(max_distance / exact) * (side - exact))
    return bucket + min(far, side - 1)


@pytest.mark.parametrize(("buckets", "max_distance"), [(32, 128), (16, 64), (8, 20)])
def test_buckets_follow_the_published_rule(buckets: int, max_distance: int) -> None:
    bias = RelativePositionBias(1, buckets=buckets, max_distance=max_distance)
    with torch.no_grad():
        bias.weight.copy_(torch.arange(buckets)[:, None])
        found = bias(300, 300)[0, 0].int().tolist()
    for query in (0, 13, 150, 299):
        expected = [published_bucket(key - query, buckets, max_distance) for key in range(300)]
        # a float32 logarithm may fall on the other side of an exact border
        off = [k for k in range(300) if found[query][k] != expected[k]]
        borders = {k for k in off if abs(found[query][k] - expected[k]) > 1}
        assert not borders
        assert len(off) <= 2


def test_the_bias_has_a_value_for_every_head_and_pair() -> None:
    bias = RelativePositionBias(3)
    with torch.no_grad():
        bias.weight.copy_(torch.randn(32, 3, generator=torch.Generator().manual_seed(0)))
        full = bias(5, 7)
    assert full.shape == (1, 3, 5, 7)
    assert torch.equal(full[0, :, 0, 0], bias.weight[0])  # the same place: bucket 0
    assert torch.equal(full[0, :, 1, 2], full[0, :, 3, 4])  # only the distance counts
    assert not torch.equal(full[0, :, 1, 2], full[0, :, 2, 1])  # and its direction


def test_the_bias_learns() -> None:
    bias = RelativePositionBias(2)
    torch.nn.init.zeros_(bias.weight)
    bias(4, 4).sum().backward()
    assert bias.weight.grad is not None
    assert bias.weight.grad[0].tolist() == [4.0, 4.0]
