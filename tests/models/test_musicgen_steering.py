"""What hears and steers a generation: streamers, callables, stopping, samplers, settings that forbid tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import antiphon

from .conftest import Pair
from .same_music import ASK, GREEDY, assert_same_music, complete_generation_config
from .tiny_musicgen import CODES, HOP, column_ids


def test_without_a_cache_the_same_codes_come_out(either: Pair, texts: Any) -> None:
    one = either.ours.generate(**texts, **GREEDY, **ASK).audio_codes
    assert torch.equal(one, either.ours.generate(**texts, **GREEDY, **ASK, use_cache=False).audio_codes)


class Listener:
    """Writes down what a streamer is given."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def put(self, value: torch.Tensor) -> None:
        self.got.append(value.clone())

    def end(self) -> None:
        self.got.append("end")


def test_a_streamer_of_the_decoder_hears_what_the_references_hears(either: Pair) -> None:
    ids = column_ids(2, 1)
    asked = {"inputs": ids, "attention_mask": torch.ones(2, 1), "do_sample": False, "max_new_tokens": 8}
    theirs, ours = Listener(), Listener()
    complete_generation_config(either.theirs.decoder)
    either.theirs.decoder.generate(**asked, streamer=theirs)
    either.ours.decoder.generate(**asked, streamer=ours)
    assert len(ours.got) == len(theirs.got) == 1 + 8 + 1
    assert ours.got[-1] == theirs.got[-1] == "end"
    assert all(torch.equal(a, b) for a, b in zip(ours.got[:-1], theirs.got[:-1], strict=True))


def test_a_streamer_of_the_composite_hears_the_prompt_every_step_and_the_end(either: Pair, texts: Any) -> None:
    listener = Listener()
    columns: list[torch.Tensor] = []
    out = either.ours.generate(
        **texts, **GREEDY, **ASK, streamer=listener, on_column=lambda column: columns.append(column.clone())
    )
    assert listener.got[0].shape == (8, 1)
    assert [step.shape for step in listener.got[1:-1]] == [torch.Size([8])] * 16
    assert listener.got[-1] == "end"
    heard = torch.stack(listener.got[1:-1], dim=-1).view(2, 4, 16)
    for book in range(4):
        assert torch.equal(heard[:, book, book : book + 13], out.audio_codes[:, book])
        assert torch.equal(torch.stack(columns, dim=-1)[:, book, book : book + 13], out.audio_codes[:, book])


def test_callables_see_ids_and_joined_scores_of_every_codebook(either: Pair, texts: Any) -> None:
    seen: list[tuple[Any, Any]] = []

    def processor(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        seen.append((input_ids.shape, scores.shape))
        return scores.index_fill(1, torch.arange(1, CODES), -torch.inf)

    class Third(antiphon.StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> bool:
            return input_ids.shape[1] >= 12

    out = either.ours.generate(
        **texts,
        **{**GREEDY, "max_new_tokens": 20},
        **ASK,
        logits_processor=antiphon.LogitsProcessorList([processor]),
        stopping_criteria=antiphon.StoppingCriteriaList([Third()]),
    )
    assert seen[0] == (torch.Size([8, 1]), torch.Size([8, CODES]))
    assert seen[-1] == (torch.Size([8, 11]), torch.Size([8, CODES]))
    assert len(seen) == 11
    assert out.audio_codes.shape == (2, 4, 8)  # twelve columns hold eight whole frames
    assert not out.audio_codes.any()  # only code 0 was left


def test_max_time_ends_after_the_step_in_which_it_ran_out(mono: Pair, texts: Any) -> None:
    out = mono.ours.generate(**texts, **{**GREEDY, "max_new_tokens": 400}, max_time=1e-9, **ASK)
    assert out.past_key_values.get_seq_length() == 1
    assert out.sequences.shape == (2, 1, 0)  # no frame was whole yet


def test_an_end_token_ends_each_item_at_its_frame(either: Pair, texts: Any) -> None:
    whole = either.ours.generate(**texts, **GREEDY, **ASK)
    codes = whole.audio_codes
    late = [t for frame in range(4, 13) for t in codes[0, :, frame].tolist() if not (codes[0, :, :frame] == t).any()]
    for end in (late[0], int(codes[0, 0, 0])):
        first = [int((item == end).any(dim=0).float().argmax()) if (item == end).any() else 13 for item in codes]
        assert first[0] >= 4 or end == codes[0, 0, 0]
        for eos in (end, [end, CODES + 7]):
            out = either.ours.generate(**texts, **GREEDY, **ASK, eos_token_id=eos)
            assert out.audio_lengths == [n * HOP for n in first]
            assert not out.sequences[0, :, first[0] * HOP :].any()


@pytest.mark.parametrize(
    "setting",
    [
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 1},
        {"bad_words_ids": [[3], [5]]},
        {"suppress_tokens": [1, 2, 3, 4]},
        {"suppress_tokens": list(range(40)), "repetition_penalty": 3.0},
    ],
)
def test_settings_that_forbid_tokens_give_the_references_codes_without_guidance(
    either: Pair, texts: Any, setting: dict[str, Any]
) -> None:
    plain = either.ours.generate(**texts, **{**GREEDY, "guidance_scale": 1.0}, **ASK).audio_codes
    _, ours = assert_same_music(either, **texts, guidance_scale=1.0, **setting)
    if setting != {"bad_words_ids": [[3], [5]]}:
        assert not torch.equal(plain, ours.audio_codes)


@pytest.mark.parametrize("setting", [{"repetition_penalty": 1.7}, {"no_repeat_ngram_size": 2}, {"min_new_tokens": 4}])
def test_settings_that_forbid_tokens_work_with_guidance(either: Pair, texts: Any, setting: dict[str, Any]) -> None:
    out = either.ours.generate(**texts, **GREEDY, **ASK, **setting)
    assert out.audio_codes.shape == (2, 4, 13)


@pytest.mark.parametrize(
    "off", [{"temperature": 0.0}, {"top_k": 1}, {"temperature": 1e-4}, {"top_p": 1e-6}, {"min_p": 1.0}]
)
def test_samplers_at_their_end_are_greedy(either: Pair, texts: Any, off: dict[str, Any]) -> None:
    greedy = either.ours.generate(**texts, **GREEDY, **ASK).audio_codes
    sampled = either.ours.generate(**texts, **{**GREEDY, "do_sample": True}, **ASK, seed=4, **off).audio_codes
    assert torch.equal(greedy, sampled)


def test_top_p_of_zero_switches_it_off(mono: Pair, texts: Any) -> None:
    asked = {**texts, **GREEDY, **ASK, "do_sample": True, "seed": 4}
    assert torch.equal(
        mono.ours.generate(**asked, top_p=0.0).audio_codes, mono.ours.generate(**asked, top_p=1.0).audio_codes
    )


def test_numbers_that_are_not_finite_are_reported_with_step_and_stream(fresh: Any, texts: Any) -> None:
    with torch.no_grad():
        fresh.decoder.lm_heads[2].weight.fill_(float("nan"))
    with pytest.raises(ArithmeticError, match="2"):
        fresh.generate(**texts, **GREEDY)


def test_generate_goes_through_the_live_parts(fresh: Any, texts: Any) -> None:
    before = fresh.generate(**texts, **GREEDY)
    torch.manual_seed(1)
    other = antiphon.T5EncoderModel(fresh.config.text_encoder).eval()
    fresh.text_encoder = other
    after = fresh.generate(**texts, **GREEDY)
    assert not torch.equal(before, after)
    assert fresh.get_encoder() is other is fresh.text_encoder
