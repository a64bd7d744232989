"""Feed-forward layers and the functions between their halves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.errors import ConfigError
from antiphon.nn.mlp import MLP, GatedMLP, activation


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fill(layer: torch.nn.Module) -> None:
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=number))


@pytest.mark.parametrize("bias", [False, True])
def test_the_plain_form_is_up_function_down(bias: bool) -> None:
    layer, x = MLP(4, 6, act="gelu", bias=bias), noise(2, 3, 4, seed=9)
    fill(layer)
    up = F.linear(x, layer.up.weight, layer.up.bias)
    torch.testing.assert_close(layer(x), F.linear(F.gelu(up), layer.down.weight, layer.down.bias))


def test_the_gated_form_multiplies_two_ways_up() -> None:
    layer, x = GatedMLP(4, 6, act="gelu_new"), noise(2, 3, 4, seed=9)
    fill(layer)
    gate, up = F.linear(x, layer.gate.weight), F.linear(x, layer.up.weight)
    # the published formula of the approximation, term by term
    soft = 0.5 * gate * (1 + torch.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
    torch.testing.assert_close(layer(x), F.linear(soft * up, layer.down.weight))


def test_gate_and_up_may_be_one_layer() -> None:
    one, two = GatedMLP(4, 6, act="silu", fused=True), GatedMLP(4, 6, act="silu")
    fill(two)
    with torch.no_grad():
        one.gate_up.weight.copy_(torch.cat([two.gate.weight, two.up.weight]))
        one.down.weight.copy_(two.down.weight)
    x = noise(2, 3, 4, seed=9)
    torch.testing.assert_close(one(x), two(x))
    assert set(one.state_dict()) == {"gate_up.weight", "down.weight"}


@pytest.mark.parametrize("kind", [MLP, GatedMLP])
def test_a_float32_way_down_inside_a_half_precision_model_gets_float32(kind: type[MLP]) -> None:
    layer = kind(4, 6, act="relu")
    fill(layer)
    layer.to(torch.float16)
    layer.down.float()
    with torch.no_grad():
        assert layer(noise(1, 2, 4).half()).dtype is torch.float32


@pytest.mark.parametrize("kind", [MLP, GatedMLP])
def test_dropout_acts_in_training_only(kind: type[MLP]) -> None:
    layer, x = kind(4, 64, act="relu", dropout=0.5), noise(1, 2, 4)
    fill(layer)
    torch.manual_seed(0)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_names_and_functions_are_both_taken() -> None:
    x = torch.linspace(-3, 3, 13)
    assert torch.equal(activation("relu")(x), x.clamp(min=0))
    assert torch.equal(activation("swish")(x), activation("silu")(x))
    assert activation(torch.sin) is torch.sin
    assert torch.equal(activation("linear")(x), x)


@pytest.mark.parametrize("name", ["gelo", "", None, 5, ["gelu"]])
def test_an_unknown_function_is_refused_by_name(name: object) -> None:
    with pytest.raises(ConfigError, match="activation function"):
        activation(name)  # type: ignore[arg-type]
