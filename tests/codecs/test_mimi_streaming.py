"""Mimi frame by frame: however sound comes, codes and samples are those of the whole; and each row for itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from antiphon.codecs.frame_buffer import FrameBuffer
from antiphon.codecs.mimi import MimiCodec
from antiphon.errors import ConfigError, ParamError

from .tiny_mimi import BOOKS, KINDS, cut, made, noise, some_codes

FEW = settings(max_examples=6, deadline=None, derandomize=True)


def encoded(codec: MimiCodec, sound: Tensor, sizes: list[int]) -> Tensor:
    """The codes of ``sound`` that comes in pieces of these sizes, the last frame filled up with silence."""
    state, buffer = codec.encoder_state(len(sound)), FrameBuffer(len(sound), codec.channels, codec.frame_samples)
    codes = [codec.encode_frames(buffer.push(piece), state) for piece in cut(sound, sizes)]
    return torch.cat([*codes, codec.encode_frames(buffer.flush(), state)], dim=-1)


def assert_same_codes(codec: MimiCodec, sound: Tensor, ours: Tensor, theirs: Tensor) -> None:
    """Equal, or the two words differ in distance by less than rounding can tell at the first book that differs."""
    assert ours.shape == theirs.shape
    if torch.equal(ours, theirs):
        return
    frames, split = codec.encoder(sound).detach().double(), codec.quantizer.split
    for part, books in ((codec.quantizer.semantic, slice(split)), (codec.quantizer.acoustic, slice(split, None))):
        left = frames if part.project_in is None else part.project_in.weight.double()[..., 0] @ frames
        for book, a, b in zip(part.codebooks, ours[:, books].unbind(1), theirs[:, books].unbind(1), strict=True):
            words = book.codewords().double()
            distances = [(left - words[index].transpose(1, 2)).norm(dim=1) for index in (a, b)]
            assert (distances[0] - distances[1]).abs().max().item() < 1e-4
            left = torch.where((a == b)[:, None], left - words[b].transpose(1, 2), torch.zeros_like(left))
    assert (ours != theirs).float().mean().item() < 0.01


# F070: any cut


@pytest.mark.parametrize("kind", KINDS)
def test_latents_frame_by_frame_are_those_of_the_whole(kind: str) -> None:
    codec = made(kind)
    sound = noise(2, codec.channels, 25 * codec.frame_samples)
    with torch.no_grad():
        state, whole = codec.encoder_state(2), codec.encoder(sound)
        pieces = [
            state.padding.push(codec.encoder, frame, cache=state.ring)
            for frame in sound.split(codec.frame_samples, dim=-1)
        ]
    torch.testing.assert_close(torch.cat(pieces, dim=-1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_and_samples_frame_by_frame_are_those_of_the_whole(kind: str) -> None:
    codec = made(kind)
    sound = noise(2, codec.channels, 25 * codec.frame_samples)
    with torch.no_grad():
        codes = codec.encode(sound, BOOKS)
        assert_same_codes(codec, sound, encoded(codec, sound, [codec.frame_samples]), codes)
        state, heard = codec.decoder_state(2), codec.decode(codes)
        pieces = [codec.decode_frames(piece, state) for piece in cut(codes, [1, 3])]
    torch.testing.assert_close(torch.cat(pieces, dim=-1), heard, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [0, 1, 1919, 1920, 1921, 1_000_000])
def test_F070_pieces_around_the_size_of_a_frame_change_no_bit(size: int) -> None:
    codec = made("published ratios")
    assert codec.frame_samples == 1920
    sound = noise(1, 1, 3 * 1920 + 700)
    sizes = {0: [0, 0, 5000], 1: [1] * 400 + [3000]}.get(size, [size])
    assert torch.equal(encoded(codec, sound, sizes), encoded(codec, sound, [1920]))


@FEW
@given(samples=st.integers(1, 600), sizes=st.lists(st.integers(0, 70), min_size=1, max_size=6).filter(any))
def test_F070_no_cut_of_the_sound_changes_a_bit(samples: int, sizes: list[int]) -> None:
    codec, sound = made(), noise(2, 1, samples)
    whole = encoded(codec, sound, [samples])
    assert whole.shape[-1] == -(-samples // codec.frame_samples)
    assert torch.equal(encoded(codec, sound, sizes), whole)


@FEW
@given(frames=st.integers(1, 60), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any))
def test_F070_no_cut_of_the_codes_changes_a_bit(frames: int, sizes: list[int]) -> None:
    codec, codes = made(), some_codes(2, BOOKS, frames)
    whole = codec.decode_frames(codes, codec.decoder_state(2))
    state = codec.decoder_state(2)
    pieces = [codec.decode_frames(piece, state) for piece in cut(codes, sizes)]
    assert torch.equal(torch.cat(pieces, dim=-1), whole)
    torch.testing.assert_close(whole, codec.decode(codes).detach(), atol=1e-5, rtol=0)


# F071: each row and each session for itself


class Coder:
    """Either direction as one thing to test."""

    def __init__(self, codec: MimiCodec, direction: str) -> None:
        self.codec, self.decodes = codec, direction == "decoder"

    def state(self, batch: int) -> Any:
        return self.codec.decoder_state(batch) if self.decodes else self.codec.encoder_state(batch)

    def frames(self, batch: int, count: int, seed: int = 0) -> list[Tensor]:
        if self.decodes:
            return list(some_codes(batch, BOOKS, count, seed=seed).split(1, dim=-1))
        sound = noise(batch, self.codec.channels, count * self.codec.frame_samples, seed=seed)
        return list(sound.split(self.codec.frame_samples, dim=-1))

    def run(self, frames: list[Tensor], state: Any, live: Tensor | None = None) -> Tensor:
        step: Any = self.codec.decode_frames if self.decodes else self.codec.encode_frames
        return torch.cat([step(frame, state, live) for frame in frames], dim=-1)

    def cells(self, out: Tensor) -> Tensor:
        """What comes out, (B, ..., frames, one frame's)."""
        return out.unflatten(-1, (-1, self.codec.frame_samples if self.decodes else 1))


@pytest.fixture(params=["encoder", "decoder"])
def direction(request: Any) -> str:
    return str(request.param)


@pytest.mark.parametrize("kind", ["small", "replicated beginning", "no change of rate"])
def test_F071_a_row_begins_anew_alone(kind: str, direction: str) -> None:
    coder = Coder(made(kind), direction)
    frames, untouched, state = coder.frames(3, 24), coder.state(3), coder.state(3)
    expected = coder.cells(coder.run(frames, untouched))
    first = coder.run(frames[:10], state)
    state.reset([1])
    second = coder.run(frames[10:], state)
    out = coder.cells(torch.cat([first, second], dim=-1))
    for row in (0, 2):
        torch.testing.assert_close(out[row], expected[row], atol=0 if direction == "encoder" else 1e-6, rtol=0)
    anew = coder.cells(coder.run(frames[10:], coder.state(3)))
    torch.testing.assert_close(out[1][..., 10:, :], anew[1], atol=0 if direction == "encoder" else 1e-6, rtol=0)
    assert not torch.equal(out[1], expected[1])


@pytest.mark.parametrize("kind", ["small", "replicated beginning"])
def test_F071_a_row_stands_still_alone(kind: str, direction: str) -> None:
    coder = Coder(made(kind), direction)
    frames, state = coder.frames(2, 20), coder.state(2)
    expected = coder.cells(coder.run(frames, coder.state(2)))
    live, out = torch.tensor([True, False]), []
    for number, frame in enumerate(frames):
        out.append(coder.run([frame], state, live if 4 <= number < 9 else None))
    heard = coder.cells(torch.cat(out, dim=-1))
    torch.testing.assert_close(heard[0], expected[0], atol=1e-6, rtol=0)
    assert not heard[1][..., 4:9, :].any()
    kept = frames[:4] + frames[9:]
    alone = coder.cells(coder.run(kept, coder.state(2)))
    going = torch.cat([heard[1][..., :4, :], heard[1][..., 9:, :]], dim=-2)
    torch.testing.assert_close(going, alone[1], atol=1e-6, rtol=0)


def test_F071_a_row_that_begins_while_it_stands_still_begins_later(direction: str) -> None:
    coder = Coder(made("replicated beginning"), direction)
    frames, state, live = coder.frames(2, 12), coder.state(2), torch.tensor([True, False])
    coder.run(frames[:3], state)
    state.reset(torch.tensor([False, True]))
    coder.run(frames[3:6], state, live)
    out = coder.cells(coder.run(frames[6:], state))
    anew = coder.cells(coder.run(frames[6:], coder.state(2)))
    torch.testing.assert_close(out[1], anew[1], atol=1e-6, rtol=0)


def test_F071_a_state_that_was_reset_is_a_new_one_bit_by_bit(direction: str) -> None:
    coder = Coder(made(), direction)
    frames, state = coder.frames(2, 15), coder.state(2)
    first = coder.run(frames, state)
    coder.run(coder.frames(2, 4, seed=9), state)
    state.reset()
    assert torch.equal(coder.run(frames, state), first)


def test_F071_two_sessions_of_one_codec_do_not_mix(direction: str) -> None:
    coder = Coder(made(), direction)
    ways = [coder.frames(1, 20, seed=seed) for seed in (1, 2)]
    states, parts = [coder.state(1) for _ in ways], [list[Tensor](), list[Tensor]()]
    for pair in zip(*ways, strict=True):
        for part, state, frame in zip(parts, states, pair, strict=True):
            part.append(coder.run([frame], state))
    for part, frames in zip(parts, ways, strict=True):
        assert torch.equal(torch.cat(part, dim=-1), coder.run(frames, coder.state(1)))


def test_a_row_is_what_it_is_alone(direction: str) -> None:
    coder = Coder(made(), direction)
    frames = coder.frames(3, 15)
    together = coder.cells(coder.run(frames, coder.state(3)))
    for row in range(3):
        alone = coder.cells(coder.run([frame[row : row + 1] for frame in frames], coder.state(1)))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)


# F072: for hours


def test_F072_what_a_state_holds_does_not_grow_past_the_window(direction: str) -> None:
    coder = Coder(made(), direction)
    state, sizes = coder.state(2), set()
    for number, frame in enumerate(coder.frames(2, 300)):
        coder.run([frame], state)
        if number > coder.codec.shape.transformer.window:
            sizes.add(state.state_bytes)
    assert len(sizes) == 1
    assert 0 < sizes.pop() < 64 * 1024


def test_F072_past_the_window_streams_are_still_the_whole() -> None:
    codec = made("one frame for four")
    sound = noise(1, 1, 150 * codec.frame_samples)
    with torch.no_grad():
        whole = codec.encode(sound, BOOKS)
        assert_same_codes(codec, sound, encoded(codec, sound, [999]), whole)
        heard = codec.decode_frames(whole, codec.decoder_state(1))
        torch.testing.assert_close(heard, codec.decode(whole), atol=1e-5, rtol=0)


# what is refused


def test_fewer_codebooks_can_be_asked_for() -> None:
    codec, sound = made(), noise(1, 1, 10 * made().frame_samples)
    codes = codec.encode_frames(sound, codec.encoder_state(1))
    assert torch.equal(codec.encode_frames(sound, codec.encoder_state(1, 2)), codes[:, :2])
    heard = codec.decode_frames(codes[:, :2], codec.decoder_state(1, 3))
    torch.testing.assert_close(heard, codec.decode(codes[:, :2]).detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch", [0, -1])
def test_a_state_without_rows_is_refused(batch: int, direction: str) -> None:
    with pytest.raises(ParamError, match=f"batch={batch}"):
        Coder(made(), direction).state(batch)


@pytest.mark.parametrize("codebooks", [0, BOOKS + 1])
def test_codebooks_that_there_are_not_are_refused(codebooks: int) -> None:
    for make in (made().encoder_state, made().decoder_state):
        with pytest.raises(ParamError, match=f"codebooks={codebooks}. Expected 1 to {BOOKS}"):
            make(1, codebooks)


@pytest.mark.parametrize(
    "options", [{"causal": False}, {"pad_mode": "reflect"}, {"trim_right_ratio": 0.5}], ids=lambda options: str(options)
)
def test_a_codec_that_looks_ahead_is_refused(options: dict[str, Any], direction: str) -> None:
    with pytest.raises(ConfigError, match="cannot run frame by frame"):
        Coder(made("small", **options), direction).state(1)


@pytest.mark.parametrize(
    "samples",
    [noise(1, 1, 17), noise(2, 1, 16), noise(1, 2, 16), noise(1, 16), torch.zeros(1, 1, 16, dtype=torch.int16)],
    ids=lambda samples: f"{tuple(samples.shape)} {samples.dtype}",
)
def test_samples_of_another_form_are_refused_and_the_state_stays(samples: Tensor) -> None:
    codec, frames = made(), noise(1, 1, 32)
    state = codec.encoder_state(1)
    first = codec.encode_frames(frames[..., :16], state)
    with pytest.raises(ParamError, match=r"samples of shape .*a multiple of 16"):
        codec.encode_frames(samples, state)
    both = torch.cat([first, codec.encode_frames(frames[..., 16:], state)], dim=-1)
    assert torch.equal(both, codec.encode_frames(frames, codec.encoder_state(1)))


@pytest.mark.parametrize(
    "codes", [some_codes(2, BOOKS, 1), some_codes(1, BOOKS + 1, 1), some_codes(BOOKS, 1), some_codes(1, BOOKS, 1).int()]
)
def test_codes_of_another_form_are_refused(codes: Tensor) -> None:
    with pytest.raises(ParamError, match=r"codes of shape .*Expected \(1, 1 to 4, frames\) of int64"):
        made().decode_frames(codes, made().decoder_state(1))


@pytest.mark.parametrize("rows", [[2], [-1], torch.tensor([5]), torch.tensor([True]), [0.5]])
def test_rows_that_there_are_not_are_refused(rows: Any, direction: str) -> None:
    with pytest.raises(ParamError, match="rows"):
        Coder(made(), direction).state(2).reset(rows)


def test_live_rows_of_another_form_are_refused(direction: str) -> None:
    coder = Coder(made(), direction)
    for live in (torch.tensor([True]), torch.tensor([1, 0])):
        with pytest.raises(ParamError, match="live"):
            coder.run(coder.frames(2, 1), coder.state(2), live)


def test_no_frames_give_nothing_and_no_gradient_hangs_on_what_comes_out() -> None:
    codec = made()
    state = codec.encoder_state(2)
    assert codec.encode_frames(noise(2, 1, 0), state).shape == (2, BOOKS, 0)
    heard = codec.decode_frames(some_codes(2, BOOKS, 0), codec.decoder_state(2))
    assert heard.shape == (2, 1, 0)
    assert not codec.decode_frames(some_codes(2, BOOKS, 1), codec.decoder_state(2)).requires_grad
