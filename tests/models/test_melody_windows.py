"""Melodies of pieces longer than a window: each window hears the melody from its own time on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .conftest import Pair
from .same_music import ASK
from .tiny_melody import CHROMA_LENGTH, chroma
from .tiny_musicgen import column_ids, distance

# At 50 frames of codes and 7.8125 of chroma a second, 32 of the one are 5 of the other.
STRIDE = 5
WINDOW = {"window_seconds": 1.28, "stride_seconds": 0.64}
FRAMES = 64 + 32 + 32 + 10  # four windows
SAMPLED = {"do_sample": True, "guidance_scale": 3.0, "seed": 11, "max_new_tokens": FRAMES + 3}


def codes_of(pair: Pair, texts: Any, features: torch.Tensor, **asked: Any) -> torch.Tensor:
    settings = {**SAMPLED, **WINDOW, **asked}
    codes: torch.Tensor = pair.ours.generate(**texts, input_features=features, **settings, **ASK).audio_codes
    return codes


def cut(features: torch.Tensor, windows: int = 4) -> torch.Tensor:
    """(B, F, 12) as (B, windows, 9, 12): each window's own frames, the melody being repeated without end."""
    starts = STRIDE * torch.arange(windows)[:, None]
    return features[:, (starts + torch.arange(CHROMA_LENGTH)) % features.shape[1]]


@pytest.mark.parametrize("frames", [4, 9, 12, 23, 60])
def test_a_melody_is_cut_anew_for_each_window_at_its_absolute_time(melody: Pair, texts: Any, frames: int) -> None:
    features = chroma(2, frames)
    whole = codes_of(melody, texts, features)
    assert whole.shape == (2, 4, FRAMES)
    assert torch.equal(whole, codes_of(melody, texts, cut(features)))


def test_each_window_is_one_call_under_its_part_of_the_melody(melody: Pair, texts: Any) -> None:
    greedy = {"do_sample": False, "guidance_scale": 3.0}
    parts = cut(chroma(2, 23))
    whole = codes_of(melody, texts, chroma(2, 23), **greedy)
    made = melody.ours.generate(**texts, **ASK, **greedy, input_features=parts[:, 0], max_new_tokens=64 + 3).audio_codes
    for window in range(1, 4):
        held = made[..., -32:]
        asked = {"input_features": parts[:, window], "decoder_input_ids": held.flatten(0, 1)}
        asked["max_new_tokens"] = min(32, FRAMES - made.shape[-1]) + 3
        more = melody.ours.generate(**texts, **ASK, **greedy, **asked).audio_codes
        made = torch.cat([made, more[..., 32:]], dim=-1)
    assert torch.equal(whole, made)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_melody_changed_in_one_window_only_changes_later_codes_only(melody: Pair, texts: Any, window: int) -> None:
    parts = cut(chroma(2, 60))
    other = parts.clone()
    other[:, window] = other[:, window].roll(5, dims=-1)
    one, two = codes_of(melody, texts, parts), codes_of(melody, texts, other)
    begins = 32 + 32 * window  # where the window's first new frame stands
    assert torch.equal(one[..., :begins], two[..., :begins])
    assert float((one[..., begins:] != two[..., begins:]).float().mean()) > 0.2


def test_a_melody_changed_behind_the_first_windows_frames_leaves_that_window(melody: Pair, texts: Any) -> None:
    features = chroma(2, 60)
    other = torch.cat([features[:, :CHROMA_LENGTH], features[:, CHROMA_LENGTH:].roll(5, dims=-1)], dim=1)
    one, two = codes_of(melody, texts, features), codes_of(melody, texts, other)
    assert torch.equal(one[..., :64], two[..., :64])
    assert float((one[..., 64:] != two[..., 64:]).float().mean()) > 0.2


def test_a_melody_as_long_as_a_stride_is_the_same_in_every_window(melody: Pair, texts: Any) -> None:
    features = chroma(2, STRIDE)
    parts = cut(features)
    assert all(torch.equal(parts[:, 0], parts[:, window]) for window in range(4))
    assert torch.equal(codes_of(melody, texts, features), codes_of(melody, texts, parts))


def test_without_a_melody_every_window_has_none(melody: Pair, texts: Any) -> None:
    asked = {**SAMPLED, **WINDOW}
    plain = melody.ours.generate(**texts, **asked, **ASK).audio_codes
    first_note = torch.zeros(2, 4, CHROMA_LENGTH, 12)
    first_note[..., 0] = 1
    assert torch.equal(plain, codes_of(melody, texts, first_note))


def test_a_longer_piece_begins_as_the_shorter_one_under_its_melody(melody: Pair, texts: Any) -> None:
    features = chroma(2, 23)
    short, long = (codes_of(melody, texts, features, max_new_tokens=frames + 3) for frames in (64 + 32, FRAMES))
    assert torch.equal(long[..., : 64 + 32], short)


@pytest.mark.parametrize("name", ["melody", "melody_stereo"])
def test_windows_of_a_melody_are_streamed_as_they_are_made(name: str, request: Any, texts: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    asked = {**texts, **SAMPLED, **WINDOW, "input_features": chroma(2, 23)}
    pieces = list(pair.ours.stream(**asked, chunk_seconds=0.5))
    assert len(pieces) == 6
    assert distance(torch.cat(pieces, dim=-1), pair.ours.generate(**asked)) < 1e-5


@pytest.mark.parametrize("given", [1, 3, 5])
def test_another_number_of_melodies_than_windows_is_refused_with_both_numbers(
    melody: Pair, texts: Any, given: int
) -> None:
    parts = cut(chroma(2, 60), given)
    with pytest.raises(ValueError, match=rf"input_features for {given} windows and a piece of 4"):
        codes_of(melody, texts, parts)
    with pytest.raises(ValueError, match=rf"input_features for {given} windows and a piece of 4"):
        melody.ours.stream(**texts, input_features=parts, **SAMPLED, **WINDOW)


def test_behind_a_long_sound_the_melody_is_heard_from_where_the_music_is(melody: Pair, texts: Any) -> None:
    held = column_ids(2, 101)[:, 1:]  # two seconds, of which the window behind them sees the last 0.64
    features = chroma(2, 60)
    asked = {"decoder_input_ids": held, "max_new_tokens": 20 + 3}
    begins = round((100 - 32) / 50 * 7.8125)
    own = features[:, begins : begins + CHROMA_LENGTH]
    whole = codes_of(melody, texts, features, **asked)
    assert torch.equal(whole, codes_of(melody, texts, own[:, None], **asked))
    assert not torch.equal(whole, codes_of(melody, texts, features[:, None, :CHROMA_LENGTH], **asked))


def test_several_sequences_of_a_piece_hear_the_melodies_of_their_item(melody: Pair, texts: Any) -> None:
    parts = cut(chroma(2, 60))
    out = codes_of(melody, texts, parts, num_return_sequences=2, seed=[1, 2, 3, 4])
    for sequence in (0, 1):
        alone = codes_of(melody, texts, parts, seed=[1 + sequence, 3 + sequence])
        assert torch.equal(out[sequence::2], alone)
