"""The delay pattern as a value, against the reference's two functions and against its own algebra."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.musicgen.modeling_musicgen import MusicgenForCausalLM

from antiphon.errors import ParamError
from antiphon.generation.delays import DelayPattern, apply_delay_pattern_mask, build_delay_pattern_mask

PAD = 2048


def reference(ids: torch.Tensor, length: int, codebooks: int, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    model = SimpleNamespace(num_codebooks=codebooks, config=SimpleNamespace(audio_channels=channels))
    return MusicgenForCausalLM.build_delay_pattern_mask(model, ids, PAD, length)


def prompt_ids(rows: int, codebooks: int, columns: int, seed: int = 0) -> torch.Tensor:
    ids = torch.randint(0, 2048, (rows * codebooks, columns), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = PAD
    return ids


def test_the_pattern_of_the_documents_comes_out() -> None:
    _, plan = build_delay_pattern_mask(torch.full((4, 1), PAD), PAD, 8, codebooks=4)
    p = PAD
    assert plan.tolist() == [
        [p, -1, -1, -1, -1, p, p, p],
        [p, p, -1, -1, -1, -1, p, p],
        [p, p, p, -1, -1, -1, -1, p],
        [p, p, p, p, -1, -1, -1, -1],
    ]


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 3),
    per_channel=st.integers(1, 5),
    channels=st.sampled_from([1, 2]),
    columns=st.integers(1, 12),
    spare=st.integers(0, 12),
    short=st.booleans(),
)
def test_prompt_and_plan_equal_the_references_for_any_prompt_and_length(
    rows: int, per_channel: int, channels: int, columns: int, spare: int, short: bool
) -> None:
    codebooks = per_channel * channels
    # lengths that cannot hold the delayed prompt make the reference fail, unless it leaves the pattern out
    length = min(columns + 1, 2 * per_channel - 2) if short and per_channel > 1 else columns + per_channel - 1 + spare
    ids = prompt_ids(rows, codebooks, columns)
    theirs = reference(ids, length, codebooks, channels)
    ours = build_delay_pattern_mask(ids, PAD, length, codebooks=codebooks, audio_channels=channels)
    for mine, reference_one in zip(ours, theirs, strict=True):
        assert mine.dtype == reference_one.dtype and torch.equal(mine, reference_one)


@settings(max_examples=50, deadline=None)
@given(channels=st.sampled_from([1, 2]), columns=st.integers(1, 14), length=st.integers(7, 14))
def test_applying_the_plan_equals_the_reference(channels: int, columns: int, length: int) -> None:
    _, plan = build_delay_pattern_mask(
        torch.full((8, 1), PAD), PAD, max(columns, length), codebooks=8, audio_channels=channels
    )
    ids = prompt_ids(1, 8, columns, seed=3)
    assert torch.equal(apply_delay_pattern_mask(ids, plan), MusicgenForCausalLM.apply_delay_pattern_mask(ids, plan))


@settings(max_examples=60, deadline=None)
@given(channels=st.sampled_from([1, 2]), frames=st.integers(1, 12), kept=st.integers(0, 12))
def test_reverting_a_filled_plan_gives_the_prompts_frames_back(channels: int, frames: int, kept: int) -> None:
    pattern = DelayPattern.for_codebooks(4 * channels, channels)
    length, kept = pattern.columns(frames), min(kept, frames)
    prompt = prompt_ids(2, pattern.streams, 1 + kept).view(2, pattern.streams, -1)
    plan = pattern.build(prompt, length, PAD)
    filled = torch.where(plan == -1, 5, plan)
    back = pattern.revert(filled)
    assert back.shape == (2, pattern.streams, frames if not pattern.is_skipped(length) else length - 1)
    if not pattern.is_skipped(length):
        assert torch.equal(back[..., :kept], prompt[..., 1:])
        assert bool((back[..., kept:] == 5).all())


def test_reverting_equals_the_references_filter_of_the_pad_token() -> None:
    pattern = DelayPattern.for_codebooks(8, 2)
    plan = pattern.build(torch.full((2, 8, 1), PAD), 20, PAD)
    filled = torch.where(plan == -1, torch.randint(0, 2048, plan.shape), plan)
    assert torch.equal(pattern.revert(filled), filled[filled != PAD].reshape(2, 8, -1))


def test_frames_and_columns_undo_each_other() -> None:
    pattern = DelayPattern.for_codebooks(4)
    assert pattern.columns(1500) == 1504 and pattern.frames(1504) == 1500
    assert [pattern.frames(n) for n in range(7)] == [0, 0, 0, 0, 0, 1, 2]
    assert DelayPattern.for_codebooks(8, 2).delays == (0, 0, 1, 1, 2, 2, 3, 3)


def test_a_run_that_ended_early_gives_the_frames_that_are_whole() -> None:
    pattern = DelayPattern.for_codebooks(4)
    whole = torch.arange(12).expand(1, 4, 12)
    assert pattern.revert(whole[..., :7]).tolist() == [[[1, 2, 3], [2, 3, 4], [3, 4, 5], [4, 5, 6]]]
    assert pattern.revert(whole[..., :4], planned=12).shape == (1, 4, 0)


def test_too_few_columns_leave_the_pattern_out_and_revert_follows() -> None:
    pattern = DelayPattern.for_codebooks(4)
    assert pattern.is_skipped(6) and not pattern.is_skipped(7)
    columns = torch.arange(6).expand(1, 4, 6)
    assert torch.equal(pattern.revert(columns), columns[..., 1:])
    assert pattern.revert(columns, planned=10).shape == (1, 4, 2)
    assert not DelayPattern((0, 1, 2, 3)).is_skipped(2)


def test_delays_that_are_no_staircase_follow_the_same_formula() -> None:
    pattern = DelayPattern((0, 0, 1, 1))
    plan = pattern.build(torch.full((1, 4, 1), 9), 5, 9)
    assert plan.tolist() == [[[9, -1, -1, -1, 9], [9, -1, -1, -1, 9], [9, 9, -1, -1, -1], [9, 9, -1, -1, -1]]]


def test_a_prompt_that_does_not_fit_is_cut_at_its_end() -> None:
    prompt = prompt_ids(1, 4, 10).view(1, 4, 10)
    plan = DelayPattern.for_codebooks(4).build(prompt, 8, PAD)
    assert plan.shape == (1, 4, 8) and torch.equal(plan[0, 3, 4:], prompt[0, 3, 1:5])
    assert not bool((plan == -1).any())


@pytest.mark.parametrize(("codebooks", "channels"), [(4, 3), (4, 0), (3, 2), (0, 1)])
def test_channels_that_are_not_one_or_two_are_refused(codebooks: int, channels: int) -> None:
    with pytest.raises(ParamError):
        DelayPattern.for_codebooks(codebooks, channels)


@pytest.mark.parametrize("delays", [(), (0, -1), (0, 1.0), (True,)])
def test_delays_that_are_no_counts_are_refused(delays: tuple[int, ...]) -> None:
    with pytest.raises(ParamError, match="delays"):
        DelayPattern(delays)


def test_a_prompt_of_another_shape_is_refused() -> None:
    with pytest.raises(ParamError, match="shape"):
        DelayPattern.for_codebooks(4).build(torch.zeros(1, 3, 2, dtype=torch.long), 9, PAD)
    with pytest.raises(ParamError, match="shape"):
        build_delay_pattern_mask(torch.zeros(5, 2, dtype=torch.long), PAD, 9, codebooks=4)
