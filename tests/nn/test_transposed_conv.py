"""Transposed convolutions in groups, and rows that go their own ways."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.errors import ConfigError, SessionError
from antiphon.nn.transposed_conv import ConvTranspose1d


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(channels_in: int, channels_out: int, kernel: int, **sizes: object) -> ConvTranspose1d:
    torch.manual_seed(0)
    layer = ConvTranspose1d(channels_in, channels_out, kernel, causal=True, **sizes)  # type: ignore[arg-type]
    layer.initialise()
    return layer


def in_pieces(layer: ConvTranspose1d, x: Tensor, size: int) -> Tensor:
    state = layer.state(len(x))
    out = [layer.push(piece, state, last=False) for piece in x.split(size, dim=-1)]
    return torch.cat([*out, layer.push(x[..., :0], state, last=True)], dim=-1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", ["none", "weight_norm"])
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "groups"), [((6, 6), 4, 2, 6), ((6, 4), 4, 2, 2), ((8, 12), 7, 3, 4)]
)
def test_groups_are_torchs_whole_and_in_pieces(
    channels: tuple[int, int], kernel: int, stride: int, groups: int, norm: str, bias: bool
) -> None:
    layer = made(*channels, kernel, stride=stride, groups=groups, norm=norm, bias=bias)
    assert (layer.bias is not None) == bias
    x = noise(2, channels[0], 20)
    plain = F.conv_transpose1d(x, layer.effective(), layer.bias, stride=stride, groups=groups)[..., : 20 * stride]
    torch.testing.assert_close(layer(x), plain, atol=1e-5, rtol=1e-5)  # with gradients another kernel computes it
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain)
        for size in (1, 3, 20):
            torch.testing.assert_close(in_pieces(layer, x, size), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", ["none", "weight_norm"])
def test_groups_in_half_precision_stay_in_it(norm: str) -> None:
    layer, x = made(6, 6, 4, stride=2, groups=6, norm=norm), noise(1, 6, 9)
    with torch.no_grad():
        expected, other = layer(x), layer.to(torch.bfloat16)
        out = in_pieces(other, x.bfloat16(), 2)
    assert out.dtype is torch.bfloat16
    torch.testing.assert_close(out.float(), expected, atol=0.03 * expected.abs().max().item(), rtol=0)


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 groups do not divide 6 and 4 channels"):
        made(6, 4, 4, stride=2, groups=3)


@pytest.mark.parametrize("groups", [1, 4])
def test_rows_begin_anew_and_stand_still_alone(groups: int) -> None:
    layer, x = made(4, 4, 6, stride=2, groups=groups), noise(3, 4, 8)
    with torch.no_grad():
        state = layer.state(3)
        layer.push(x[..., :3], state, last=False)
        layer.push(x[..., 3:4] + 9, state, last=False, live=torch.tensor([False, True, True]))
        state.reset(torch.tensor([False, False, True]))
        out = layer.push(x[..., 3:], state, last=False)
        whole = layer(x)
        torch.testing.assert_close(out[0], whole[0, :, 6:])
        torch.testing.assert_close(out[2], layer(x[2:, :, 3:])[0])
        moved = layer(torch.cat([x[1:2, :, :3], x[1:2, :, 3:4] + 9, x[1:2, :, 3:]], dim=-1))
        torch.testing.assert_close(out[1], moved[0, :, 8:])


def test_rows_of_a_layer_that_trims_its_beginning_go_together() -> None:
    state = made(2, 2, 4, stride=2, trim_right_ratio=0.0).state(2)
    with pytest.raises(SessionError, match="trims nothing on the left"):
        state.reset(torch.tensor([True, False]))
