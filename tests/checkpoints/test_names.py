"""Names: old spellings and wrappers lead to the same canonical names."""

from __future__ import annotations

import pytest

from antiphon.checkpoints.names import canonical
from antiphon.errors import CheckpointError

NEW = ("conv.parametrizations.weight.original0", "conv.parametrizations.weight.original1", "conv.bias")


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.module."])
def test_F013_weight_norm_spellings_and_wrappers_lead_to_the_same_names(prefix: str) -> None:
    old = [f"{prefix}conv.weight_g", f"{prefix}conv.weight_v", f"{prefix}conv.bias"]
    new = [prefix + name for name in NEW]
    assert list(canonical(old).values()) == list(NEW)
    assert list(canonical(new).values()) == list(NEW)
    assert list(canonical(old)) == old


def test_names_inside_are_left_alone() -> None:
    names = ["encoder.module.weight", "modules.0.weight", "module", "_orig_mod", "a.my_weight_g", "b.weight"]
    assert canonical(names) == {name: name for name in names}


def test_weight_norm_without_a_parent_works() -> None:
    assert list(canonical(["weight_g", "weight_v"]).values()) == [
        "parametrizations.weight.original0",
        "parametrizations.weight.original1",
    ]


@pytest.mark.parametrize("pair", [("module.a", "a"), ("a.weight_g", NEW[0].replace("conv", "a")), ("a", "a")])
def test_two_names_of_one_tensor_are_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(CheckpointError, match="mean the same tensor"):
        canonical(pair)


@pytest.mark.parametrize("name", ["a.weight_g", "a.weight_v", NEW[0], NEW[1]])
def test_half_a_weight_norm_is_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match="incomplete"):
        canonical([name, "b"])
