"""Masks: who sees whom, in every form the kernels want."""

from __future__ import annotations

import pytest
import torch

from antiphon.errors import ParamError
from antiphon.nn.masks import Mask, causal_allowed, causal_mask, memory_mask

CPU = torch.device("cpu")
LIKE = torch.zeros(1)


def test_the_last_queries_see_all_columns_up_to_their_own() -> None:
    allowed = causal_allowed(2, 4, CPU)[0, 0].int().tolist()
    assert allowed == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_without_padding_a_decoder_needs_the_least_mask() -> None:
    assert causal_mask(3, 3, None, device=CPU) == Mask(causal=True)
    assert causal_mask(1, 9, None, device=CPU) == Mask()
    assert torch.equal(causal_mask(2, 4, None, device=CPU).allowed, causal_allowed(2, 4, CPU))


def test_a_window_hides_what_lies_further_back() -> None:
    mask = causal_mask(4, 4, None, device=CPU, window=2)
    assert mask.allowed[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert causal_mask(1, 4, None, device=CPU, window=3).allowed[0, 0].int().tolist() == [[0, 1, 1, 1]]
    later = causal_mask(2, 5, torch.tensor([[1, 1, 1, 0, 1]]), device=CPU, window=3)
    assert later.allowed[0, 0].int().tolist() == [[0, 1, 1, 0, 0], [0, 0, 1, 0, 1]]
    alone = causal_mask(1, 3, torch.tensor([[1, 0, 1]]), device=CPU, window=2)
    assert alone.allowed[0, 0].int().tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("keys", [1, 3])
def test_a_window_that_holds_all_columns_changes_nothing(keys: int) -> None:
    assert causal_mask(keys, keys, None, device=CPU, window=3) == Mask(causal=True)
    assert causal_mask(1, keys, None, device=CPU, window=3) == causal_mask(1, keys, None, device=CPU)


def test_padding_and_causality_come_together() -> None:
    mask = causal_mask(3, 3, torch.tensor([[0, 1, 1]]), device=CPU)
    assert mask.allowed[0, 0].int().tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert mask.alive[0, 0].int().tolist() == [[0], [1], [1]]
    assert mask.safe[0, 0].int().tolist() == [[1, 1, 1], [0, 1, 0], [0, 1, 1]]


def test_a_padding_mask_of_the_past_only_counts_new_columns_as_real() -> None:
    mask = causal_mask(1, 3, torch.tensor([[0, 1]]), device=CPU)
    assert mask.allowed[0, 0].int().tolist() == [[0, 1, 1]]


def test_a_padding_mask_that_reaches_beyond_is_cut() -> None:
    mask = causal_mask(1, 2, torch.tensor([[0, 1, 1, 1]]), device=CPU)
    assert mask.allowed[0, 0].int().tolist() == [[0, 1]]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_a_mask_of_four_dimensions_is_taken_as_it_is(dtype: torch.dtype) -> None:
    allowed = causal_allowed(3, 3, CPU)
    given = allowed.to(dtype)
    if dtype.is_floating_point:  # additive: zero lets through
        given = torch.zeros(1, 1, 3, 3).masked_fill(~allowed, torch.finfo(dtype).min)
    assert torch.equal(causal_mask(3, 3, given, device=CPU).allowed, allowed)
    assert torch.equal(memory_mask(given).allowed, allowed)


@pytest.mark.parametrize("shape", [(3,), (1, 3, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParamError, match=r"attention_mask of shape"):
        causal_mask(3, 3, torch.ones(shape), device=CPU)
    with pytest.raises(ParamError, match=r"attention mask of shape"):
        memory_mask(torch.ones(shape))


def test_a_memory_without_padding_needs_no_mask() -> None:
    assert memory_mask(None) == Mask()
    assert memory_mask(torch.tensor([[1, 0]])).allowed.tolist() == [[[[True, False]]]]


def test_the_additive_form_hides_by_the_lowest_number_and_adds_the_bias() -> None:
    bias = torch.tensor([[[[1.0, 2.0]]]])
    mask = Mask.of(torch.tensor([[[[True, False]]]]), bias=bias)
    added = mask.additive(1, 2, like=LIKE)
    assert added[0, 0, 0, 0] == 1.0
    assert added[0, 0, 0, 1] <= -1e38
    assert torch.equal(Mask(bias=bias).additive(1, 2, like=LIKE), bias)
    assert Mask().additive(1, 2, like=LIKE) is None
    causal = Mask(causal=True).additive(2, 2, like=LIKE)
    assert causal[0, 0, 0].tolist() == [0.0, torch.finfo(torch.float32).min]
    assert Mask(causal=True).additive(1, 5, like=LIKE) is None


def test_the_kernels_form_never_holds_a_row_without_an_open_key() -> None:
    mask = Mask.of(torch.tensor([[[[False, False], [True, False]]]]))
    assert mask.for_kernel(like=LIKE)[0, 0].tolist() == [[True, True], [True, False]]
    biased = Mask.of(mask.allowed, bias=torch.full((1, 1, 2, 2), 3.0)).for_kernel(like=LIKE)
    assert biased[0, 0, 0].tolist() == [3.0, 3.0]
    assert biased[0, 0, 1, 1] == torch.finfo(torch.float32).min
    assert Mask(bias=torch.ones(1)).for_kernel(like=LIKE.half()).dtype is torch.float16
