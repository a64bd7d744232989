"""EnCodec: segments, cross-fades, volumes, and codes that are checked before they reach a table."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.codecs.encodec import EncodecCodec, check_codes, overlap_add
from antiphon.codecs.seanet import SEANetShape
from antiphon.errors import ParamError
from antiphon.nn.conv import Conv1d
from antiphon.nn.transposed_conv import ConvTranspose1d


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(*, normalise: bool = False, **options: Any) -> EncodecCodec:
    sizes = {"channels": 1, "width": 6, "filters": 2, "ratios": (4, 2), "lstm_layers": 1}
    torch.manual_seed(0)
    codec = EncodecCodec(SEANetShape(**{**sizes, **options}), codebooks=3, codebook_size=16, normalise=normalise)
    for layer in codec.modules():
        if isinstance(layer, (Conv1d, ConvTranspose1d)):
            layer.initialise()
    for number, codebook in enumerate(codec.quantizer.codebooks):
        codebook.vectors.copy_(noise(16, 6, seed=number))
    return codec.eval()


@pytest.mark.parametrize("size", [6, 7, 50])
@pytest.mark.parametrize("stride", [1, 3, 5, 6])
@pytest.mark.parametrize("last", [1, 4, 6])
def test_the_cross_fades_weights_sum_to_one(size: int, stride: int, last: int) -> None:
    total = stride * 4 + last
    sound = noise(2, 1, total + size)
    pieces = [sound[..., k * stride : k * stride + size] for k in range(4)] + [sound[..., 4 * stride : total]]
    torch.testing.assert_close(overlap_add(pieces, stride), sound[..., :total], atol=1e-5, rtol=1e-5)


def test_a_cross_fade_goes_from_one_segment_to_the_other() -> None:
    joined = overlap_add([torch.zeros(10), torch.ones(10)], 5)
    assert joined.shape == (15,)
    assert joined[:5].tolist() == [0.0] * 5
    assert joined[10:].tolist() == [1.0] * 5
    assert bool((joined[5:10].diff() > 0).all())


def test_one_segment_comes_back_as_it_was() -> None:
    x = noise(2, 1, 9)
    torch.testing.assert_close(overlap_add([x], 4), x)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint8])
def test_codes_within_the_table_are_taken(dtype: torch.dtype) -> None:
    check_codes(torch.tensor([[0, 15], [7, 3]], dtype=dtype), 16, 2)
    check_codes(torch.zeros(1, 2, 0, dtype=dtype), 16, 2)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (torch.tensor([[0, 16]]), "codes between 0 and 16"),
        (torch.tensor([[-1, 3]]), "codes between -1 and 3"),
        (torch.tensor([[0.0, 1.0]]), "codes of dtype torch.float32"),
        (torch.tensor([[float("nan")]]), "codes of dtype"),
        (torch.tensor([[True]]), "codes of dtype torch.bool"),
        (torch.tensor([[1j]]), "codes of dtype torch.complex64"),
        (torch.tensor([1]), "codes of shape"),
        (torch.zeros(4, 2, dtype=torch.long), "codes of shape"),
    ],
)
def test_codes_outside_the_table_are_refused(codes: Tensor, said: str) -> None:
    with pytest.raises(ParamError, match=said):
        check_codes(codes, 16, 3)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 40, 41])
def test_a_clip_taken_whole_has_one_segment(length: int) -> None:
    codec = made()
    with torch.no_grad():
        codes, scales, missing = codec.encode(noise(2, 1, length), None, codebooks=2, segment=None, stride=None)
        sound = codec.decode(codes, scales, segment=None, stride=None)
    assert codes.shape == (1, 2, 2, -(-length // 8))
    assert (scales, missing) == ([None], 0)
    assert sound.shape == (2, 1, -(-length // 8) * 8)


def test_segments_are_encoded_each_by_itself_and_the_last_is_filled_up() -> None:
    codec, x = made(), noise(1, 1, 100)
    with torch.no_grad():
        codes, _, missing = codec.encode(x, None, codebooks=3, segment=40, stride=32)
        assert codes.shape == (4, 1, 3, 5)
        assert missing == 4  # the last has 4 samples, one frame
        assert not codes[-1, ..., 1:].any()
        for number in range(3):
            piece = x[..., number * 32 : number * 32 + 40]
            alone = codec.encode_segment(piece, 3)[0]
            assert torch.equal(codes[number][..., : alone.shape[-1]], alone)
        sound = codec.decode(codes, [None] * 4, segment=40, stride=32, missing=missing)
    assert sound.shape == (1, 1, 3 * 32 + 8)
    with torch.no_grad():
        parts = [codec.decode_segment(c, None) for c in codes[:3]] + [codec.decode_segment(codes[3][..., :1], None)]
    torch.testing.assert_close(sound, overlap_add(parts, 32))


@pytest.mark.parametrize(("segment", "stride"), [(40, 32), (48, 20), (24, 24), (16, 5)])
def test_segments_serve_every_length(segment: int, stride: int) -> None:
    codec = made()
    with torch.no_grad():
        for length in (1, 7, 25, 33, 41, 65, 73, 100, 109):
            codes, scales, missing = codec.encode(
                noise(1, 1, length), None, codebooks=2, segment=segment, stride=stride
            )
            assert len(codes) == -(-length // stride)
            sound = codec.decode(codes, scales, segment=segment, stride=stride, missing=missing)
            assert length <= sound.shape[-1] < length + 8
            assert sound.isfinite().all()


def test_volumes_are_taken_out_and_put_back() -> None:
    codec, x = made(normalise=True, channels=2), noise(2, 2, 64)
    with torch.no_grad():
        codes, scale = codec.encode_segment(x, 3)
        louder, louder_scale = codec.encode_segment(x * 10, 3)
        sound = codec.decode_segment(codes, scale)
        louder_sound = codec.decode_segment(louder, louder_scale)
    assert torch.equal(codes, louder)
    torch.testing.assert_close(scale[:, 0], x.mean(1).pow(2).mean(-1).sqrt())
    torch.testing.assert_close(louder_sound, sound * 10, atol=1e-4, rtol=1e-4)


def test_silence_has_finite_codes() -> None:
    codec = made(normalise=True)
    with torch.no_grad():
        codes, scale = codec.encode_segment(torch.zeros(1, 1, 32), 3)
        sound = codec.decode_segment(codes, scale)
    assert sound.isfinite().all()
    assert scale.item() < 1e-6


def test_samples_called_padding_are_silent_before_encoding() -> None:
    codec, x = made(), noise(1, 1, 40)
    mask = torch.ones(1, 1, 40)
    mask[..., 20:] = 0
    silenced = x.clone()
    silenced[..., 20:] = 0
    poisoned = x.clone()
    poisoned[..., 20:] = 1e3
    with torch.no_grad():
        expected = codec.encode(silenced, None, codebooks=3, segment=None, stride=None)[0]
        assert torch.equal(codec.encode(poisoned, mask, codebooks=3, segment=None, stride=None)[0], expected)


def test_several_segments_for_a_codec_that_takes_clips_whole_are_refused() -> None:
    with pytest.raises(ParamError, match="2 frames of codes"):
        made().decode(torch.zeros(2, 1, 3, 4, dtype=torch.long), [None, None], segment=None, stride=None)


def test_codes_outside_the_table_never_reach_it() -> None:
    with pytest.raises(ParamError, match="codes between 0 and 99"):
        made().decode(torch.tensor([[[[0], [99], [1]]]]), [None], segment=None, stride=None)
