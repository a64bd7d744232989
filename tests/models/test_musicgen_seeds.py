"""Item seeds and independent rows: an item is what it would be alone, whoever its neighbours are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import antiphon

from . import tiny_musicgen as tiny
from .conftest import Pair
from .tiny_musicgen import distance, sound

PROMPTS = ["80s pop track", "rock song with loud guitars and heavy drums", "blues", "groovy saxophone"]


def codes_of(pair: Pair, prompts: list[str], model: Any = None, **settings: Any) -> torch.Tensor:
    inputs = pair.processor(text=prompts, padding=True, return_tensors="pt")
    asked = {"do_sample": True, "guidance_scale": 3.0, "max_new_tokens": 40, "independent_rows": True, **settings}
    out = (model or pair.ours).generate(**inputs, **asked, return_dict_in_generate=True)
    return out.audio_codes


@pytest.mark.parametrize("sampling", [True, False])
def test_an_item_of_200_steps_does_not_depend_on_batch_order_or_neighbours(either: Pair, sampling: bool) -> None:
    settings = {"do_sample": sampling, "max_new_tokens": 200}
    batch = codes_of(either, PROMPTS, seed=[5, 6, 7, 8], **settings)
    assert batch.shape == (4, 4, 197)
    for number, prompt in enumerate(PROMPTS):
        assert torch.equal(batch[number], codes_of(either, [prompt], seed=[5 + number], **settings)[0])
    swapped = codes_of(either, PROMPTS[::-1], seed=[8, 7, 6, 5], **settings)
    assert torch.equal(swapped.flip(0), batch)
    pair = codes_of(either, [PROMPTS[2], PROMPTS[1]], seed=[7, 6], **settings)
    assert torch.equal(pair, batch[[2, 1]])


@pytest.mark.parametrize("sampling", [True, False])
def test_in_double_precision_1500_steps_do_not_depend_on_the_batch(tmp_path: Any, mono: Pair, sampling: bool) -> None:
    model = tiny.musicgen(1, hidden_size=16, num_attention_heads=2, num_hidden_layers=1, ffn_dim=16)
    model.save_pretrained(tmp_path)
    ours = antiphon.MusicgenForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float64)
    settings = {"model": ours, "max_new_tokens": 1500, "do_sample": sampling}
    both = codes_of(mono, PROMPTS[:2], seed=[1, 2], **settings)
    assert both.shape[-1] == 1497
    assert torch.equal(both[1], codes_of(mono, PROMPTS[1:2], seed=[2], **settings)[0])


def test_a_plain_seed_numbers_the_items_and_is_reported(either: Pair) -> None:
    inputs = either.processor(text=PROMPTS, padding=True, return_tensors="pt")
    asked = {"max_new_tokens": 12, "return_dict_in_generate": True, "do_sample": True}
    out = either.ours.generate(**inputs, **asked, seed=5)
    assert out.seeds == [5, 6, 7, 8]
    assert torch.equal(out.audio_codes, either.ours.generate(**inputs, **asked, seed=[5, 6, 7, 8]).audio_codes)
    drawn = either.ours.generate(**inputs, **asked)
    assert len(set(drawn.seeds)) == 4
    assert torch.equal(drawn.audio_codes, either.ours.generate(**inputs, **asked, seed=drawn.seeds).audio_codes)


def test_two_prompts_with_one_seed_give_different_codes_and_one_prompt_the_same(either: Pair) -> None:
    codes = codes_of(either, [PROMPTS[0], PROMPTS[1], PROMPTS[0]], seed=[3, 3, 3])
    assert torch.equal(codes[0], codes[2])
    assert float((codes[0] != codes[1]).float().mean()) > 0.3


def test_seeds_of_one_prompt_give_different_codes(either: Pair) -> None:
    codes = codes_of(either, [PROMPTS[0]] * 2, seed=[3, 4])
    assert float((codes[0] != codes[1]).float().mean()) > 0.3


def test_sampled_codes_follow_the_softmax_of_the_scores(mono: Pair) -> None:
    asked = {"do_sample": True, "max_new_tokens": 7, "top_k": 0, "temperature": 0.5, "guidance_scale": 1.0}
    out = mono.ours.decoder.generate(
        **asked, seed=0, num_return_sequences=3000, return_dict_in_generate=True, output_scores=True
    )
    chances = torch.softmax(out.scores[0][0].double(), dim=-1)  # the first codebook's first token
    counts = torch.bincount(out.sequences[:, 0, 0], minlength=tiny.CODES).double()
    likely = chances * 3000 >= 5
    expected = torch.cat([chances[likely], chances[~likely].sum()[None]]) * 3000
    observed = torch.cat([counts[likely], counts[~likely].sum()[None]])
    statistic = float(((observed - expected) ** 2 / expected.clamp(min=1e-9)).sum())
    freedom = len(expected) - 1
    assert freedom > 5
    assert statistic < freedom + 4 * (2 * freedom) ** 0.5  # four deviations of the chi-square distribution


def test_independent_rows_of_continued_sounds_equal_each_alone(mono: Pair) -> None:
    clips = [sound(3000, seed=4).numpy(), sound(7000, seed=5).numpy()]
    shared = {"do_sample": True, "max_new_tokens": 20, "independent_rows": True, "return_dict_in_generate": True}

    def make(numbers: list[int]) -> Any:
        inputs = mono.processor(
            audio=[clips[n] for n in numbers],
            sampling_rate=32000,
            text=[PROMPTS[n] for n in numbers],
            padding=True,
            return_tensors="pt",
        )
        return inputs, mono.ours.generate(**inputs, **shared, seed=[50 + n for n in numbers])

    inputs, both = make([0, 1])
    assert both.audio_lengths == [(5 + 17) * tiny.HOP, (11 + 17) * tiny.HOP]
    decoded = mono.processor.batch_decode(both.sequences, padding_mask=inputs["padding_mask"])
    for number in (0, 1):
        alone = make([number])[1]
        length = both.audio_lengths[number]
        silent = 7000 - len(clips[number])
        row = both.sequences[number, :, silent : silent + length]
        assert distance(row, alone.sequences[0]) < 1e-5
        assert decoded[number].shape[-1] >= length
        assert not both.sequences[number, :, :silent].any()


def test_without_independent_rows_the_pads_of_a_neighbour_are_felt_as_in_the_reference(mono: Pair) -> None:
    inputs = mono.processor(
        audio=[sound(3000, seed=4).numpy(), sound(7000, seed=5).numpy()],
        sampling_rate=32000,
        text=PROMPTS[:2],
        padding=True,
        return_tensors="pt",
    )
    asked = {"do_sample": False, "max_new_tokens": 20, "return_dict_in_generate": True}
    plain = mono.ours.generate(**inputs, **asked)
    assert plain.audio_codes.shape == (2, 4, 11 + 17)
    apart = mono.ours.generate(**inputs, **asked, independent_rows=True)
    assert not torch.equal(plain.audio_codes, apart.audio_codes)


@pytest.mark.parametrize("sampling", [True, False])
def test_batch_invariant_items_equal_those_alone_bit_for_bit(either: Pair, sampling: bool) -> None:
    inputs = either.processor(text=PROMPTS[:2], padding=True, return_tensors="pt")
    asked = {"do_sample": sampling, "max_new_tokens": 30, "batch_invariant": True}
    both = either.ours.generate(**inputs, **asked, seed=[1, 2])
    for number in (0, 1):
        alone = either.processor(text=PROMPTS[number : number + 1], padding=True, return_tensors="pt")
        assert torch.equal(both[number], either.ours.generate(**alone, **asked, seed=[1 + number])[0])
    out = either.ours.generate(**inputs, **asked, seed=[1, 2], return_dict_in_generate=True)
    assert torch.equal(out.sequences, both)
    assert out.seeds == ([1, 2] if sampling else None)


def test_a_number_of_seeds_that_is_not_the_number_of_items_is_refused(mono: Pair) -> None:
    with pytest.raises(ValueError, match="seed"):
        codes_of(mono, PROMPTS[:2], seed=[1, 2, 3])
