"""Copies that stand in for modules."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from antiphon.errors import AdapterError
from antiphon.nn.conv import Conv1d
from antiphon.nn.linear import Embedding, Linear
from antiphon.nn.lora import add_branch
from antiphon.nn.norms import RMSNorm
from antiphon.nn.put_aside import put_back
from antiphon.nn.stand_in import (
    add_stand_in,
    can_be_stood_in_for,
    merge_stand_in,
    remove_stand_in,
    stand_in_of,
    use_stand_in,
)

KINDS = ["linear", "embedding", "layer norm", "rms norm"]


def module(kind: str) -> tuple[nn.Module, torch.Tensor]:
    """A module, and what it takes."""
    torch.manual_seed(0)
    x = torch.randn(2, 4)
    made: dict[str, nn.Module] = {
        "linear": Linear(4, 3),
        "embedding": Embedding(5, 4),
        "layer norm": nn.LayerNorm(4),
        "rms norm": RMSNorm(4),
    }
    for parameter in made[kind].parameters():
        nn.init.normal_(parameter)
    return made[kind], torch.tensor([1, 3]) if kind == "embedding" else x


@pytest.mark.parametrize("kind", KINDS)
def test_a_chosen_copy_computes_and_the_module_keeps_its_own(kind: str) -> None:
    own, x = module(kind)
    plain, before = own(x), type(own)
    add_stand_in(own, "a")
    assert torch.equal(own(x), plain)
    with torch.no_grad():
        for parameter in stand_in_of(own, "a").parameters():
            parameter.mul_(3)
    assert torch.equal(own(x), plain)
    use_stand_in(own, "a")
    assert type(own) is not before
    assert torch.allclose(own(x), 3 * plain, atol=1e-5)
    use_stand_in(own, None)
    assert type(own) is before
    assert torch.equal(own(x), plain)
    remove_stand_in(own, "a")
    assert all("modules_to_save" not in name for name in own.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_F028_a_copy_that_was_merged_is_taken_out_bit_for_bit(kind: str) -> None:
    own, x = module(kind)
    plain = own(x)
    add_stand_in(own, "a")
    with torch.no_grad():
        for parameter in stand_in_of(own, "a").parameters():
            parameter.mul_(3)
    use_stand_in(own, "a")
    wanted = own(x)
    merge_stand_in(own)
    assert torch.equal(own(x), wanted)
    put_back(own)
    assert torch.equal(own(x), plain)


def test_a_second_copy_is_of_the_module_and_not_of_the_first() -> None:
    own, x = module("linear")
    plain = own(x)
    add_stand_in(own, "a")
    with torch.no_grad():
        for parameter in stand_in_of(own, "a").parameters():
            parameter.zero_()
    use_stand_in(own, "a")
    add_stand_in(own, "b")
    use_stand_in(own, "b")
    assert torch.equal(own(x), plain)
    assert list(stand_in_of(own, "b").state_dict()) == ["weight", "bias"]


def test_F028_other_modules_have_no_copies_and_a_layer_is_copied_or_adapted() -> None:
    assert not can_be_stood_in_for(Conv1d(2, 2, 3, causal=True))
    with pytest.raises(AdapterError, match="Sequential"):
        add_stand_in(nn.Sequential(), "a")
    adapted = Linear(4, 3)
    add_branch(adapted, "a", rank=2, scaling=1.0)
    with pytest.raises(AdapterError, match="already"):
        add_stand_in(adapted, "b")
    copied = Linear(4, 3)
    add_stand_in(copied, "a")
    with pytest.raises(AdapterError, match="already"):
        add_branch(copied, "b", rank=2, scaling=1.0)
