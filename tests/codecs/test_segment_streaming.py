"""Streaming a codec that works segment by segment: whole segments in, the sound of all of them out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from antiphon.codecs.encodec import EncodecCodec
from antiphon.codecs.seanet import SEANetShape
from antiphon.codecs.segment_streaming import EncodecSegmentDecoderStream, EncodecSegmentEncoderStream
from antiphon.errors import ParamError, SessionError
from antiphon.nn.conv import Conv1d
from antiphon.nn.transposed_conv import ConvTranspose1d

Encoded = tuple[Tensor, list[Tensor | None], int]
BOOKS = 2
CUTS = [(40, 32), (48, 20), (24, 24), (21, 5)]  # segments and strides; frames have 8 samples
FEW = settings(max_examples=40, deadline=None, derandomize=True)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@lru_cache
def made() -> EncodecCodec:
    torch.manual_seed(0)
    shape = SEANetShape(
        channels=2, width=6, filters=2, ratios=(4, 2), lstm_layers=1, norm="time_group_norm", shortcut_conv=True
    )
    codec = EncodecCodec(shape, codebooks=3, codebook_size=16, normalise=True)
    for layer in codec.modules():
        if isinstance(layer, (Conv1d, ConvTranspose1d)):
            layer.initialise()
    for number, book in enumerate(codec.quantizer.codebooks):
        book.vectors.copy_(noise(16, 6, seed=number))
    return codec.eval()


def offline(sound: Tensor, segment: int, stride: int) -> tuple[Encoded, Tensor]:
    with torch.no_grad():
        codes, scales, missing = made().encode(sound, None, codebooks=BOOKS, segment=segment, stride=stride)
        return (codes, scales, missing), made().decode(codes, scales, segment=segment, stride=stride, missing=missing)


def cut(x: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    pieces, start, turn = [], 0, 0
    while start < x.shape[-1]:
        pieces.append(x[..., start : start + sizes[turn % len(sizes)]])
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    return pieces


@pytest.mark.parametrize(("segment", "stride"), CUTS)
@FEW
@given(length=st.integers(1, 200), sizes=st.lists(st.integers(0, 90), min_size=1, max_size=5).filter(any))
def test_pieces_joined_are_the_whole_both_ways(segment: int, stride: int, length: int, sizes: list[int]) -> None:
    sound = noise(2, 2, length, seed=length)
    (codes, scales, missing), expected = offline(sound, segment, stride)
    encoder = EncodecSegmentEncoderStream(made(), BOOKS, segment=segment, stride=stride, batch=2)
    decoder = EncodecSegmentDecoderStream(made(), segment=segment, stride=stride, batch=2)
    whole, heard = [], []
    for piece in cut(sound, sizes):
        part = encoder.push(piece)
        whole.append(part)
        heard.append(decoder.push(*part))
        assert heard[-1].shape[-1] == len(part[0]) * stride
    last_codes, last_scales, ours_missing = encoder.flush()
    heard.append(decoder.flush(last_codes, last_scales, missing=ours_missing))
    got = torch.cat([part for part, _ in [*whole, (last_codes, last_scales)] if len(part)])
    assert torch.equal(got, codes)
    assert ours_missing == missing
    for ours, theirs in zip([s for _, many in whole for s in many] + last_scales, scales, strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.cat(heard, dim=-1), expected, atol=1e-5, rtol=1e-5)


def test_without_more_codes_the_segment_pushed_last_is_the_last() -> None:
    codes, scales = torch.randint(0, 16, (3, 1, BOOKS, 5)), [torch.ones(1, 1) * n for n in (1, 2, 3)]
    with torch.no_grad():
        expected = made().decode(codes, scales, segment=40, stride=32)
    stream = EncodecSegmentDecoderStream(made(), segment=40, stride=32)
    parts = [stream.push(codes[k : k + 1], scales[k : k + 1]) for k in range(3)]
    torch.testing.assert_close(torch.cat([*parts, stream.flush()], dim=-1), expected, atol=1e-5, rtol=1e-5)


def test_less_than_a_segment_is_refused_and_changes_nothing() -> None:
    stream, codes = EncodecSegmentDecoderStream(made(), segment=40, stride=32), torch.zeros(1, 1, BOOKS, 5).long()
    first = stream.push(codes, [None])
    with pytest.raises(ParamError, match=r"a segment of 3 frames. Expected whole segments of 5.*flush"):
        stream.push(codes[..., :3], [None])
    with pytest.raises(ParamError, match="a segment of 6 frames"):
        stream.flush(torch.zeros(1, 1, BOOKS, 6).long(), [None])
    with pytest.raises(ParamError, match="of which 5 are missing"):
        stream.flush(codes, [None], missing=5)
    with pytest.raises(ParamError, match="with 0 volumes"):
        stream.push(codes, [])
    with pytest.raises(ParamError, match="codes between"):
        stream.push(codes + 16, [None])
    rest = stream.flush(codes[..., :3], [None])
    with torch.no_grad():
        expected = made().decode(torch.cat([codes, codes]), [None, None], segment=40, stride=32, missing=2)
    torch.testing.assert_close(torch.cat([first, rest], dim=-1), expected, atol=1e-5, rtol=1e-5)


def test_after_the_end_only_a_reset_helps() -> None:
    decoder = EncodecSegmentDecoderStream(made(), segment=40, stride=32)
    encoder = EncodecSegmentEncoderStream(made(), BOOKS, segment=40, stride=32)
    assert decoder.flush().shape == (1, 2, 0)
    assert encoder.flush()[0].shape[0] == 0
    for call in (
        decoder.flush,
        encoder.flush,
        lambda: encoder.push(noise(1, 2, 4)),
        lambda: decoder.push(torch.zeros(1, 1, 2, 5).long(), [None]),
    ):
        with pytest.raises(SessionError, match="the stream has ended"):
            call()
    encoder.reset()
    decoder.reset()
    sound = noise(1, 2, 100)
    (codes, _, _), expected = offline(sound, 40, 32)
    part, rest = encoder.push(sound), encoder.flush()
    assert torch.equal(torch.cat([part[0], rest[0]]), codes)
    heard = [decoder.push(*part), decoder.flush(rest[0], rest[1], missing=rest[2])]
    torch.testing.assert_close(torch.cat(heard, dim=-1), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("segment", "stride"), [(0, 1), (10, 0), (10, 11)])
def test_sizes_that_leave_gaps_are_refused(segment: int, stride: int) -> None:
    with pytest.raises(ParamError, match=f"segment={segment} with stride={stride}"):
        EncodecSegmentDecoderStream(made(), segment=segment, stride=stride)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ParamError, match="codebooks=4. Expected 1 to 3"):
        EncodecSegmentEncoderStream(made(), 4, segment=40, stride=32)
    for make in (
        lambda: EncodecSegmentDecoderStream(made(), segment=40, stride=32, batch=0),
        lambda: EncodecSegmentEncoderStream(made(), BOOKS, segment=40, stride=32, batch=0),
    ):
        with pytest.raises(ParamError, match="batch=0"):
            make()
    with pytest.raises(ParamError, match="samples of shape"):
        EncodecSegmentEncoderStream(made(), BOOKS, segment=40, stride=32).push(noise(1, 1, 4))
