"""Linear layers: the kernels agree, and layers laid side by side stay the layers they were."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.nn import dense
from antiphon.nn import linear as module
from antiphon.nn.linear import Embedding, Linear, gelu_linear, lay_side_by_side, linear, stacked_linear, stacks_of


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def filled(widths: list[int], inputs: int = 8, *, bias: bool = False) -> list[Linear]:
    layers = []
    for number, width in enumerate(widths):
        layer = Linear(inputs, width, bias=bias)
        with torch.no_grad():
            layer.weight.copy_(noise(width, inputs, seed=number))
            if bias:
                layer.bias.copy_(noise(width, seed=100 + number))
        layers.append(layer)
    return layers


@pytest.fixture(params=[False, True], ids=["blas", "onednn"])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both kernels, whatever processor the tests run on."""
    if request.param and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.fail("this torch has no oneDNN operator, which the rule of the library relies on finding out")
    monkeypatch.setattr(dense, "prefers_onednn", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize("shape", [(8,), (1, 8), (2, 3, 8), (0, 8), (2, 1, 17, 8)])
@pytest.mark.parametrize("bias", [False, True])
def test_both_kernels_give_the_product(onednn: bool, shape: tuple[int, ...], bias: bool) -> None:
    x, weight = noise(*shape), noise(5, 8, seed=1)
    offset = noise(5, seed=2) if bias else None
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight, offset), F.linear(x, weight, offset), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
def test_gelu_of_many_rows_is_gelu(onednn: bool, dtype: torch.dtype, bias: bool) -> None:
    layer = Linear(8, 5, bias=bias).to(dtype)
    with torch.no_grad():
        for number, parameter in enumerate(layer.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=number))
        for rows in (1, 300):
            x = noise(2, rows, 8).to(dtype)
            wanted = F.gelu(F.linear(x.double(), layer.weight.double(), None if not bias else layer.bias.double()))
            near = 1e-5 if dtype is torch.float32 else 0.03
            found = gelu_linear(x, layer)
            assert found.dtype is dtype
            torch.testing.assert_close(found.double(), wanted, atol=near, rtol=near)
            handle = layer.register_forward_hook(lambda *_: torch.zeros(2, 1, 5, dtype=dtype))
            assert not gelu_linear(x, layer).any()
            handle.remove()
    assert gelu_linear(noise(300, 8).to(dtype), layer).requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_keep_theirs(onednn: bool, dtype: torch.dtype) -> None:
    x, weight = noise(2, 8).to(dtype), noise(5, 8, seed=1).to(dtype)
    assert torch.equal(linear(x, weight), F.linear(x, weight))


def test_the_special_kernel_is_really_taken_with_gradients_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    products: list[tuple[int, ...]] = []
    real = dense.onednn_product

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        products.append((*x.shape, *weight.shape))
        return real(x, weight, bias)

    monkeypatch.setattr(dense, "prefers_onednn", lambda: True)
    monkeypatch.setattr(dense, "onednn_product", counted)
    x, weight = noise(2, 8).requires_grad_(), nn.Parameter(noise(5, 8, seed=1))
    with torch.no_grad():
        linear(x, weight)
    assert products == [(2, 8, 5, 8)]
    linear(x, weight).sum().backward()
    # forward, the input's gradient, and the weight's with the narrower side first
    assert products[1:] == [(2, 8, 5, 8), (2, 5, 8, 5), (5, 2, 8, 2)]
    wide = nn.Parameter(noise(9, 8, seed=1))
    linear(x.detach(), wide).sum().backward()
    assert products[4:] == [(2, 8, 9, 8), (8, 2, 9, 2)]


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 8)])
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_and_their_gradients_are_those_of_torch(onednn: bool, shape: tuple[int, ...], bias: bool) -> None:
    given = [noise(*shape).requires_grad_(), noise(5, 8, seed=1).requires_grad_()]
    given += [noise(5, seed=2).requires_grad_()] if bias else []
    found = []
    for product in (linear, F.linear):
        once = torch.autograd.grad((product(*given) ** 3).sum(), given, create_graph=True)
        twice = torch.autograd.grad(sum((gradient**2).sum() for gradient in once), given)
        found.append([*once, *twice])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-2, rtol=1e-4)


def test_gradients_of_what_is_expanded_or_transposed(onednn: bool) -> None:
    weight = noise(8, 5, seed=1).requires_grad_()
    x = noise(3, 1, 8).requires_grad_()
    results = []
    for product in (linear, F.linear):
        out = product(x.expand(3, 4, 8), weight.t()).transpose(0, 1)
        results.append(torch.autograd.grad(out.sum(), [x, weight]))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("x_learns", "weight_learns", "bias_learns"), [(1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_only_what_is_trained_gets_a_gradient(
    onednn: bool, x_learns: bool, weight_learns: bool, bias_learns: bool
) -> None:
    x, weight, bias = noise(2, 8), noise(5, 8, seed=1), noise(5, seed=2)
    for tensor, learns in ((x, x_learns), (weight, weight_learns), (bias, bias_learns)):
        tensor.requires_grad_(bool(learns))
    linear(x, weight, bias).sum().backward()
    assert [t.grad is not None for t in (x, weight, bias)] == [bool(x_learns), bool(weight_learns), bool(bias_learns)]


def test_a_gradient_flows_through_both_kernels(onednn: bool) -> None:
    layer = filled([5], bias=True)[0]
    layer(noise(2, 8)).sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, noise(2, 8).sum(0).expand(5, 8))


def test_an_input_that_is_not_contiguous_gives_the_same(onednn: bool) -> None:
    x, weight = noise(8, 6).t(), noise(5, 8, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight), F.linear(x.contiguous(), weight), atol=1e-5, rtol=1e-5)


def test_autocast_reaches_the_product(onednn: bool) -> None:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert linear(noise(2, 8), noise(5, 8)).dtype is torch.bfloat16


@pytest.mark.parametrize("laid_out", [False, True])
@pytest.mark.parametrize("widths", [[8, 8, 8], [4, 12], [3], [16, 1, 2]])
def test_stacked_layers_give_what_each_gives_alone(onednn: bool, laid_out: bool, widths: list[int]) -> None:
    layers = filled(widths)
    if laid_out:
        lay_side_by_side(layers)
    x = noise(2, 3, 8, seed=9)
    with torch.no_grad():
        together, apart = stacked_linear(x, layers), [layer(x) for layer in layers]
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_layers_side_by_side_take_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    layers, shapes = filled([4, 6]), []
    monkeypatch.setattr(module, "linear", lambda x, w, b=None: shapes.append(tuple(w.shape)) or F.linear(x, w, b))
    lay_side_by_side(layers)
    with torch.no_grad():
        stacked_linear(noise(2, 8), layers)
    assert shapes == [(10, 8)]


def test_a_layer_with_bias_or_of_a_subclass_computes_alone() -> None:
    class Twice(Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    plain, odd = filled([4])[0], Twice(8, 4, bias=False)
    with torch.no_grad():
        odd.weight.copy_(noise(4, 8, seed=5))
        lay_side_by_side([plain, odd])
        x = noise(2, 8)
        torch.testing.assert_close(stacked_linear(x, [plain, odd])[1], 2 * F.linear(x, odd.weight))
        biased = filled([4, 4], bias=True)
        torch.testing.assert_close(stacked_linear(x, biased)[1], F.linear(x, biased[1].weight, biased[1].bias))


def test_laying_out_keeps_the_parameters_and_their_values() -> None:
    layers = filled([4, 6, 2])
    before = [(layer.weight, layer.weight.detach().clone()) for layer in layers]
    lay_side_by_side(layers)
    for layer, (parameter, value) in zip(layers, before, strict=True):
        assert layer.weight is parameter
        assert torch.equal(layer.weight, value)
    ends = [layer.weight.data_ptr() + layer.weight.numel() * 4 for layer in layers]
    assert [layer.weight.data_ptr() for layer in layers[1:]] == ends[:-1]


def test_laid_out_layers_survive_a_change_of_dtype_and_of_values() -> None:
    layers = nn.ModuleList(filled([4, 6]))
    lay_side_by_side(list(layers))
    x = noise(2, 8, seed=3)
    with torch.no_grad():
        expected = [F.linear(x.double(), layer.weight.double()) for layer in layers]
        layers.to(torch.float64)
        for one, other in zip(stacked_linear(x.double(), list(layers)), expected, strict=True):
            torch.testing.assert_close(one, other)
        layers[0].weight.fill_(1.0)  # an optimiser or a loader writes in place
        torch.testing.assert_close(stacked_linear(x.double(), list(layers))[0], x.double().sum(-1, True).expand(2, 4))
        layers[1].weight = nn.Parameter(torch.zeros(6, 8, dtype=torch.float64))  # replaced: no longer beside
        assert not stacked_linear(x.double(), list(layers))[1].any()


def test_laying_out_can_use_given_storage_without_copying() -> None:
    layers, storage = filled([4, 6]), noise(10, 8, seed=7)
    lay_side_by_side(layers, storage, copy=False)
    assert torch.equal(layers[1].weight, storage[4:])
    assert layers[0].weight.data_ptr() == storage.data_ptr()


def test_layers_of_different_widths_of_input_are_left_alone() -> None:
    one, other = filled([4])[0], filled([4], inputs=6)[0]
    places = one.weight.data_ptr(), other.weight.data_ptr()
    lay_side_by_side([one, other])
    assert places == (one.weight.data_ptr(), other.weight.data_ptr())


def test_the_groups_of_a_model_are_those_its_parts_name() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = filled([4, 6])

        def stacks(self) -> list[list[nn.Module]]:
            return [[self.a, self.b]]

    model = nn.Sequential(Part(), nn.Linear(3, 3), Part())
    assert [len(group) for group in stacks_of(model)] == [2, 2]


def test_construction_leaves_the_weights_to_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("initialised twice")

    monkeypatch.setattr(nn.init, "kaiming_uniform_", refuse)
    monkeypatch.setattr(nn.init, "normal_", refuse)
    Linear(4, 4)
    Embedding(4, 4)


@pytest.mark.parametrize("rows", [3, 300])
def test_layers_that_learn_over_one_input_give_the_gradients_of_each(onednn: bool, rows: int) -> None:
    layers, x = filled([5, 3, 4]), noise(1, rows, 8).requires_grad_()
    weights = [layer.weight for layer in layers]
    wanted = torch.autograd.grad(sum((layer(x) ** 2).sum() for layer in layers), [x, *weights])
    found = torch.autograd.grad(sum((out**2).sum() for out in stacked_linear(x, layers)), [x, *weights])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-4)


def test_many_rows_are_one_product_while_learning_unless_a_layer_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    products: list[int] = []
    monkeypatch.setattr(module, "dense_product", lambda x, w, b=None: products.append(len(w)) or F.linear(x, w, b))
    layers = filled([5, 3, 4])
    stacked_linear(noise(255, 8), layers)
    assert products == [5, 3, 4]
    products.clear()
    stacked_linear(noise(256, 8), layers)
    assert products == [12]
    seen: list[Tensor] = []
    layers[1].register_forward_hook(lambda _, __, out: seen.append(out))
    products.clear()
    outs = stacked_linear(noise(256, 8), layers)
    assert products == [5, 3, 4]
    assert seen[0] is outs[1]
