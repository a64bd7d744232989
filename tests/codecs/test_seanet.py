"""SEANet: lengths, causality, and the sizes of its layers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.codecs.seanet import SEANetDecoder, SEANetEncoder, SEANetShape
from antiphon.nn.conv import Conv1d
from antiphon.nn.transposed_conv import ConvTranspose1d


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shape_of(**options: Any) -> SEANetShape:
    sizes = {"channels": 1, "width": 6, "filters": 2, "ratios": (4, 2), "lstm_layers": 1}
    return SEANetShape(**{**sizes, **options})


def made(kind: type[SEANetEncoder] | type[SEANetDecoder], shape: SEANetShape) -> SEANetEncoder | SEANetDecoder:
    torch.manual_seed(0)
    net = kind(shape).eval()
    for layer in net.modules():
        if isinstance(layer, (Conv1d, ConvTranspose1d)):
            layer.initialise()
    return net


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("ratios", [(4, 2), (3,), (2, 2, 5)])
def test_lengths_follow_the_hop_both_ways(causal: bool, ratios: tuple[int, ...]) -> None:
    shape = shape_of(causal=causal, ratios=ratios)
    encoder, decoder, hop = made(SEANetEncoder, shape), made(SEANetDecoder, shape), math.prod(ratios)
    with torch.no_grad():
        for length in (1, 2, hop - 1, hop, hop + 1, 3 * hop, 5 * hop + 1):
            frames = encoder(noise(1, 1, length))
            assert frames.shape == (1, 6, math.ceil(length / hop))
            assert decoder(frames).shape == (1, 1, frames.shape[-1] * hop)


def test_a_causal_encoder_and_decoder_never_hear_the_future() -> None:
    shape = shape_of(causal=True, pad_mode="constant")
    encoder, decoder = made(SEANetEncoder, shape), made(SEANetDecoder, shape)
    x = noise(1, 1, 64)
    with torch.no_grad():
        frames = encoder(x)
        sound = decoder(frames)
        for cut in (8, 24, 56):
            torch.testing.assert_close(encoder(x[..., :cut]), frames[..., : cut // 8], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(decoder(frames[..., : cut // 8]), sound[..., :cut], atol=1e-5, rtol=1e-4)


def test_the_encoder_takes_the_ratios_backwards() -> None:
    shape = shape_of(ratios=(5, 3, 2))
    encoder, decoder = made(SEANetEncoder, shape), made(SEANetDecoder, shape)
    down = [m.stride for m in encoder.modules() if isinstance(m, Conv1d) and m.stride > 1]
    up = [m.stride for m in decoder.modules() if isinstance(m, ConvTranspose1d)]
    assert (down, up) == ([2, 3, 5], [5, 3, 2])


def test_the_layers_stand_where_published_checkpoints_have_them() -> None:
    """The default 24 kHz codec's numbering: strided layers at 3, 6, 9, 12, the LSTM at 13, the last at 15."""
    encoder = SEANetEncoder(SEANetShape(channels=1, width=128, filters=32, ratios=(8, 5, 4, 2), causal=True))
    decoder = SEANetDecoder(SEANetShape(channels=1, width=128, filters=32, ratios=(8, 5, 4, 2), causal=True))
    strided = [i for i, m in enumerate(encoder.layers) if isinstance(m, Conv1d) and m.stride > 1]
    assert (strided, len(encoder.layers)) == ([3, 6, 9, 12], 16)
    assert [i for i, m in enumerate(decoder.layers) if isinstance(m, ConvTranspose1d)] == [3, 6, 9, 12]
    assert encoder.layers[15].direction.shape == (128, 512, 7)
    assert decoder.layers[0].direction.shape == (512, 128, 7)


@pytest.mark.parametrize("shortcut", [False, True])
def test_the_way_past_a_block_is_plain_or_a_convolution(shortcut: bool) -> None:
    encoder = made(SEANetEncoder, shape_of(shortcut_conv=shortcut, residual_layers=2))
    convolutions = sum(isinstance(m, Conv1d) for m in encoder.modules())
    assert convolutions == 1 + 2 * (2 * (3 if shortcut else 2) + 1) + 1
    with torch.no_grad():
        assert encoder(noise(2, 1, 16)).shape == (2, 6, 2)


def test_an_item_of_a_batch_is_what_it_is_alone() -> None:
    encoder, x = made(SEANetEncoder, shape_of(norm="time_group_norm", channels=2)), noise(3, 2, 40)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x)[1:2], encoder(x[1:2]), atol=1e-5, rtol=1e-5)
