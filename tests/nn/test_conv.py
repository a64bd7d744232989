"""Convolutions on the frame grid: padding, lengths, causality, weight normalisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import ConfigError, SessionError
from antiphon.nn.conv import Conv1d, pad_time
from antiphon.nn.transposed_conv import ConvTranspose1d


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def initialised(layer: Conv1d | ConvTranspose1d) -> Conv1d | ConvTranspose1d:
    torch.manual_seed(0)
    layer.initialise()
    return layer.eval()


@pytest.mark.parametrize("mode", ["reflect", "replicate", "constant"])
@pytest.mark.parametrize(("left", "right"), [(0, 0), (3, 0), (0, 2), (4, 4), (6, 1)])
def test_padding_equals_torchs_where_torch_can(mode: str, left: int, right: int) -> None:
    x = noise(2, 3, 9)
    assert torch.equal(pad_time(x, left, right, mode), F.pad(x, (left, right), mode=mode))


@pytest.mark.parametrize("length", range(1, 9))
@pytest.mark.parametrize(("left", "right"), [(6, 0), (3, 3), (0, 6), (8, 2)])
def test_short_inputs_are_reflected_as_if_silence_followed(length: int, left: int, right: int) -> None:
    x = noise(1, 2, length)
    extra = max(0, max(left, right) - length + 1)
    longer = F.pad(F.pad(x, (0, extra)), (left, right), mode="reflect")
    expected = longer[..., : longer.shape[-1] - extra]
    out = pad_time(x, left, right, "reflect")
    assert out.shape[-1] == left + length + right
    assert torch.equal(out, expected)


def test_the_gradient_of_a_reflection_is_torchs() -> None:
    found = []
    for pad in (lambda v: pad_time(v, 3, 2, "reflect"), lambda v: F.pad(v, (3, 2), mode="reflect")):
        x = noise(1, 2, 7).requires_grad_()
        (pad(x) * noise(1, 2, 12, seed=1)).sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (3, 1, 2), (1, 1, 1), (4, 2, 1), (16, 8, 1)])
def test_every_length_gives_the_frames_it_should_and_the_plain_convolution(
    causal: bool, kernel: int, stride: int, dilation: int
) -> None:
    layer = initialised(Conv1d(2, 3, kernel, stride=stride, dilation=dilation, causal=causal))
    surplus = (kernel - 1) * dilation + 1 - stride
    with torch.no_grad():
        for length in range(1, 51):
            x = noise(1, 2, length, seed=length)
            out = layer(x)
            assert out.shape == (1, 3, math.ceil(length / stride))
            if length > surplus + stride:
                right = 0 if causal else surplus // 2
                extra = math.ceil(length / stride) * stride - length
                padded = F.pad(x, (surplus - right, right + extra), mode="reflect")
                plain = F.conv1d(padded, layer.effective(), layer.bias, stride=stride, dilation=dilation)
                torch.testing.assert_close(out, plain)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (3, 1, 4), (8, 4, 1)])
def test_a_causal_layer_never_hears_the_future(kernel: int, stride: int, dilation: int) -> None:
    layer = initialised(Conv1d(2, 3, kernel, stride=stride, dilation=dilation, causal=True, pad_mode="constant"))
    x = noise(1, 2, 40)
    with torch.no_grad():
        whole = layer(x)
        for cut in range(stride, 40, stride):
            torch.testing.assert_close(layer(x[..., :cut]), whole[..., : cut // stride], atol=1e-6, rtol=1e-6)


def test_a_centred_layer_does_hear_the_future() -> None:
    layer = initialised(Conv1d(1, 1, 7, pad_mode="constant"))
    x = noise(1, 1, 20)
    changed = x.clone()
    changed[..., 10:] = 0
    with torch.no_grad():
        assert not torch.allclose(layer(x)[..., 9], layer(changed)[..., 9])
        assert torch.equal(layer(x)[..., :7], layer(changed)[..., :7])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (10, 5), (16, 8), (7, 3), (3, 3)])
def test_a_transposed_layer_gives_a_whole_number_of_samples_a_frame(causal: bool, kernel: int, stride: int) -> None:
    layer = initialised(ConvTranspose1d(2, 3, kernel, stride=stride, causal=causal))
    with torch.no_grad():
        for frames in range(1, 51):
            x = noise(1, 2, frames, seed=frames)
            out = layer(x)
            assert out.shape == (1, 3, frames * stride)
            full = F.conv_transpose1d(x, layer.effective(), layer.bias, stride=stride)
            left = 0 if causal else (kernel - stride) - (kernel - stride) // 2
            assert torch.equal(out, full[..., left : left + frames * stride])


@pytest.mark.parametrize(("ratio", "right"), [(1.0, 5), (0.0, 0), (0.5, 3), (0.2, 1), (0.21, 2)])
def test_the_surplus_of_a_causal_layer_is_shared_by_the_ratio(ratio: float, right: int) -> None:
    layer = ConvTranspose1d(1, 1, 10, stride=5, causal=True, trim_right_ratio=ratio)
    assert (layer.trim_left, layer.trim_right) == (5 - right, right)


def test_a_ratio_on_a_centred_layer_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trim_right_ratio=0.5 without use_causal_conv"):
        ConvTranspose1d(1, 1, 4, stride=2, trim_right_ratio=0.5)


@pytest.mark.parametrize("kind", [Conv1d, ConvTranspose1d])
def test_weight_normalisation_is_torchs(kind: type[Conv1d] | type[ConvTranspose1d]) -> None:
    layer = kind(3, 4, 5, stride=1)
    with torch.no_grad():
        layer.direction.copy_(noise(*layer.direction.shape))
        layer.magnitude.copy_(noise(*layer.magnitude.shape, seed=1))
    plain = nn.Conv1d(3, 4, 5) if kind is Conv1d else nn.ConvTranspose1d(3, 4, 5)
    torch.nn.utils.parametrizations.weight_norm(plain)
    with torch.no_grad():
        plain.parametrizations.weight.original0.copy_(layer.magnitude)
        plain.parametrizations.weight.original1.copy_(layer.direction)
        torch.testing.assert_close(layer.effective(), plain.weight)


@pytest.mark.parametrize("kind", [Conv1d, ConvTranspose1d])
def test_a_new_layer_starts_with_its_direction_as_its_weight(kind: type[Conv1d] | type[ConvTranspose1d]) -> None:
    layer = initialised(kind(3, 4, 6, stride=2))
    torch.testing.assert_close(layer.effective(), layer.direction)
    bound = (layer.direction.shape[1] * 6) ** -0.5
    assert layer.bias.abs().max() <= bound


def test_the_group_norm_kind_normalises_over_channels_and_time() -> None:
    layer = initialised(Conv1d(2, 3, 3, norm="time_group_norm"))
    with torch.no_grad():
        out = layer(noise(2, 2, 30) * 100)
    assert not hasattr(layer, "magnitude")
    torch.testing.assert_close(out.mean(dim=(1, 2)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dim=(1, 2), unbiased=False), torch.ones(2), atol=1e-3, rtol=0)


def test_an_unknown_norm_is_refused() -> None:
    with pytest.raises(ConfigError, match="norm_type 'layer_norm'"):
        Conv1d(1, 1, 3, norm="layer_norm")


# piece by piece


def in_pieces(layer: Conv1d | ConvTranspose1d, x: Tensor, size: int) -> Tensor:
    state = layer.state(len(x))
    out = [layer.push(piece, state, last=False) for piece in x.split(size, dim=-1)]
    return torch.cat([*out, layer.push(x[..., :0], state, last=True)], dim=-1)


@pytest.mark.parametrize("pad_mode", ["reflect", "constant", "replicate"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (3, 1, 4), (1, 1, 1), (10, 5, 1), (3, 2, 3)])
@pytest.mark.parametrize("channels", [(3, 4), (40, 2)])
def test_a_convolution_in_pieces_is_that_of_the_whole(
    channels: tuple[int, int], kernel: int, stride: int, dilation: int, causal: bool, pad_mode: str
) -> None:
    layer = Conv1d(*channels, kernel, stride=stride, dilation=dilation, causal=causal, pad_mode=pad_mode)
    layer.initialise()
    with torch.no_grad():
        for length in (1, 2, 5, 6, 7, 12, 13, 40, 41):
            x = torch.randn(2, channels[0], length, generator=torch.Generator().manual_seed(length))
            for size in (1, 4, 40):
                torch.testing.assert_close(in_pieces(layer, x, size), layer(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (10, 5), (7, 3), (3, 3), (9, 2)])
def test_a_transposed_convolution_in_pieces_is_that_of_the_whole(kernel: int, stride: int, causal: bool) -> None:
    layer = ConvTranspose1d(3, 4, kernel, stride=stride, causal=causal)
    layer.initialise()
    with torch.no_grad():
        for length in (1, 2, 9, 150):
            x = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(length))
            for size in (1, 4, 150):
                torch.testing.assert_close(in_pieces(layer, x, size), layer(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("channels", "sizes"),
    [
        ((1, 64), {"kernel": 7}),
        ((64, 32), {"kernel": 3}),
        ((32, 64), {"kernel": 1}),
        ((64, 128), {"kernel": 8, "stride": 4}),
        ((256, 512), {"kernel": 10, "stride": 5}),
        ((512, 1024), {"kernel": 16, "stride": 8}),
        ((64, 1), {"kernel": 7}),
        ((32, 2), {"kernel": 7, "dilation": 2}),
        ((16, 32), {"kernel": 8, "stride": 4}),
        ((24, 48), {"kernel": 8, "stride": 4}),
        ((32, 64), {"kernel": 4, "stride": 2}),
    ],
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_every_shape_in_use_is_right_in_every_precision(
    channels: tuple[int, int], sizes: dict[str, int], dtype: torch.dtype
) -> None:
    layer, x = initialised(Conv1d(*channels, **sizes)), noise(1, channels[0], 203)
    expected = layer(x).detach()
    other = initialised(Conv1d(*channels, **sizes)).to(dtype)
    close = 0.02 * expected.abs().max().item() if dtype is torch.bfloat16 else 1e-4
    with torch.no_grad():
        for found in (other(x.to(dtype)), in_pieces(other, x.to(dtype), 50)):
            assert found.dtype == dtype
            torch.testing.assert_close(found.float(), expected, atol=close, rtol=0)


@pytest.mark.parametrize(
    "sizes", [{"kernel": 8, "stride": 4}, {"kernel": 16, "stride": 8}, {"kernel": 10, "stride": 5}]
)
def test_transposed_shapes_in_use_are_right_in_bfloat16(sizes: dict[str, int]) -> None:
    layer, x = initialised(ConvTranspose1d(32, 16, **sizes)), noise(1, 32, 60)
    expected, other = layer(x).detach(), initialised(ConvTranspose1d(32, 16, **sizes)).to(torch.bfloat16)
    with torch.no_grad():
        for found in (other(x.bfloat16()), in_pieces(other, x.bfloat16(), 7)):
            torch.testing.assert_close(found.float(), expected, atol=0.02 * expected.abs().max().item(), rtol=0)


def test_gradients_in_bfloat16_are_those_of_float32() -> None:
    x, found = noise(1, 24, 41), []
    for dtype in (torch.float32, torch.bfloat16):
        layer = initialised(Conv1d(24, 8, 8, stride=4)).to(dtype)
        given = x.to(dtype, copy=True).requires_grad_()
        layer(given).square().sum().backward()
        found.append((given.grad.float(), layer.direction.grad.float()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, atol=0.05 * one.abs().max().item(), rtol=0)


@pytest.mark.parametrize("layer", [Conv1d(3, 4, 7), Conv1d(3, 4, 8, stride=4), ConvTranspose1d(3, 4, 8, stride=4)])
def test_what_is_said_to_be_final_comes_out(layer: Conv1d | ConvTranspose1d) -> None:
    layer.initialise()
    with torch.no_grad():
        state, out = layer.state(1), 0
        for seen in range(1, 30):
            out += layer.push(torch.randn(1, 3, 1), state, last=False).shape[-1]
            assert out == layer.ready(seen)


def test_a_layer_that_normalises_over_time_has_no_state() -> None:
    for layer in (Conv1d(3, 4, 7, norm="time_group_norm"), ConvTranspose1d(3, 4, 8, stride=4, norm="time_group_norm")):
        with pytest.raises(ConfigError, match="cannot run piece by piece"):
            layer.state(1)


@pytest.mark.parametrize("pad_mode", ["constant", "replicate"])
def test_rows_begin_anew_as_at_their_own_beginning(pad_mode: str) -> None:
    layer = initialised(Conv1d(2, 3, 4, stride=2, causal=True, pad_mode=pad_mode, bias=False))
    assert layer.bias is None
    x, state = noise(3, 2, 14), layer.state(3)
    with torch.no_grad():
        layer.push(x[..., :6], state, last=False)
        state.reset(torch.tensor([False, True, False]))
        # a row that begins anew while it stands still has heard nothing yet
        layer.push(x[..., 6:8] * 3, state, last=False, live=torch.tensor([False, False, True]))
        out = layer.push(x[..., 6:], state, last=True)
        torch.testing.assert_close(out[0], layer(x)[0, :, 3:])
        torch.testing.assert_close(out[1], layer(x[1:2, :, 6:])[0])
        heard = torch.cat([x[2:, :, :6], x[2:, :, 6:8] * 3, x[2:, :, 6:]], dim=-1)
        torch.testing.assert_close(out[2], layer(heard)[0, :, 4:])


def test_rows_go_together_within_a_frame_and_where_the_future_is_heard() -> None:
    row = torch.tensor([True, False])
    aligned = initialised(Conv1d(2, 3, 4, stride=2, causal=True, pad_mode="constant"))
    state = aligned.state(2)
    aligned.push(noise(2, 2, 3), state, last=False)
    with pytest.raises(SessionError, match="whole frames"):
        state.reset(row)
    with pytest.raises(SessionError, match="whole frames"):
        aligned.push(noise(2, 2, 4), aligned.state(2), last=False, live=row)
        aligned.push(noise(2, 2, 1), state, last=False, live=row)
    for options in ({"pad_mode": "reflect", "causal": True}, {"pad_mode": "constant"}):
        with pytest.raises(SessionError, match="begin anew"):
            Conv1d(2, 3, 5, norm="none", **options).state(2).reset(row)
