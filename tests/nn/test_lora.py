"""Adapters on single layers: the formula, several at once, classes, merging."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from antiphon.errors import AdapterError
from antiphon.nn.linear import Linear, lay_side_by_side, plain_layers, stacked_linear
from antiphon.nn.lora import (
    LoraLinear,
    LoraQuantizedLinear,
    add_branch,
    branch,
    branches_of,
    can_adapt,
    merge_branches,
    remove_branch,
    use_branches,
)
from antiphon.nn.put_aside import is_exchanged, put_back
from antiphon.nn.quantized_linear import QuantizedLinear


def layer(inputs: int = 6, outputs: int = 4, *, bias: bool = True, seed: int = 0, dtype: Any = torch.float32) -> Linear:
    generator = torch.Generator().manual_seed(seed)
    made = Linear(inputs, outputs, bias=bias, dtype=dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def adapt(base: nn.Module, name: str, *, rank: int = 2, scaling: float = 1.5, seed: int = 1, **more: Any) -> None:
    add_branch(base, name, rank=rank, scaling=scaling, **more)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for matrix in branch(base, name):
            matrix.copy_(torch.randn(matrix.shape, generator=generator))


def columns(*shape: int, seed: int = 9) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_an_active_adapter_adds_its_product() -> None:
    base, x = layer(), columns(3, 6)
    plain = base(x)
    adapt(base, "a")
    use_branches(base, {"a": 0.5})
    down, up = branch(base, "a")
    assert torch.allclose(base(x), plain + 0.5 * 1.5 * x @ down.T @ up.T, atol=1e-5)


def test_what_several_adapters_add_is_summed_each_with_its_factor() -> None:
    base, x = layer(), columns(3, 6)
    plain = base(x)
    adapt(base, "a")
    adapt(base, "b", rank=3, scaling=0.25, seed=2)
    alone = []
    for name in ("a", "b"):
        use_branches(base, {name: 1.0})
        alone.append(base(x) - plain)
    use_branches(base, {"a": 2.0, "b": -1.0})
    assert torch.allclose(base(x), plain + 2 * alone[0] - alone[1], atol=1e-5)


def test_a_layer_is_of_its_own_class_and_gives_its_own_bits_unless_an_adapter_is_active() -> None:
    base, x = layer(), columns(3, 6)
    plain = base(x)
    adapt(base, "a")
    assert type(base) is Linear
    use_branches(base, {"a": 1.0})
    assert type(base) is LoraLinear
    use_branches(base, {})
    assert type(base) is Linear
    assert torch.equal(base(x), plain)


def test_names_of_tensors_are_the_layer_s_own_and_further_ones() -> None:
    base = layer()
    adapt(base, "a")
    assert list(base.state_dict()) == ["weight", "bias", "lora_A.a.weight", "lora_B.a.weight"]
    remove_branch(base, "a")
    assert list(base.state_dict()) == ["weight", "bias"]
    assert not hasattr(base, "lora")
    assert branches_of(base).scaling == {}


def test_removing_one_adapter_leaves_the_others_active() -> None:
    base, x = layer(), columns(3, 6)
    adapt(base, "a")
    use_branches(base, {"a": 1.0})
    wanted = base(x)
    adapt(base, "b", seed=3)
    use_branches(base, {"a": 1.0, "b": 1.0})
    remove_branch(base, "b")
    assert torch.equal(base(x), wanted)


def test_layers_side_by_side_are_one_product_only_while_no_adapter_is_active() -> None:
    layers: list[nn.Module] = [layer(bias=False, seed=seed) for seed in range(3)]
    lay_side_by_side(layers)
    x = columns(2, 6)
    adapt(layers[1], "a")
    use_branches(layers[1], {"a": 1.0})
    assert plain_layers(layers) == []
    with torch.no_grad():
        stacked = stacked_linear(x, layers)
        assert all(torch.equal(one, own(x)) for one, own in zip(stacked, layers, strict=True))
        wanted = layers[1](x)
        merge_branches(layers[1])
        assert plain_layers(layers) == layers
        assert torch.allclose(stacked_linear(x, layers)[1], wanted, atol=1e-5)


def test_rounded_layers_side_by_side_are_one_product_only_while_no_adapter_is_active() -> None:
    layers: list[nn.Module] = [
        QuantizedLinear.of(layer(64, 8, bias=False, seed=seed), bits=8, group_size=32) for seed in range(2)
    ]
    lay_side_by_side(layers)
    x = columns(2, 64)
    with torch.no_grad():
        plain = stacked_linear(x, layers)
        adapt(layers[1], "a")
        use_branches(layers[1], {"a": 1.0})
        first, second = stacked_linear(x, layers)
    assert torch.allclose(first, plain[0], atol=1e-5)
    assert float((second - plain[1]).detach().abs().max()) > 0.1


@pytest.mark.parametrize("bits", [4, 8])
def test_an_adapter_stands_beside_a_weight_of_few_bits(bits: int) -> None:
    base = QuantizedLinear.of(layer(64, 8), bits=bits, group_size=32)
    x = columns(3, 64)
    plain = base(x)
    adapt(base, "a")
    use_branches(base, {"a": 1.0})
    down, up = branch(base, "a")
    assert type(base) is LoraQuantizedLinear
    assert torch.allclose(base(x), plain + 1.5 * x @ down.T @ up.T, atol=1e-4)
    base.to(torch.bfloat16)
    assert base.scales.dtype is torch.bfloat16
    assert branch(base, "a")[0].dtype is torch.bfloat16


def test_merging_gives_the_product_of_the_active_adapters_and_keeps_the_place_in_memory() -> None:
    base, x = layer(), columns(3, 6)
    adapt(base, "a")
    adapt(base, "b", seed=2)
    use_branches(base, {"a": 0.5})
    wanted, place = base(x), base.weight.data_ptr()
    merge_branches(base)
    assert type(base) is Linear
    assert base.weight.data_ptr() == place
    assert torch.allclose(base(x), wanted, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_F028_unmerging_gives_the_weight_back_bit_for_bit(dtype: torch.dtype) -> None:
    base = layer(dtype=dtype)
    before = base.weight.detach().clone()
    adapt(base, "a", scaling=1e3)
    use_branches(base, {"a": 1.0})
    merge_branches(base)
    assert not torch.equal(base.weight, before)
    assert "weight" in base.state_dict()
    assert not any("aside" in name for name in base.state_dict())
    put_back(base)
    assert torch.equal(base.weight, before)
    assert not is_exchanged(base)
    assert list(base.buffers()) == []


def test_F028_merging_twice_is_refused_and_changes_nothing() -> None:
    base = layer()
    adapt(base, "a")
    use_branches(base, {"a": 1.0})
    merge_branches(base)
    merged = base.weight.detach().clone()
    use_branches(base, {"a": 1.0})
    with pytest.raises(AdapterError, match="merged into this layer already"):
        merge_branches(base)
    assert torch.equal(base.weight, merged)


def test_F028_a_weight_of_few_bits_takes_no_adapter_in() -> None:
    base = QuantizedLinear.of(layer(64, 8), bits=4, group_size=32)
    adapt(base, "a")
    use_branches(base, {"a": 1.0})
    with pytest.raises(AdapterError, match="weight of 4 bits"):
        merge_branches(base)


def test_merging_without_keeping_takes_no_further_memory() -> None:
    base = layer()
    adapt(base, "a")
    use_branches(base, {"a": 1.0})
    merge_branches(base, keep=False)
    assert list(base.buffers()) == []


def test_matrices_are_float32_beside_half_precision_and_the_output_stays_half() -> None:
    base = layer(dtype=torch.bfloat16)
    adapt(base, "a")
    use_branches(base, {"a": 1.0})
    assert all(matrix.dtype is torch.float32 for matrix in branch(base, "a"))
    x = columns(3, 6).bfloat16()
    wanted = (
        Linear.forward(base, x).float() + 1.5 * x.float() @ branch(base, "a")[0].T @ branch(base, "a")[1].T
    ).bfloat16()
    assert base(x).dtype is torch.bfloat16
    assert torch.allclose(base(x).float(), wanted.float(), atol=0.1)


def test_gradients_reach_the_active_adapter_and_not_the_frozen_weight() -> None:
    base, x = layer(), columns(3, 6)
    base.requires_grad_(False)
    adapt(base, "a")
    use_branches(base, {"a": 1.0})
    base(x).square().sum().backward()
    assert base.weight.grad is None
    assert all(matrix.grad is not None and bool(matrix.grad.any()) for matrix in branch(base, "a"))


def test_dropout_acts_in_training_only() -> None:
    base, x = layer(), columns(64, 6)
    adapt(base, "a", dropout=0.5)
    use_branches(base, {"a": 1.0})
    base.eval()
    assert torch.equal(base(x), base(x))
    base.train()
    torch.manual_seed(0)
    assert not torch.equal(base(x), base(x))


def test_a_copy_of_an_adapted_layer_is_a_layer_of_its_own() -> None:
    base, x = layer(), columns(3, 6)
    adapt(base, "a")
    use_branches(base, {"a": 1.0})
    wanted = base(x)
    twin = copy.deepcopy(base)
    use_branches(base, {})
    assert torch.equal(twin(x), wanted)


def test_F028_only_linear_layers_take_adapters_and_each_name_once() -> None:
    assert not can_adapt(nn.LayerNorm(4))
    with pytest.raises(AdapterError, match="LayerNorm"):
        add_branch(nn.LayerNorm(4), "a", rank=2, scaling=1.0)
    base = layer()
    adapt(base, "a")
    with pytest.raises(AdapterError, match="'a' already"):
        adapt(base, "a")
