"""Beams of a language model over text beside transformers, and beams over Moshi's text with the speech of each."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from antiphon.errors import ParamError
from antiphon.generation.sampling import MinP, TopK, TopP, TypicalP
from antiphon.outputs import GenerateBeamDecoderOnlyOutput

from .tiny_moshi import CODES, codes, distance, pair, spoken, text

NEW = 9
RECORDED = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True}


def assert_same(settings: dict[str, Any], *, rows: int = 2, **given: Any) -> Any:
    """Both answers to one call, compared; ours."""
    reference, model = pair("MoshiForCausalLM")
    ids = text(rows, 5, seed=rows).clamp(min=4)
    mask = torch.ones_like(ids)
    mask[0, :2] = 0
    call = {"max_new_tokens": NEW, "attention_mask": mask, "pad_token_id": 3, **RECORDED, **settings}
    expected, out = reference.generate(ids, **call), model.generate(ids, **call, **given)
    assert torch.equal(out.sequences, expected.sequences)
    assert torch.equal(out.beam_indices, expected.beam_indices.to(torch.int64))
    assert distance(out.sequences_scores, expected.sequences_scores) < 1e-4
    assert len(out.scores) == len(expected.scores)
    for mine, other in zip(out.logits, expected.logits, strict=True):
        assert distance(mine, other) < 1e-3
    return out


@pytest.mark.row("R191", "R205")
@pytest.mark.parametrize(
    "settings",
    [
        {"num_beams": 2},
        {"num_beams": 4, "num_return_sequences": 3, "eos_token_id": [5, 9, 11]},
        {"num_beams": 3, "eos_token_id": 7, "length_penalty": 2.5, "early_stopping": "never"},
        {"num_beams": 3, "eos_token_id": [8, 12], "length_penalty": -1.0, "early_stopping": True},
        {"num_beams": 3, "eos_token_id": [8, 12], "length_penalty": 0.0, "num_return_sequences": 2},
        {"num_beams": 2, "eos_token_id": 6, "no_repeat_ngram_size": 2, "repetition_penalty": 1.6, "min_new_tokens": 4},
    ],
)
def test_beams_are_the_references(settings: dict[str, Any]) -> None:
    out = assert_same(settings)
    assert isinstance(out, GenerateBeamDecoderOnlyOutput)
    assert len(out.sequences) == 2 * settings.get("num_return_sequences", 1)


def test_beams_need_no_cache() -> None:
    assert_same({"num_beams": 3, "eos_token_id": 7}, use_cache=False)


def test_callers_of_beams_are_heard() -> None:
    def allowed(item: int, ids: Any) -> list[int]:
        return [10 * (item + 1) + n for n in range(6)]

    out = assert_same({"num_beams": 2, "prefix_allowed_tokens_fn": allowed})
    for item, row in enumerate(out.sequences[:, 5:].tolist()):
        assert set(row) <= set(allowed(item, None))
    _, model = pair("MoshiForCausalLM")
    stop = [lambda ids, scores: torch.tensor([ids.shape[1] >= 8] * len(ids))]
    assert model.generate(text(2, 5), num_beams=2, max_new_tokens=NEW, stopping_criteria=stop).shape == (2, 8)


def test_sampled_beams_belong_to_the_item() -> None:
    _, model = pair("MoshiForCausalLM")
    settings: dict[str, Any] = {"num_beams": 3, "do_sample": True, "top_k": 10, "max_new_tokens": NEW}
    both = model.generate(text(1, 4).repeat(2, 1), seed=5, **settings)
    assert not torch.equal(both[0], both[1])
    assert torch.equal(model.generate(text(1, 4), seed=6, **settings), both[1:])
    out = model.generate(text(1, 4), num_return_sequences=2, seed=6, return_dict_in_generate=True, **settings)
    assert out.seeds == [6]
    assert out.sequences_scores is None
    assert torch.equal(out.sequences[:1], both[1:])


def test_samplers_leave_a_beam_something_to_go_on_with() -> None:
    scores = torch.tensor([[9.0, 1.0, 0.0, -1.0]])
    for sampler in (TopK(1, 2), TopP(0.1, 2), MinP(0.9, 2), TypicalP(0.1, 2)):
        assert sampler(torch.zeros(1, 1).long(), scores).isfinite().tolist() == [[True, True, False, False]]
    _, model = pair("MoshiForCausalLM")
    out = model.generate(text(1, 4), num_beams=2, do_sample=True, top_k=1, eos_token_id=5, max_new_tokens=4, seed=1)
    assert out.shape[0] == 1


def test_what_means_nothing_with_beams_or_without_is_said(caplog: pytest.LogCaptureFixture) -> None:
    _, model = pair("MoshiForCausalLM")
    with pytest.raises(ParamError, match="streamer"):
        model.generate(text(1, 4), num_beams=2, streamer=object(), max_new_tokens=2)
    with pytest.raises(ParamError, match="at most num_beams=2"):
        model.generate(text(1, 4), num_beams=2, num_return_sequences=3, max_new_tokens=2)
    with caplog.at_level(logging.WARNING):
        model.generate(text(1, 4), length_penalty=2.0, max_new_tokens=2)
    assert "['length_penalty'] have no effect without beams" in caplog.text


# the whole of Moshi

KIND = "MoshiForConditionalGeneration"


@pytest.mark.row("R205")
def test_the_speech_is_that_of_the_text_that_won() -> None:
    _, model = pair(KIND)
    settings = {"max_new_tokens": NEW, "return_audio_codes": True}
    out = model.generate(**spoken(), num_beams=3, num_return_sequences=2, **settings)
    assert out.sequences.shape == (4, 1 + 7 + NEW)
    assert out.audio_codes.shape == (4, 4, 1 + 7 + NEW - 2)
    assert out.sequences_scores.shape == (4,)
    assert bool((out.sequences_scores.view(2, 2).diff(dim=1) <= 0).all())
    assert bool(((out.audio_codes >= 0) & (out.audio_codes < CODES)).all())
    for row in range(4):
        # the same text, forced, is spoken with the same codes
        wanted = out.sequences[row].tolist()
        inputs = {name: part[row // 2 : row // 2 + 1] for name, part in spoken().items()}
        forced = model.generate(
            **inputs, **settings, prefix_allowed_tokens_fn=lambda _, ids, wanted=wanted: [wanted[len(ids)]]
        )
        assert forced.sequences.tolist() == [wanted]
        assert torch.equal(forced.audio_codes[0], out.audio_codes[row])


@pytest.mark.row("R205", "R206", "E5")
def test_one_beam_is_the_greedy_answer_and_more_are_at_least_as_probable() -> None:
    _, model = pair(KIND)
    settings = {"max_new_tokens": NEW, "return_audio_waveforms": False, "length_penalty": 0.0}
    greedy = model.generate(**spoken(), num_beams=1, **{**settings, "length_penalty": 1.0})
    beams = model.generate(**spoken(), num_beams=4, **settings)
    assert greedy.shape == beams.shape
    ended = model.generate(
        **spoken(), num_beams=2, max_new_tokens=NEW, eos_token_id=beams[0, 9:11].tolist(), return_audio_codes=True
    )
    assert ended.sequences.shape[1] <= 1 + 7 + NEW
    assert ended.audio_codes.shape[-1] == ended.sequences.shape[1] - 2


@pytest.mark.row("R205")
def test_drawn_speech_of_beams_belongs_to_the_item() -> None:
    _, model = pair(KIND)
    settings: dict[str, Any] = {
        "num_beams": 2,
        "max_new_tokens": 5,
        "do_sample": True,
        "depth_do_sample": True,
        "return_audio_codes": True,
    }
    one = {"input_ids": text(1, 4), "moshi_audio_codes": codes(1, 4), "user_audio_codes": codes(1, 4, seed=5)}
    two = {name: part.repeat(2, 1, 1) if part.dim() == 3 else part.repeat(2, 1) for name, part in one.items()}
    both = model.generate(**two, **settings, seed=3)
    alone = model.generate(**one, **settings, seed=4)
    assert not torch.equal(both.audio_codes[0], both.audio_codes[1])
    assert torch.equal(both.audio_codes[1:], alone.audio_codes)
    with pytest.raises(ParamError, match="on_column"):
        model.generate(**one, **settings, on_column=print)
