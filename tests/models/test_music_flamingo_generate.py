"""Answers of Music Flamingo and Audio Flamingo 3: beside transformers, from sound heard before, and bad inputs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import antiphon
from antiphon.errors import NumericError, ParamError, ParamTypeError

from .tiny_flamingo import MEL, PAD, SOUND, asked, ours, pair, text, theirs

NEW = 6
KINDS = ["music", "audio"]


def told(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What ``generate`` gets of the sound."""
    return {name: part for name, part in inputs.items() if name.startswith("input_features")}


def encoder_calls(model: Any) -> list[int]:
    """The number of windows of each call of the encoder from now on."""
    calls: list[int] = []
    model.model.audio_tower.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    return calls


@pytest.mark.row("R122")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [[[30]], [[MEL, MEL, 61]], [[MEL, 30], [9], []]])
def test_greedy_answers_are_the_references(kind: str, rows: list[list[int]]) -> None:
    reference, model = pair(kind)
    inputs = asked(*rows)
    expected, out = reference.generate(**inputs, max_new_tokens=NEW), model.generate(**inputs, max_new_tokens=NEW)
    assert torch.equal(out, expected)
    assert torch.equal(out[:, : inputs["input_ids"].shape[1]], inputs["input_ids"])
    assert torch.equal(model.generate(**inputs, max_new_tokens=NEW, use_cache=False), expected)


@pytest.mark.row("R122")
def test_beams_are_the_references_and_each_hears_all_windows() -> None:
    reference, model = pair()
    settings = {"max_new_tokens": NEW, "num_beams": 3}
    inputs = asked([30])
    assert torch.equal(model.generate(**inputs, **settings), reference.generate(**inputs, **settings))
    # the reference hands a beam the windows of its neighbours: here it is told the sound as embeddings
    inputs = asked([MEL, 30], [61])
    with torch.no_grad():
        embedded, _ = model.model.heard(inputs["input_ids"], **told(inputs))
    ids = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    expected = reference.generate(**ids, inputs_embeds=embedded, **settings)
    assert torch.equal(model.generate(**inputs, **settings), expected)


def test_ended_rows_are_filled_up_and_all_of_them_end_the_answer() -> None:
    reference, model = pair()
    inputs = asked([30], [9])
    free = reference.generate(**inputs, max_new_tokens=12)[:, inputs["input_ids"].shape[1] :]
    settings = {"max_new_tokens": 12, "eos_token_id": [int(free[0, 2]), int(free[1, 5])], "pad_token_id": PAD}
    expected = reference.generate(**inputs, **settings)
    assert expected.shape[1] < inputs["input_ids"].shape[1] + 12
    assert torch.equal(model.generate(**inputs, **settings), expected)


def test_drawn_answers_belong_to_the_item() -> None:
    model = ours(pair()[0])
    calls, inputs = encoder_calls(model), asked([MEL, 30], [9])
    settings: dict[str, Any] = {"do_sample": True, "max_new_tokens": NEW}
    both = model.generate(**inputs, **settings, seed=5, num_return_sequences=2)
    assert sum(calls) == 3
    alone = model.generate(**asked([MEL, 30]), **settings, seed=6)
    assert torch.equal(both[1], alone[0])
    out = model.generate(**inputs, **settings, seed=5, return_dict_in_generate=True, output_scores=True)
    assert (out.seeds, len(out.scores)) == ([5, 6], NEW)


def test_an_answer_with_embeddings_in_place_of_ids_is_the_new_tokens_alone() -> None:
    _, model = pair()
    inputs = asked([30])
    with torch.no_grad():
        embedded, _ = model.model.heard(inputs["input_ids"], **told(inputs))
    whole = model.generate(**inputs, max_new_tokens=NEW)
    assert torch.equal(model.generate(inputs_embeds=embedded, max_new_tokens=NEW), whole[:, -NEW:])


def test_the_length_left_open_counts_new_tokens_beyond_the_time_embeddings_base() -> None:
    reference = theirs(rope_parameters={"rope_theta": 40.0})
    model, inputs = ours(reference), asked([MEL])
    assert model.generate(**inputs).shape[1] == inputs["input_ids"].shape[1] + 20


# sound heard before


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_question_needs_no_encoder(kind: str) -> None:
    model = ours(pair(kind)[0])
    inputs = asked([MEL, 30], [9])
    with torch.no_grad():
        frames = model.get_audio_features(**told(inputs), input_ids=inputs["input_ids"])
    assert frames.shape == (25 + 7 + 2, 32)
    calls = encoder_calls(model)
    ids = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        assert torch.equal(model(**ids, audio_features=frames).logits, pair(kind)[1](**inputs).logits)
    again = model.generate(**ids, audio_features=frames, max_new_tokens=NEW)
    assert calls == []
    assert torch.equal(again, model.generate(**inputs, max_new_tokens=NEW))
    with pytest.raises(ParamError, match="tokens: 34, features: 33"):
        model.generate(**ids, audio_features=frames[1:], max_new_tokens=NEW)


@pytest.mark.row("R147")
def test_a_conversation_goes_on_from_the_cache_of_its_turns() -> None:
    model = ours(pair()[0])
    calls, first = encoder_calls(model), asked([MEL, 30])
    settings = {"max_new_tokens": NEW, "return_dict_in_generate": True}
    out = model.generate(**first, **settings)
    assert sum(calls) == 2
    ids = torch.cat([out.sequences, text(1, 5, seed=8)], dim=1)
    fresh = model.generate(input_ids=ids, **told(first), max_new_tokens=NEW)
    del calls[:]
    for sound in ({}, told(first)):
        cache = out.past_key_values
        cache.crop(out.sequences.shape[1] - 1)
        assert torch.equal(model.generate(input_ids=ids, **sound, past_key_values=cache, max_new_tokens=NEW), fresh)
    assert calls == []


def test_a_later_turn_may_bring_sound_of_its_own() -> None:
    model = ours(pair()[0])
    first, second = asked([MEL, 30]), asked([50], seed=4)
    both = {name: torch.cat([first[name], second[name]]) for name in told(first)}
    ids = torch.cat([first["input_ids"], second["input_ids"]], dim=1)
    fresh = model.generate(input_ids=ids, **both, max_new_tokens=NEW)
    cache = antiphon.DynamicCache()
    with torch.no_grad():
        model(first["input_ids"], **told(first), past_key_values=cache)
    assert torch.equal(model.generate(input_ids=ids, **both, past_key_values=cache, max_new_tokens=NEW), fresh)
    frames = torch.cat([model.get_audio_features(**told(one)) for one in (first, second)])
    assert torch.equal(model.generate(input_ids=ids, audio_features=frames, max_new_tokens=NEW), fresh)


# bad inputs


@pytest.mark.parametrize("rows", [[[MEL, 30]], [[9], []]])
def test_placeholders_without_sound_are_refused(rows: list[list[int]]) -> None:
    _, model = pair()
    inputs = asked(*rows)
    count = int((inputs["input_ids"] == SOUND).sum())
    with pytest.raises(ParamError, match=f"{count} placeholders for sound and no sound"):
        model.generate(input_ids=inputs["input_ids"])


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"input_features": None}, "input_features_mask without sound"),
        ({"inputs_embeds": torch.zeros(1, 4, 32)}, "sound beside inputs_embeds"),
        ({"input_ids": None}, "sound without input_ids"),
        ({"audio_features": torch.zeros(25, 32)}, "both given"),
        ({"inputs": torch.zeros((1, 3), dtype=torch.int64)}, "tokens: 0, features: 25"),
    ],
)
def test_F055_sound_that_does_not_go_with_its_text_is_refused(wrong: dict[str, Any], named: str) -> None:
    _, model = pair()
    with pytest.raises(ParamError, match=named):
        model.generate(**{**asked([MEL]), **wrong})


@pytest.mark.parametrize("value", [0, -5, 2**63, 1.5, math.nan])
def test_F056_lengths_that_are_none_are_refused(value: Any) -> None:
    _, model = pair()
    with pytest.raises((ParamError, ParamTypeError), match="max_new_tokens"):
        model.generate(**asked([9]), max_new_tokens=value)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_F057_temperatures_that_are_none_are_refused(value: float) -> None:
    _, model = pair()
    with pytest.raises(ParamError, match="temperature"):
        model.generate(**asked([9]), do_sample=True, temperature=value, max_new_tokens=2)


def test_F057_a_temperature_near_0_is_greedy() -> None:
    _, model = pair()
    greedy = model.generate(**asked([9]), max_new_tokens=NEW)
    assert torch.equal(model.generate(**asked([9]), do_sample=True, temperature=1e-6, max_new_tokens=NEW), greedy)


@pytest.mark.parametrize("wrong", [{"top_k": -1}, {"top_k": 2.5}, {"top_p": -0.1}, {"top_p": 1.1}, {"top_p": math.nan}])
def test_F058_limits_of_sampling_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    _, model = pair()
    with pytest.raises((ParamError, ParamTypeError), match=next(iter(wrong))):
        model.generate(**asked([9]), do_sample=True, max_new_tokens=2, **wrong)


def test_F058_a_tiny_share_keeps_one_token_and_a_large_number_all() -> None:
    _, model = pair()
    greedy = model.generate(**asked([9]), max_new_tokens=NEW)
    settings = {"do_sample": True, "max_new_tokens": NEW, "seed": 1}
    assert torch.equal(model.generate(**asked([9]), top_p=1e-9, **settings), greedy)
    assert torch.equal(model.generate(**asked([9]), top_k=10**6, **settings), model.generate(**asked([9]), **settings))


@pytest.mark.parametrize("scale", [3.0, math.nan, math.inf])
def test_F059_there_is_no_guidance_here(scale: float) -> None:
    _, model = pair()
    with pytest.raises(ParamError, match="guidance_scale"):
        model.generate(**asked([9]), guidance_scale=scale, max_new_tokens=2)


@pytest.mark.parametrize("seed", [-1, 2**64, "42", 1.5, True])
def test_F060_seeds_that_are_none_are_refused(seed: Any) -> None:
    _, model = pair()
    with pytest.raises((ParamError, ParamTypeError), match="seed"):
        model.generate(**asked([9]), do_sample=True, seed=seed, max_new_tokens=2)


def test_F061_an_unknown_argument_is_named_with_its_nearest() -> None:
    _, model = pair()
    with pytest.raises(ParamTypeError, match="max_new_token.*max_new_tokens"):
        model.generate(**asked([9]), max_new_token=3)
    with pytest.raises(ParamTypeError, match="labels"):
        model.generate(**asked([9]), labels=torch.zeros(1, 4))
    with pytest.raises(TypeError, match="input_feature"):
        model(**asked([]), input_feature=torch.zeros(1, 8, MEL))


class Letters:
    """A tokenizer of one letter a token."""

    def decode(self, ids: list[int]) -> str:
        return "".join(chr(65 + i) for i in ids)


def test_F063_an_answer_may_end_at_once_never_or_at_a_text() -> None:
    _, model = pair()
    inputs = asked([30])
    answer = model.generate(**inputs, max_new_tokens=NEW)[0, -NEW:].tolist()
    start = inputs["input_ids"].shape[1]
    assert model.generate(**inputs, max_new_tokens=NEW, eos_token_id=answer[0]).shape[1] == start + 1
    never = next(i for i in range(PAD) if i not in answer)
    assert model.generate(**inputs, max_new_tokens=NEW, eos_token_id=never).shape[1] == start + NEW
    stop = Letters().decode(answer[1:3])
    cut = model.generate(**inputs, max_new_tokens=NEW, stop_strings=[stop], tokenizer=Letters())
    assert Letters().decode(cut[0, start:].tolist()).endswith(stop)
    with pytest.raises((ParamError, ParamTypeError), match="stop_strings"):
        model.generate(**inputs, max_new_tokens=NEW, stop_strings=[""], tokenizer=Letters())


def test_F068_a_poisoned_weight_is_an_error_and_no_answer() -> None:
    model = ours(pair()[0])
    with torch.no_grad():
        model.lm_head.weight[3, 3] = math.nan
    with pytest.raises(NumericError):
        model.generate(**asked([9]), max_new_tokens=2)
