"""Mimi on whole clips."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from antiphon.codecs import mimi_layers
from antiphon.errors import ParamError

from .tiny_mimi import BOOKS, KINDS, SIZE, WIDTH, made, noise, some_codes


@pytest.mark.parametrize("kind", KINDS)
def test_a_clip_has_a_frame_for_every_beginning_of_one(kind: str) -> None:
    codec = made(kind)
    size = codec.frame_samples
    with torch.no_grad():
        for samples in (1, size - 1, size, size + 1, 5 * size):
            codes = codec.encode(noise(2, codec.channels, samples), BOOKS)
            assert codes.shape == (2, BOOKS, -(-samples // size))
            assert codes.dtype is torch.int64
            assert codec.decode(codes).shape == (2, codec.channels, codes.shape[-1] * size)


@pytest.mark.parametrize("kind", KINDS)
def test_the_future_changes_no_latent_and_no_sample(kind: str) -> None:
    codec, frames = made(kind), 20
    sound = noise(1, codec.channels, frames * codec.frame_samples)
    other = torch.cat([sound[..., : 8 * codec.frame_samples], -sound[..., 8 * codec.frame_samples :]], dim=-1)
    codes = some_codes(1, BOOKS, frames)
    with torch.no_grad():
        one, two = codec.encoder(sound), codec.encoder(other)
        torch.testing.assert_close(one[..., :8], two[..., :8], atol=1e-5, rtol=0)
        assert not torch.allclose(one[..., 8], two[..., 8], atol=1e-2)
        later = torch.cat([codes[..., :8], (codes[..., 8:] + 1) % SIZE], dim=-1)
        one, two = codec.decode(codes), codec.decode(later)
        torch.testing.assert_close(*(y[..., : 8 * codec.frame_samples] for y in (one, two)), atol=1e-5, rtol=0)
        assert not torch.allclose(one, two, atol=1e-2)


def test_the_transformer_sees_a_window_and_no_more() -> None:
    transformer = copy.deepcopy(made().encoder.transformer).double()
    x = noise(1, WIDTH, 40).double()
    changed = x.clone()
    changed[..., 10] *= -1
    with torch.no_grad():
        moved = (transformer(x) - transformer(changed)).abs().amax(dim=1)[0] > 0
    reach = 2 * (transformer.window - 1)  # of two layers
    assert moved.nonzero().flatten().tolist() == list(range(10, 10 + reach + 1))


def test_a_long_sound_passes_the_transformer_in_pieces_that_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    transformer, x = made().encoder.transformer, noise(2, WIDTH, 64)
    with torch.no_grad():
        whole = transformer(x)
        monkeypatch.setattr(mimi_layers, "_MANY_COLUMNS", 20)
        torch.testing.assert_close(transformer(x), whole, atol=1e-5, rtol=0)


def test_with_gradients_the_numbers_are_the_same_and_reach_every_weight() -> None:
    codec, sound = made(), noise(1, 1, 10 * made().frame_samples)
    with torch.no_grad():
        latents = codec.encoder(sound)
        decoded = codec.decoder(latents)
    torch.testing.assert_close(codec.encoder(sound), latents, atol=1e-5, rtol=0)
    again = codec.decoder(codec.encoder(sound))
    torch.testing.assert_close(again, decoded, atol=1e-4, rtol=0)
    again.square().mean().backward()
    sides = [*codec.encoder.named_parameters(), *codec.decoder.named_parameters()]
    assert [name for name, weight in sides if weight.grad is None or not weight.grad.any()] == []
    codec.zero_grad()


def test_fewer_codebooks_are_the_first_of_all() -> None:
    codec, sound = made("grouped heads, two semantic"), noise(1, 1, 300)
    with torch.no_grad():
        codes = codec.encode(sound, BOOKS)
        for count in (2, 3):
            assert torch.equal(codec.encode(sound, count), codes[:, :count])
            assert codec.decode(codes[:, :count]).shape == codec.decode(codes).shape


@pytest.mark.parametrize("kind", ["small", "one frame for four"])
def test_for_whole_frames_filling_up_layer_by_layer_and_before_are_one(kind: str) -> None:
    codec = made(kind)
    size = codec.frame_samples
    sound = noise(1, 1, 6 * size - 3)
    with torch.no_grad():
        padded = codec.encoder(F.pad(sound, (0, 3)))
        torch.testing.assert_close(codec.encoder(sound)[..., :-1], padded[..., :-1], atol=1e-5, rtol=0)
        # of a frame that is not whole the layers make something else than of silence, as in the reference
        assert not torch.allclose(codec.encoder(sound)[..., -1], padded[..., -1], atol=1e-3)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (torch.full((1, BOOKS, 2), SIZE), f"codes between {SIZE} and {SIZE}"),
        (torch.zeros(1, BOOKS, 2), "dtype torch.float32"),
        (torch.zeros(1, BOOKS + 1, 2, dtype=torch.int64), "at most 4 codebooks"),
    ],
)
def test_codes_of_another_codec_are_refused(codes: torch.Tensor, said: str) -> None:
    with pytest.raises(ParamError, match=said):
        made().decode(codes)
