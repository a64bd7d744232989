"""The ring: what it computes is attention over a window, whatever the cuts, and rows keep to themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from antiphon.errors import ParamError, SessionError
from antiphon.nn.attention import Attention
from antiphon.nn.kv_cache import LayerCache
from antiphon.nn.masks import causal_mask
from antiphon.nn.ring_cache import RingCache
from antiphon.nn.rotary import Rotary

WINDOW, WIDTH, HEADS = 5, 16, 2
CPU = torch.device("cpu")


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def layer() -> Attention:
    made = Attention(WIDTH, HEADS, kv_heads=1).eval()
    with torch.no_grad():
        for number, parameter in enumerate(made.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=number) / 4)
    return made


ROTARY = Rotary(WIDTH // HEADS)


@torch.no_grad()
def whole(layer: Attention, x: Tensor) -> Tensor:
    columns = x.shape[1]
    mask = causal_mask(columns, columns, None, device=CPU, window=WINDOW)
    out: Tensor = layer(x, mask=mask, rotation=ROTARY.tables(torch.arange(columns)[None], like=x))[0]
    return out


@torch.no_grad()
def pushed(layer: Attention, ring: RingCache, x: Tensor, live: Tensor | None = None) -> Tensor:
    step = ring.begin(x.shape[1], live)
    rotation = ROTARY.tables(step.positions, like=x)
    out: Tensor = layer(x, mask=step.mask, cache=ring.layer(0), rotation=rotation)[0]
    return out


@pytest.mark.parametrize("still_shapes", [False, True])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@given(cuts=st.lists(st.integers(1, 12), min_size=1, max_size=12), at_once=st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_any_cut_gives_attention_over_the_window(
    implementation: str, still_shapes: bool, cuts: list[int], at_once: int
) -> None:
    layer = Attention(WIDTH, HEADS, kv_heads=1).eval()
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=number) / 4)
    layer.implementation = implementation
    x = noise(2, sum(cuts), WIDTH, seed=7)
    ring = RingCache(WINDOW, 2, at_once=at_once, still_shapes=still_shapes)
    pieces = [pushed(layer, ring, piece) for piece in x.split(cuts, dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole(layer, x), atol=1e-5, rtol=1e-5)


@given(
    calls=st.lists(
        st.tuples(st.integers(1, 7), st.tuples(st.booleans(), st.booleans(), st.booleans()), st.integers(-9, 2)),
        min_size=1,
        max_size=14,
    ),
    still_shapes=st.booleans(),
    at_once=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_rows_stand_still_and_are_reset_alone(
    calls: list[tuple[int, tuple[bool, bool, bool], int]], still_shapes: bool, at_once: int
) -> None:
    layer = Attention(WIDTH, HEADS).eval()
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=number) / 4)
    ring = RingCache(WINDOW, 3, at_once=at_once, still_shapes=still_shapes)
    heard: list[list[Tensor]] = [[], [], []]
    for number, (columns, live, forgotten) in enumerate(calls):
        if forgotten >= 0:
            ring.reset(torch.tensor([forgotten]))
            heard[forgotten] = []
        x = noise(3, columns, WIDTH, seed=number)
        out = pushed(layer, ring, x, torch.tensor(live))
        for row in range(3):
            if live[row]:
                heard[row].append(x[row])
                expected = whole(layer, torch.cat(heard[row])[None])[0, -columns:]
                torch.testing.assert_close(out[row], expected, atol=1e-5, rtol=1e-5)
    assert ring.positions.tolist() == [sum(len(piece) for piece in row) for row in heard]


def test_rows_that_stay_together_are_what_rows_apart_are(layer: Attention) -> None:
    together, apart = RingCache(WINDOW, 2), RingCache(WINDOW, 2)
    for number in range(3 * WINDOW):
        x = noise(2, 1, WIDTH, seed=number)
        all_live = torch.ones(2, dtype=torch.bool)
        torch.testing.assert_close(pushed(layer, together, x), pushed(layer, apart, x, all_live), atol=1e-6, rtol=1e-6)


def test_a_step_writes_a_slot_and_never_allocates_again(layer: Attention) -> None:
    ring = RingCache(WINDOW, 1)
    pushed(layer, ring, noise(1, 1, WIDTH))
    place = ring.layer(0).slots.keys.data_ptr()
    for number in range(4 * WINDOW):
        pushed(layer, ring, noise(1, 1, WIDTH, seed=number))
        assert ring.layer(0).slots.keys.data_ptr() == place
    assert ring.layer(0).slots.keys.shape[2] == ring.layer(0).length == WINDOW


def test_columns_that_come_at_once_are_written_before_they_are_looked_at(layer: Attention) -> None:
    ring, joined = RingCache(WINDOW, 1, at_once=2), RingCache(WINDOW, 1)
    for number in range(2 * WINDOW):
        x = noise(1, 2, WIDTH, seed=number)
        torch.testing.assert_close(pushed(layer, ring, x), pushed(layer, joined, x), atol=1e-6, rtol=1e-6)
    assert ring.layer(0).slots.keys.shape[2] == ring.step.mask.safe.shape[-1] == WINDOW + 1
    assert joined.step.mask.safe.shape[-1] == WINDOW + 2


def test_only_filled_slots_are_looked_at(layer: Attention) -> None:
    ring = RingCache(WINDOW, 2)
    for columns in range(1, WINDOW):
        pushed(layer, ring, noise(2, 1, WIDTH))
        assert ring.layer(0).length == columns
    still = RingCache(WINDOW, 2, still_shapes=True)
    pushed(layer, still, noise(2, 1, WIDTH))
    assert still.layer(0).length == WINDOW


def test_a_reset_row_is_a_new_one_even_after_numbers_that_are_not_finite(layer: Attention) -> None:
    ring, fresh = RingCache(WINDOW, 2), RingCache(WINDOW, 2)
    for number in range(7):
        x = noise(2, 1, WIDTH, seed=number)
        x[0] = torch.nan
        pushed(layer, ring, x)
    ring.reset(torch.tensor([True, False]))
    for number in range(7, 14):
        x = noise(2, 1, WIDTH, seed=number)
        expected = pushed(layer, fresh, x)[0]
        torch.testing.assert_close(pushed(layer, ring, x)[0], expected, atol=1e-6, rtol=1e-6)


def test_a_whole_reset_brings_the_rows_together_again(layer: Attention) -> None:
    ring = RingCache(WINDOW, 2)
    first = [pushed(layer, ring, noise(2, 1, WIDTH, seed=n)) for n in range(3)]
    pushed(layer, ring, noise(2, 1, WIDTH), torch.tensor([True, False]))
    ring.reset()
    assert ring.positions.tolist() == [0, 0]
    again = [pushed(layer, ring, noise(2, 1, WIDTH, seed=n)) for n in range(3)]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert isinstance(ring.step.slots, int)


def test_its_numbers_may_be_kept_in_another_dtype(layer: Attention) -> None:
    ring = RingCache(WINDOW, 1, dtype="bfloat16")
    x = noise(1, 8, WIDTH)
    pieces = torch.cat([pushed(layer, ring, piece) for piece in x.split([3, 1, 4], dim=1)], dim=1)
    assert ring.layer(0).slots.keys.dtype is torch.bfloat16
    torch.testing.assert_close(pieces, whole(layer, x), atol=0.05, rtol=0.05)


def test_what_a_ring_cannot_do_is_refused(layer: Attention) -> None:
    ring = RingCache(WINDOW, 2)
    with pytest.raises(SessionError, match="announced"):
        ring.layer(0).append(noise(2, HEADS, 1, 8), noise(2, HEADS, 1, 8))
    with pytest.raises(ParamError, match="live"):
        ring.begin(1, torch.ones(3, dtype=torch.bool))
    with pytest.raises(ParamError, match="live"):
        ring.begin(1, torch.ones(2))
    step = ring.begin(1)
    with pytest.raises(ParamError, match="3 rows of 1 columns"):
        ring.layer(0).write(noise(3, 1, 1, 8), noise(3, 1, 1, 8))
    with pytest.raises(SessionError, match="gradients"):
        layer(noise(2, 1, WIDTH), mask=step.mask, cache=ring.layer(0))
    with pytest.raises(SessionError, match="places"):
        ring.reorder_cache(torch.tensor([1, 0]))
    with pytest.raises(SessionError, match="whole rows"):
        ring.crop(1)
    with pytest.raises(ParamError, match="at least 1"):
        RingCache(0, 1)
    with pytest.raises(ParamError, match="0 at once"):
        RingCache(4, 1, at_once=0)
    with pytest.raises(ParamError, match="int8"):
        RingCache(4, 1, dtype="int8")
    ring.layers[0] = LayerCache()
    with pytest.raises(SessionError, match="replaced"):
        ring.layer(0)
