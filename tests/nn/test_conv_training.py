"""Convolutions whose gradient is asked for go another way on a CPU; it gives the same, and the same gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.nn.conv import PAD_MODES, Conv1d
from antiphon.nn.transposed_conv import ConvTranspose1d


def made(layer: Any) -> Any:
    torch.manual_seed(1)
    layer.initialise()
    return layer


def padded(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    """By torch's own padding; a sound too short to be mirrored is lengthened by silence first."""
    missing = max(0, max(left, right) - x.shape[-1] + 1) if mode == "reflect" else 0
    out = F.pad(F.pad(x, (0, missing)), (left, right), mode=mode)
    return out[..., : out.shape[-1] - missing]


def assert_same_gradients(layer: Any, x: Tensor, expected: Any) -> None:
    """What ``layer`` gives for ``x``, and all its gradients, are those of ``expected`` in double precision."""
    aims = {name: p.detach().double().requires_grad_() for name, p in layer.named_parameters()}
    weight = aims["weight"] if "weight" in aims else torch._weight_norm(aims["direction"], aims["magnitude"], 0)
    ours, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    out, aim = layer(ours), expected(theirs, weight, aims["bias"])
    pull = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).sin()
    (out * pull.float()).sum().backward()
    (aim * pull).sum().backward()
    torch.testing.assert_close(out.double(), aim, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-5, atol=1e-5)
    for name, p in layer.named_parameters():
        torch.testing.assert_close(p.grad.double(), aims[name].grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["weight_norm", "none"])
@pytest.mark.parametrize("mode", PAD_MODES)
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "causal", "length"),
    [
        (7, 1, 1, False, 23),
        (3, 1, 2, True, 23),
        (1, 1, 1, False, 9),
        (8, 4, 1, False, 22),
        (10, 5, 1, True, 31),
        (4, 2, 1, False, 1),
        (7, 1, 1, False, 2),
        (16, 8, 1, True, 3),
    ],
)
def test_a_convolution_in_training_is_the_plain_one(
    norm: str, mode: str, kernel: int, stride: int, dilation: int, causal: bool, length: int
) -> None:
    layer = made(Conv1d(3, 5, kernel, stride=stride, dilation=dilation, causal=causal, pad_mode=mode, norm=norm))
    total = (kernel - 1) * dilation + 1 - stride
    right = 0 if causal else total // 2

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = padded(x, total - right, right + -length % stride, mode)
        return F.conv1d(x, weight, bias, stride=stride, dilation=dilation)

    assert_same_gradients(layer, torch.randn(2, 3, length, generator=torch.Generator().manual_seed(2)), plain)


@pytest.mark.parametrize(
    ("kernel", "stride", "causal", "length"), [(16, 8, False, 5), (8, 4, True, 7), (5, 3, False, 1), (2, 2, True, 4)]
)
def test_a_transposed_convolution_in_training_is_the_plain_one(
    kernel: int, stride: int, causal: bool, length: int
) -> None:
    layer = made(ConvTranspose1d(3, 5, kernel, stride=stride, causal=causal))
    surplus = kernel - stride
    right = surplus if causal else surplus // 2

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out = F.conv_transpose1d(x, weight, bias, stride=stride)
        return out[..., surplus - right : out.shape[-1] - right]

    assert_same_gradients(layer, torch.randn(2, 3, length, generator=torch.Generator().manual_seed(2)), plain)


@pytest.mark.parametrize("length", [1, 2, 5, 40])
def test_a_layer_gives_the_same_with_and_without_gradients(length: int) -> None:
    layer = made(Conv1d(4, 6, 7, stride=3))
    x = torch.randn(2, 4, length, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        plain = layer(x)
    torch.testing.assert_close(layer(x), plain, rtol=1e-5, atol=1e-6)
