"""The stream: its pieces in a row are what ``generate`` gives, they come early, and an early end frees everything."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import antiphon
from antiphon.errors import NumericError, ParamError, ParamTypeError

from .conftest import Pair
from .tiny_musicgen import HOP, distance

SAMPLED = {"do_sample": True, "guidance_scale": 3.0, "seed": 4, "independent_rows": True}
DELAY = 3


def joined(pieces: Any) -> torch.Tensor:
    return torch.cat(list(pieces), dim=-1)


@pytest.mark.parametrize("pair", ["mono", "stereo", "melody"])
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.integers(1, 60), samples=st.integers(1, 40_000))
def test_any_pieces_in_a_row_are_what_generate_gives(
    pair: str, frames: int, samples: int, texts: Any, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(pair).ours
    samples = max(samples, frames * HOP // 50)  # not thousands of pieces
    asked = {**texts, **SAMPLED, "max_new_tokens": max(frames, 4) + DELAY}
    pieces = list(model.stream(**asked, chunk_seconds=samples / 32_000))
    whole = model.generate(**asked)
    assert distance(joined(pieces), whole) < 1e-5
    assert all(piece.shape[-1] == samples for piece in pieces[:-1])


@pytest.mark.parametrize("chunk_seconds", [0.05, 0.3, 10])
def test_windows_are_streamed_as_they_slide(either: Pair, texts: Any, chunk_seconds: float) -> None:
    asked = {**texts, **SAMPLED, "max_new_tokens": 90 + DELAY, "window_seconds": 0.5, "stride_seconds": 0.3}
    assert (
        distance(joined(either.ours.stream(**asked, chunk_seconds=chunk_seconds)), either.ours.generate(**asked)) < 1e-5
    )


@pytest.mark.parametrize("independent", [True, False])
def test_prompts_of_different_lengths_are_streamed_behind_their_silence(either: Pair, independent: bool) -> None:
    sounds = torch.randn(2, 1, 640 * 9)
    mask = torch.ones(2, 640 * 9, dtype=torch.long)
    mask[0, : 640 * 4 + 100] = 0
    asked = {"input_values": sounds, "padding_mask": mask, **SAMPLED, "max_new_tokens": 20}
    asked["independent_rows"] = independent
    assert distance(joined(either.ours.stream(**asked, chunk_seconds=0.1)), either.ours.generate(**asked)) < 1e-5


def test_several_sequences_for_a_text_are_streamed_side_by_side(either: Pair, texts: Any) -> None:
    asked = {**texts, **SAMPLED, "max_new_tokens": 30, "num_return_sequences": 2}
    pieces = joined(either.ours.stream(**asked, chunk_seconds=0.2))
    assert pieces.shape[0] == 4
    assert distance(pieces, either.ours.generate(**asked)) < 1e-5


def test_items_that_end_early_are_streamed_to_their_end(either: Pair, texts: Any) -> None:
    asked = {**texts, **SAMPLED, "max_new_tokens": 100, "eos_token_id": [3, 4, 5]}
    whole = either.ours.generate(**asked)
    assert whole.shape[-1] < 97 * HOP
    assert distance(joined(either.ours.stream(**asked, chunk_seconds=0.1)), whole) < 1e-5


def test_the_first_second_comes_after_at_most_75_steps(mono: Pair, texts: Any) -> None:
    steps: list[int] = []
    stream = mono.ours.stream(**texts, **SAMPLED, max_new_tokens=200, on_column=lambda column: steps.append(1))
    assert steps == []  # nothing is done before a piece is asked for
    first = next(stream)
    assert first.shape[-1] == 32_000
    assert 50 + DELAY <= len(steps) <= 75
    second = next(stream)
    assert second.shape[-1] == 32_000
    assert len(steps) <= 75 + 50


def test_no_join_is_further_from_the_whole_than_the_rest(mono: Pair, texts: Any) -> None:
    asked = {**texts, **SAMPLED, "max_new_tokens": 150 + DELAY}
    whole = mono.ours.generate(**asked)
    pieces = list(mono.ours.stream(**asked, chunk_seconds=0.25))
    error = (joined(pieces) - whole).abs().amax(dim=(0, 1))
    joins = list(itertools.accumulate(piece.shape[-1] for piece in pieces))[:-1]
    at_joins = max(float(error[join - 2 : join + 2].max()) for join in joins)
    assert len(joins) > 8
    assert at_joins < 1e-5
    # a step from sample to sample at a join is one that the whole has there too
    steps = (joined(pieces).diff() - whole.diff()).abs().amax(dim=(0, 1))
    assert max(float(steps[join - 1]) for join in joins) < 1e-5


def test_F067_closing_early_frees_cache_and_state(mono: Pair, texts: Any, monkeypatch: Any) -> None:
    made: list[weakref.ref[Any]] = []
    from antiphon.models import musicgen_generation

    cache = musicgen_generation.EncoderDecoderCache
    monkeypatch.setattr(
        musicgen_generation, "EncoderDecoderCache", lambda *parts: made.append(weakref.ref(it := cache(*parts))) or it
    )
    stream = mono.ours.stream(**texts, **SAMPLED, max_new_tokens=200, chunk_seconds=0.1)
    next(stream)
    assert made[0]() is not None
    stream.close()
    gc.collect()
    assert made[0]() is None
    assert next(stream, None) is None


def test_F067_a_raising_callable_ends_the_stream_once_and_the_model_goes_on(either: Pair, texts: Any) -> None:
    def fail(column: Any) -> None:
        raise LookupError("heard enough")

    stream = either.ours.stream(**texts, **SAMPLED, max_new_tokens=50, on_column=fail)
    with pytest.raises(LookupError, match="heard enough"):
        next(stream)
    assert next(stream, None) is None
    asked = {**texts, **SAMPLED, "max_new_tokens": 30}
    assert distance(joined(either.ours.stream(**asked)), either.ours.generate(**asked)) < 1e-5


def test_F067_a_reader_that_pauses_loses_nothing_while_others_generate(mono: Pair, texts: Any) -> None:
    asked = {**texts, **SAMPLED, "max_new_tokens": 60}
    whole = mono.ours.generate(**asked)
    pieces = []
    for piece in mono.ours.stream(**asked, chunk_seconds=0.2):
        pieces.append(piece.clone())
        mono.ours.generate(**texts, do_sample=True, max_new_tokens=8)  # what happens in between is felt by nobody
    assert distance(joined(pieces), whole) < 1e-5


def test_F065_streams_in_two_threads_do_not_mix(mono: Pair, texts: Any) -> None:
    found: dict[int, torch.Tensor] = {}

    def run(seed: int) -> None:
        found[seed] = joined(
            mono.ours.stream(**texts, **{**SAMPLED, "seed": seed}, max_new_tokens=50, chunk_seconds=0.1)
        )

    threads = [threading.Thread(target=run, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (1, 2):
        whole = mono.ours.generate(**texts, **{**SAMPLED, "seed": seed}, max_new_tokens=50)
        assert distance(found[seed], whole) < 1e-5


def test_two_streams_read_in_turn_do_not_mix(either: Pair, texts: Any) -> None:
    asked = [{**texts, **SAMPLED, "seed": seed, "max_new_tokens": 60} for seed in (1, 2)]
    streams = [either.ours.stream(**one, chunk_seconds=0.2) for one in asked]
    pieces = list(zip(*streams, strict=True))
    for number, one in enumerate(asked):
        assert distance(joined(pair[number] for pair in pieces), either.ours.generate(**one)) < 1e-5


def test_no_graph_is_kept_and_gradients_stay_as_the_caller_had_them(mono: Pair, texts: Any) -> None:
    with torch.enable_grad():
        stream = mono.ours.stream(**texts, **SAMPLED, max_new_tokens=60, chunk_seconds=0.2)
        piece = next(stream)
        assert torch.is_grad_enabled()
    assert not piece.requires_grad


def test_a_criterion_ends_a_stream_with_what_is_whole(mono: Pair, texts: Any) -> None:
    asked = {**texts, **SAMPLED, "max_new_tokens": 100}
    stop = [lambda ids, scores: ids.shape[-1] >= 30]
    whole = mono.ours.generate(**asked, stopping_criteria=stop)
    assert whole.shape[-1] == (29 - DELAY) * HOP
    assert distance(joined(mono.ours.stream(**asked, stopping_criteria=stop, chunk_seconds=0.1)), whole) < 1e-5


def test_stopped_before_the_first_frame_nothing_comes(mono: Pair, texts: Any) -> None:
    stop = [lambda ids, scores: True]
    assert list(mono.ours.stream(**texts, **SAMPLED, max_new_tokens=50, stopping_criteria=stop)) == []


@pytest.mark.parametrize("chunk_seconds", [0, -1, float("nan"), float("inf"), "1", None, True, 1e-9])
def test_a_piece_has_at_least_a_sample(mono: Pair, texts: Any, chunk_seconds: Any) -> None:
    with pytest.raises(ParamError, match="chunk_seconds"):
        mono.ours.stream(**texts, max_new_tokens=20, chunk_seconds=chunk_seconds)


def test_errors_come_with_the_call_not_with_the_first_piece(either: Pair, texts: Any) -> None:
    with pytest.raises(ParamTypeError, match="temprature"):
        either.ours.stream(**texts, temprature=1.0)
    for refused in ({"batch_invariant": True}, {"return_dict_in_generate": True}, {"num_beams": 4}):
        with pytest.raises(ParamError, match=next(iter(refused))):
            either.ours.stream(**texts, max_new_tokens=20, **refused)


def test_F068_numbers_that_are_not_finite_end_the_stream(mono: Pair, texts: Any) -> None:
    model = antiphon.MusicgenForConditionalGeneration(mono.ours.config).eval()
    with torch.no_grad():
        next(model.decoder.parameters()).fill_(float("nan"))
    with pytest.raises(NumericError):
        joined(model.stream(**texts, do_sample=False, max_new_tokens=40))
