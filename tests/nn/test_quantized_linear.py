"""The layer of 4 or 8 bits: the weight it stands for, products, casts, copies, layers side by side."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import ParamError
from antiphon.nn.linear import Linear, lay_side_by_side, stacked_linear
from antiphon.nn.quantized_linear import QuantizedLinear, packed
from antiphon.nn.rounding import rounded


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(weight: Tensor, bits: int, group: int) -> Tensor:
    """The rounded weight, one number at a time from the definition."""
    codes, scales = rounded(weight, bits, group)
    return torch.tensor(
        [
            [float(scales[o, i // group]) * (int(codes[o, i]) - 2 ** (bits - 1)) for i in range(weight.shape[1])]
            for o in range(weight.shape[0])
        ]
    )


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("inputs", [64, 128, 96, 80, 33, 7, 1])
def test_the_weight_is_scale_times_code_for_every_width(bits: int, inputs: int) -> None:
    weight = noise(5, inputs)
    layer = QuantizedLinear.of(weight, bits=bits)
    assert layer.weight.dtype is torch.float32
    assert torch.equal(layer.weight, by_hand(weight, bits, 64))
    x = noise(3, inputs, seed=1)
    torch.testing.assert_close(layer(x), x @ by_hand(weight, bits, 64).T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("bits", "error"), [(4, 0.13), (8, 0.008)])
def test_a_layer_is_as_near_as_its_bits_allow(bits: int, error: float) -> None:
    linear = nn.Linear(256, 96)
    layer = QuantizedLinear.of(linear, bits=bits)
    x = noise(2, 256)
    wanted = linear(x).detach()
    assert (layer(x) - wanted).norm() < error * wanted.norm()
    assert layer.codes.numel() == linear.weight.numel() * bits // 8


def test_inputs_of_one_and_three_dimensions_and_of_no_rows_pass() -> None:
    layer = QuantizedLinear.of(noise(6, 64), noise(6), bits=4)
    x = noise(2, 3, 64)
    assert layer(x).shape == (2, 3, 6)
    torch.testing.assert_close(layer(x[0, 1]), layer(x)[0, 1])
    assert layer(x[:0]).shape == (0, 3, 6)


def test_many_rows_are_what_few_rows_are() -> None:
    layer = QuantizedLinear.of(noise(48, 128), noise(48), bits=4)
    x = noise(200, 128)
    torch.testing.assert_close(layer(x), torch.cat([layer(row[None]) for row in x]), rtol=1e-4, atol=1e-5)


def test_an_input_of_another_width_is_an_error_and_no_number() -> None:
    with pytest.raises(RuntimeError):
        QuantizedLinear.of(noise(6, 64), bits=4)(noise(2, 32))


@pytest.mark.parametrize(("bits", "group"), [(5, 64), (4, 0), (8, -1)])
def test_another_number_of_bits_or_an_empty_group_is_refused(bits: int, group: int) -> None:
    with pytest.raises(ParamError):
        QuantizedLinear(64, 8, bits=bits, group_size=group)


def test_casts_leave_codes_and_scales_as_they_are() -> None:
    layer = QuantizedLinear.of(noise(6, 64) * 1e-9, noise(6), bits=4)
    before = layer.weight
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.float32):
        layer.to(dtype)
        assert layer.dtype is layer.weight.dtype is dtype
        assert layer.bias is not None and layer.bias.dtype is dtype
        assert layer.scales.dtype is torch.bfloat16
        assert layer(noise(2, 64).to(dtype)).dtype is dtype
    assert torch.equal(layer.weight, before)


def test_a_layer_made_without_memory_is_filled_by_its_state() -> None:
    layer = QuantizedLinear.of(noise(6, 64), noise(6), bits=4)
    empty = QuantizedLinear(64, 6, bits=4, bias=True, device="meta").to_empty(device="cpu")
    empty.load_state_dict(layer.state_dict())
    assert torch.equal(empty(noise(2, 64)), layer(noise(2, 64)))
    assert set(layer.state_dict()) == {"codes", "scales", "bias"}


def test_copies_and_pickles_compute_the_same() -> None:
    layer = QuantizedLinear.of(noise(6, 64), bits=8)
    x = noise(2, 64)
    wanted = layer(x)
    assert torch.equal(copy.deepcopy(layer)(x), wanted)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), wanted)


def test_gradients_pass_through_to_the_input() -> None:
    layer = QuantizedLinear.of(noise(6, 64), noise(6), bits=4)
    x = noise(2, 64).requires_grad_()
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(2, -1))
    assert list(layer.parameters()) == []


def test_layers_side_by_side_are_one_product_with_the_same_numbers() -> None:
    layers = [QuantizedLinear.of(noise(outputs, 64, seed=outputs), bits=4) for outputs in (6, 3, 5)]
    x = noise(2, 64)
    with torch.no_grad():
        alone = [layer(x) for layer in layers]
        lay_side_by_side(layers)
        assert layers[1].codes.data_ptr() == layers[0].codes.data_ptr() + layers[0].codes.numel()
        assert layers[1].scales.data_ptr() == layers[0].scales.data_ptr() + 2 * layers[0].scales.numel()
        together = stacked_linear(x, layers)
    # torch, where there is no kernel, may sum a wider product in another order
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_layers_of_different_kinds_stay_alone() -> None:
    x = noise(2, 64)
    layers: list[nn.Module] = [
        QuantizedLinear.of(noise(6, 64), bits=4),
        QuantizedLinear.of(noise(6, 64), bits=8),
        Linear(64, 6, bias=False),
    ]
    nn.init.normal_(layers[2].weight)  # type: ignore[arg-type]
    lay_side_by_side(layers)
    with torch.no_grad():
        for layer, out in zip(layers, stacked_linear(x, layers), strict=True):
            torch.testing.assert_close(out, F.linear(x, layer.weight), rtol=1e-5, atol=1e-5)  # type: ignore[arg-type]


def test_packed_codes_have_the_first_of_two_inputs_in_the_low_half() -> None:
    codes = torch.tensor([[1, 2, 3]], dtype=torch.uint8)
    assert packed(codes, 4).tolist() == [[0x21, 0x03]]
    assert packed(codes, 8) is codes
