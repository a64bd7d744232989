"""Pieces longer than a window: each window is one call behind the same frames, and the noise stays in its place."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from antiphon.errors import ParamError

from .conftest import ALL, Pair
from .same_music import ASK
from .tiny_musicgen import CODES, column_ids

# half a second and 0.3 s at 50 frames a second: 25 and 15 frames
WINDOW = {"window_seconds": 0.5, "stride_seconds": 0.3}
DELAY = 3
SAMPLED = {"do_sample": True, "guidance_scale": 3.0, "seed": 11}


def codes_of(model: Any, texts: Any, frames: int, **asked: Any) -> torch.Tensor:
    return model.generate(**texts, **ASK, max_new_tokens=frames + DELAY, **asked).audio_codes


@pytest.mark.parametrize("frames", [26, 40, 61, 100])
@pytest.mark.parametrize("pair", ALL)
def test_every_window_is_one_call_behind_the_frames_it_goes_on_from(
    pair: str, frames: int, texts: Any, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(pair).ours
    whole = codes_of(model, texts, frames, do_sample=False, guidance_scale=3.0, **WINDOW)
    rows, books = len(whole), model.decoder.num_codebooks
    expected = codes_of(model, texts, 25, do_sample=False, guidance_scale=3.0)
    first = 15
    while expected.shape[-1] < frames:
        held = expected[..., first:]
        more = min(frames - first, 25) - held.shape[-1]
        window = model.generate(
            **texts,
            **ASK,
            do_sample=False,
            guidance_scale=3.0,
            decoder_input_ids=held.reshape(rows * books, -1),
            max_new_tokens=more + DELAY,
        ).audio_codes
        expected = torch.cat([expected[..., :first], window], dim=-1)
        first += 15
    assert torch.equal(whole, expected)
    assert whole.shape == (rows, books, frames)


def test_a_piece_that_fits_is_what_it_is_without_windows(either: Pair, texts: Any) -> None:
    plain = codes_of(either.ours, texts, 25, **SAMPLED)
    assert torch.equal(codes_of(either.ours, texts, 25, **SAMPLED, **WINDOW), plain)


def test_a_longer_piece_begins_as_the_shorter_one_with_its_seed(either: Pair, texts: Any) -> None:
    short, long = (codes_of(either.ours, texts, frames, **SAMPLED, **WINDOW) for frames in (40, 90))
    assert torch.equal(long[..., :40], short)


def test_noise_belongs_to_the_place_in_the_piece_not_in_the_window(either: Pair, texts: Any, monkeypatch: Any) -> None:
    from antiphon.generation.philox import ItemNoise

    asked: list[list[int]] = []
    gumbel = ItemNoise.gumbel

    def noted(self: Any, step: Any, *rest: Any, **options: Any) -> Any:
        asked.append(list(step))
        return gumbel(self, step, *rest, **options)

    monkeypatch.setattr(ItemNoise, "gumbel", noted)
    codes_of(either.ours, texts, 40, **SAMPLED, **WINDOW)
    places = [step[0] for step in asked]
    # frames 1..25 and their delays, then from frame 26 on again
    assert places == [*range(1, 25 + DELAY + 1), *range(26, 40 + DELAY + 1)]


def test_rows_of_a_batch_are_what_they_are_alone(either: Pair, texts: Any) -> None:
    together = codes_of(either.ours, texts, 60, **SAMPLED, **WINDOW, independent_rows=True)
    for row in range(2):
        alone = {name: value[row : row + 1, : int(texts["attention_mask"][row].sum())] for name, value in texts.items()}
        asked = {**SAMPLED, "seed": 11 + row}
        assert torch.equal(codes_of(either.ours, alone, 60, **asked, **WINDOW)[0], together[row])


@pytest.mark.parametrize("held", [1, 24, 25, 26, 200])
def test_prompts_shorter_and_longer_than_a_window_go_on(either: Pair, held: int) -> None:
    prompt = column_ids(1, held + 1)[:, 1:]
    asked = {**ASK, "do_sample": False, "guidance_scale": 1.0}
    out = either.ours.generate(decoder_input_ids=prompt, max_new_tokens=30 + DELAY, **asked, **WINDOW).audio_codes
    assert out.shape == (1, 4, held + 30)
    assert torch.equal(out[0, :, :held], prompt)
    if held >= 25:  # the first window sees the last ten frames only
        seen = either.ours.generate(decoder_input_ids=prompt[:, -10:], max_new_tokens=15 + DELAY, **asked).audio_codes
        assert torch.equal(out[0, :, held : held + 15], seen[0, :, 10:])


def test_scores_are_kept_over_all_windows(mono: Pair, texts: Any) -> None:
    out = mono.ours.generate(**texts, **ASK, max_new_tokens=40 + DELAY, do_sample=False, output_scores=True, **WINDOW)
    assert len(out.scores) == (25 + DELAY) + (15 + DELAY)


def test_a_criterion_ends_all_windows_and_frames_that_were_whole_stay(either: Pair, texts: Any) -> None:
    steps = []

    def stop(ids: Any, scores: Any) -> bool:
        steps.append(1)
        return len(steps) == 25 + DELAY + 1  # at the first step of the second window

    out = codes_of(either.ours, texts, 90, do_sample=False, stopping_criteria=[stop], **WINDOW)
    assert len(steps) == 25 + DELAY + 1
    assert torch.equal(out, codes_of(either.ours, texts, 25, do_sample=False))


def test_time_that_is_allowed_is_that_of_the_whole_piece(mono: Pair, texts: Any, monkeypatch: Any) -> None:
    from antiphon.generation import stopping

    made = []
    monkeypatch.setattr("antiphon.models.musicgen_passage.MaxTime", lambda s: made.append(s) or stopping.MaxTime(s))
    codes_of(mono.ours, texts, 60, do_sample=False, max_time=100.0, **WINDOW)
    assert made == [100.0]


class _Ear:
    def put(self, value: Any) -> None: ...

    def end(self) -> None: ...


@pytest.mark.parametrize(
    ("asked", "named"),
    [({"eos_token_id": 3}, "end token"), ({"streamer": _Ear()}, "streamer"), ({"window_seconds": 0.04}, "shorter")],
)
def test_what_only_means_something_in_one_window_is_refused_by_name(
    either: Pair, texts: Any, asked: dict[str, Any], named: str
) -> None:
    with pytest.raises(ParamError, match=named):
        codes_of(either.ours, texts, 60, do_sample=False, **{"window_seconds": 0.5, **asked})


def test_prompts_of_different_lengths_run_one_by_one(either: Pair) -> None:
    sounds = torch.randn(2, 1, 640 * 8)
    mask = torch.ones(2, 640 * 8, dtype=torch.long)
    mask[0, : 640 * 3] = 0
    asked = {**ASK, "do_sample": False, "max_new_tokens": 60 + DELAY, "independent_rows": True, **WINDOW}
    with pytest.raises(ParamError, match="batch_invariant=True"):
        either.ours.generate(input_values=sounds, padding_mask=mask, **asked)
    together = either.ours.generate(input_values=sounds, padding_mask=mask, batch_invariant=True, **asked)
    alone = either.ours.generate(input_values=sounds[:1, :, 640 * 3 :], **asked)
    assert torch.equal(together.audio_codes[0, :, :65], alone.audio_codes[0])


def test_the_decoder_alone_knows_no_seconds(mono: Pair) -> None:
    with pytest.raises(ParamError, match="knows no seconds"):
        mono.ours.decoder.generate(max_new_tokens=10, window_seconds=0.5)


@pytest.mark.parametrize(("tokens", "warned"), [(1503, False), (1504, True)])
def test_F056_beyond_one_window_the_documented_generate_warns_and_names_the_remedy(
    either: Pair, texts: Any, tokens: int, warned: bool, caplog: Any
) -> None:
    with caplog.at_level(logging.WARNING, logger="antiphon"):
        either.ours.generate(**texts, max_new_tokens=tokens, do_sample=False, stopping_criteria=[lambda ids, s: True])
    assert ("window_seconds=30 and stride_seconds=18" in caplog.text) is warned
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="antiphon"):
        either.ours.generate(
            **texts,
            max_new_tokens=tokens,
            do_sample=False,
            stopping_criteria=[lambda ids, s: True],
            window_seconds=30,
            stride_seconds=18,
        )
    assert caplog.text == ""


def test_memory_of_the_cache_is_that_of_one_window(either: Pair, texts: Any) -> None:
    out = either.ours.generate(**texts, **ASK, do_sample=False, max_new_tokens=300 + DELAY, **WINDOW)
    layer = out.past_key_values.layers[0]
    assert layer._keys.shape[2] <= either.prefix(texts) + 25 + 1 + DELAY
    assert CODES not in out.audio_codes
