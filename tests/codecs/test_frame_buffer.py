"""Pieces of any length become whole frames."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.codecs.frame_buffer import FrameBuffer
from antiphon.errors import ParamError

from .tiny_mimi import cut, noise


@settings(max_examples=30, deadline=None, derandomize=True)
@given(samples=st.integers(0, 100), sizes=st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any))
def test_what_comes_out_is_what_came_in_whole_frames_and_silence_at_the_end(samples: int, sizes: list[int]) -> None:
    sound, buffer, out = noise(2, 3, samples), FrameBuffer(2, 3, 8), []
    for piece in cut(sound, sizes):
        out.append(buffer.push(piece))
        assert out[-1].shape[-1] % 8 == 0
        assert buffer.held_samples < 8
    out.append(buffer.flush())
    joined = torch.cat(out, dim=-1)
    assert joined.shape[-1] == -(-samples // 8) * 8
    assert torch.equal(joined[..., :samples], sound)
    assert not joined[..., samples:].any()
    assert buffer.held_samples == 0


def test_the_callers_memory_is_not_kept() -> None:
    buffer, piece = FrameBuffer(1, 1, 4), torch.ones(1, 1, 3)
    buffer.push(piece)
    piece.zero_()
    assert buffer.push(torch.ones(1, 1, 1)).tolist() == [[[1, 1, 1, 1]]]


def test_what_is_held_can_be_forgotten() -> None:
    buffer = FrameBuffer(1, 1, 4)
    buffer.push(torch.ones(1, 1, 3))
    buffer.clear()
    assert buffer.push(torch.zeros(1, 1, 4)).tolist() == [[[0, 0, 0, 0]]]


@pytest.mark.parametrize(
    "samples", [noise(1, 1, 4), noise(2, 2, 4), noise(2, 4), torch.zeros(2, 1, 4, dtype=torch.int16)]
)
def test_samples_of_another_form_are_refused_and_what_is_held_stays(samples: torch.Tensor) -> None:
    buffer = FrameBuffer(2, 1, 4)
    buffer.push(noise(2, 1, 3))
    with pytest.raises(ParamError, match=r"samples of shape .*Expected \(2, 1, samples\), floating point"):
        buffer.push(samples)
    assert buffer.held_samples == 3


@pytest.mark.parametrize("sizes", [(0, 1, 4), (1, 0, 4), (1, 1, 0)])
def test_sizes_below_one_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ParamError, match="frames of .* Expected at least 1 of each"):
        FrameBuffer(*sizes)
