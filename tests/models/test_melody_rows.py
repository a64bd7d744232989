"""Independent rows of Melody: an item is what it would be alone, whatever its neighbours' texts and melodies are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .conftest import Pair
from .same_music import ASK
from .tiny_melody import chroma, null
from .tiny_musicgen import distance

PROMPTS = ["80s pop track", "rock song with loud guitars and heavy drums", "blues", "groovy saxophone"]
LENGTHS = [4, 9, 7, 20]  # frames of melody, of which nine are heard


def melodies(numbers: list[int]) -> dict[str, torch.Tensor]:
    """The items' melodies, filled up with the first note, and which frames are theirs."""
    rows = [chroma(1, LENGTHS[n], seed=n)[0] for n in numbers]
    features = null(len(rows), max(len(row) for row in rows))
    mask = torch.zeros(features.shape[:2], dtype=torch.long)
    for number, row in enumerate(rows):
        features[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {"input_features": features, "input_features_mask": mask}


def made(pair: Pair, numbers: list[int], **settings: Any) -> Any:
    inputs = pair.processor(text=[PROMPTS[n] for n in numbers], padding=True, return_tensors="pt")
    asked = {"guidance_scale": 3.0, "independent_rows": True, "seed": [5 + n for n in numbers], **settings}
    return pair.ours.generate(**inputs, **asked, **ASK)


@pytest.mark.parametrize("sampling", [True, False])
def test_an_item_of_200_steps_depends_on_no_neighbour(melody: Pair, sampling: bool) -> None:
    def codes(numbers: list[int]) -> torch.Tensor:
        settings = {"do_sample": sampling, "max_new_tokens": 200, **melodies(numbers)}
        out: torch.Tensor = made(melody, numbers, **settings).audio_codes
        return out

    batch = codes([0, 1, 3])
    assert batch.shape == (3, 4, 197)
    for place, number in enumerate([0, 1, 3]):
        assert torch.equal(batch[place], codes([number])[0])
    assert torch.equal(codes([3, 1]), batch[[2, 1]])


def test_alone_a_mask_cuts_the_melody_to_its_own_frames(melody: Pair) -> None:
    padded = melodies([0, 3])
    row = {name: value[:1] for name, value in padded.items()}
    asked = {"do_sample": False, "max_new_tokens": 12}
    cut = made(melody, [0], **asked, **row).audio_codes
    assert torch.equal(cut, made(melody, [0], **asked, input_features=chroma(1, LENGTHS[0], seed=0)).audio_codes)
    uncut = made(melody, [0], **asked, input_features=row["input_features"]).audio_codes
    assert not torch.equal(cut, uncut)


def test_the_mask_of_the_melody_counts_without_independent_rows_too(melody: Pair, texts: Any) -> None:
    short, length = chroma(2, 4), {"max_new_tokens": 12, "do_sample": False}
    padded = torch.cat([short, null(2, 5)], dim=1)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0, 0]] * 2)
    masked = melody.ours.generate(**texts, **length, input_features=padded, input_features_mask=mask)
    assert torch.equal(masked, melody.ours.generate(**texts, **length, input_features=short))


def test_one_row_alone_is_the_documented_call(melody: Pair) -> None:
    asked = {"do_sample": False, "max_new_tokens": 12, **melodies([1])}
    assert torch.equal(
        made(melody, [1], **asked).audio_codes, made(melody, [1], **asked, independent_rows=False).audio_codes
    )


def test_without_independent_rows_the_pads_of_a_text_are_felt_as_in_the_reference(melody: Pair) -> None:
    asked = {"do_sample": False, "max_new_tokens": 12, "independent_rows": False}
    both = made(melody, [1, 2], **asked).audio_codes
    assert not torch.equal(both[1], made(melody, [2], **asked).audio_codes[0])


@pytest.mark.parametrize("sampling", [True, False])
def test_batch_invariant_items_under_melodies_equal_those_alone_bit_for_bit(melody: Pair, sampling: bool) -> None:
    asked = {"do_sample": sampling, "max_new_tokens": 30, "batch_invariant": True}
    both = made(melody, [0, 3], **asked, **melodies([0, 3])).sequences
    for number, item in enumerate((0, 3)):
        assert torch.equal(both[number], made(melody, [item], **asked, **melodies([item])).sequences[0])


def test_independent_rows_hold_over_windows_too(melody: Pair) -> None:
    asked = {"do_sample": True, "max_new_tokens": 120, "window_seconds": 1.28, "stride_seconds": 0.64}
    both = made(melody, [0, 3], **asked, **melodies([0, 3])).audio_codes
    for number, item in enumerate((0, 3)):
        assert torch.equal(both[number], made(melody, [item], **asked, **melodies([item])).audio_codes[0])


def test_independent_rows_are_streamed_as_they_are_made(melody: Pair) -> None:
    numbers = [0, 1]
    inputs = melody.processor(text=[PROMPTS[n] for n in numbers], padding=True, return_tensors="pt")
    asked = {"do_sample": True, "seed": 5, "max_new_tokens": 40, "independent_rows": True, **melodies(numbers)}
    pieces = list(melody.ours.stream(**inputs, **asked, chunk_seconds=0.2))
    assert distance(torch.cat(pieces, dim=-1), melody.ours.generate(**inputs, **asked)) < 1e-5


def test_items_that_go_on_from_sounds_of_different_lengths_equal_each_alone(melody: Pair) -> None:
    sounds = torch.randn(2, 1, 640 * 8, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 640 * 8, dtype=torch.long)
    mask[0, : 640 * 3] = 0
    asked = {"do_sample": False, "max_new_tokens": 20}
    both = made(melody, [0, 3], **asked, **melodies([0, 3]), input_values=sounds, padding_mask=mask)
    alone = made(melody, [0], **asked, **melodies([0]), input_values=sounds[:1, :, 640 * 3 :])
    other = made(melody, [3], **asked, **melodies([3]), input_values=sounds[1:])
    assert torch.equal(both.audio_codes[0, :, 3:], alone.audio_codes[0])  # behind three frames of silence
    assert torch.equal(both.audio_codes[1], other.audio_codes[0])


def test_an_item_without_text_and_melody_is_what_it_is_alone(melody: Pair) -> None:
    nothing = melody.processor.get_unconditional_inputs(num_samples=1)
    both = melody.processor(text=[PROMPTS[1], ""], padding=True, return_tensors="pt")
    both["attention_mask"][1] = 0
    heard = {"input_features": torch.cat([chroma(1, 7), null(1, 7)])}
    asked = {"do_sample": True, "seed": [5, 6], "max_new_tokens": 20, "independent_rows": True}
    together = melody.ours.generate(**both, **heard, **asked, **ASK).audio_codes
    assert torch.equal(together[1], melody.ours.generate(**nothing, **{**asked, "seed": 6}, **ASK).audio_codes[0])
    assert torch.equal(together[1], melody.ours.generate(**{**asked, "seed": 6}, **ASK).audio_codes[0])
