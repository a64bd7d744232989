"""Moshi's main decoder beside transformers: states, logits, losses, caches, windows, and texts that go on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

import antiphon
from antiphon.errors import ParamError, ParamTypeError
from antiphon.models.moshi import MoshiConfig, MoshiForCausalLM, MoshiModel

from .tiny_moshi import TEXTS, distance, fields, noise, ours, pair, text, theirs

TOLERANCE = 1e-4


@pytest.mark.row("R188")
def test_the_bare_model_gives_states() -> None:
    reference, model = pair("MoshiModel")
    ids = text(2, 9)
    with torch.no_grad():
        out = model(ids)
        assert out.last_hidden_state.shape == (2, 9, 32)
        assert distance(out.last_hidden_state, reference(ids).last_hidden_state) < TOLERANCE
        assert torch.equal(model(ids, return_dict=False)[0], out.last_hidden_state)


@pytest.mark.row("R157", "R160", "R210")
def test_its_layers_have_no_biases_and_one_epsilon() -> None:
    _, model = pair("MoshiForCausalLM")
    names = set(model.state_dict())
    assert not any(name.endswith("bias") for name in names)
    assert model.state_dict()["model.embed_tokens.weight"].shape == (TEXTS + 1, 32)
    other = MoshiForCausalLM(MoshiConfig(**fields(rms_norm_eps=0.125)))
    assert {m.eps for m in other.modules() if type(m).__name__ == "RMSNorm"} == {0.125}


@pytest.mark.row("R157", "R176", "R177", "R178")
@pytest.mark.parametrize(
    "changes",
    [
        {"num_key_value_heads": 1},
        {"num_key_value_heads": 4, "head_dim": 6},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
    ],
)
def test_grouped_heads_and_other_sizes_give_the_references_logits(changes: dict[str, Any]) -> None:
    reference = theirs("MoshiForCausalLM", **changes)
    with torch.no_grad():
        assert distance(ours(reference)(text(2, 6)).logits, reference(text(2, 6)).logits) < TOLERANCE


@pytest.mark.row("R190", "R193", "R214")
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_states_and_attentions_are_the_references(attention: str) -> None:
    reference, model = pair("MoshiForCausalLM")
    reference.set_attn_implementation("eager")
    model = ours(reference)
    model.set_attn_implementation(attention)
    mask = torch.ones(2, 6, dtype=torch.int64)
    mask[0, :2] = 0
    wanted = {"output_hidden_states": True, "output_attentions": True, "attention_mask": mask}
    with torch.no_grad():
        expected, out = reference(text(2, 6), **wanted), model(text(2, 6), **wanted)
    reference.set_attn_implementation("sdpa")
    assert len(out.hidden_states) == 4
    assert len(out.attentions) == 3
    for mine, other in zip(out.hidden_states, expected.hidden_states, strict=True):
        assert distance(mine[mask.bool()], other[mask.bool()]) < TOLERANCE
    for mine, other in zip(out.attentions, expected.attentions, strict=True):
        assert distance(mine[1], other[1]) < 1e-5
    assert torch.equal(out.last_hidden_state, out.hidden_states[-1])


@pytest.mark.row("R189", "R190")
def test_columns_one_by_one_through_a_cache_are_the_whole() -> None:
    _, model = pair("MoshiForCausalLM")
    ids, cache = text(2, 8), antiphon.DynamicCache()
    with torch.no_grad():
        whole = model(ids)
        first = model(ids[:, :3], past_key_values=cache)
        steps = [
            model(ids[:, t : t + 1], past_key_values=cache, cache_position=torch.tensor([t])).logits
            for t in range(3, 8)
        ]
    assert first.past_key_values is cache
    assert cache.get_seq_length() == 8
    assert distance(torch.cat([first.logits, *steps], dim=1), whole.logits) < TOLERANCE
    assert model(ids, use_cache=False).past_key_values is None
    with pytest.raises(ParamTypeError, match="past_key_values of class list"):
        model(ids, past_key_values=[(torch.zeros(1), torch.zeros(1))])


@pytest.mark.row("R179")
def test_a_whole_call_sees_the_window_that_steps_see() -> None:
    reference = theirs("MoshiForCausalLM", sliding_window=4)
    model = ours(reference)
    ids, cache = text(2, 11), transformers.DynamicCache(config=reference.config)
    with torch.no_grad():
        # the reference keeps to the window where it has a cache, and forgets it in a whole call
        steps = [reference(ids[:, t : t + 1], past_key_values=cache).logits for t in range(11)]
        own = antiphon.DynamicCache()
        pieces = [model(ids[:, a:b], past_key_values=own).logits for a, b in ((0, 6), (6, 7), (7, 11))]
        whole = model(ids).logits
    assert distance(whole, torch.cat(steps, dim=1)) < TOLERANCE
    assert distance(whole, torch.cat(pieces, dim=1)) < TOLERANCE


@pytest.mark.row("R179")
def test_what_lies_behind_the_window_is_not_seen() -> None:
    model = MoshiModel(MoshiConfig(**fields(num_hidden_layers=1, sliding_window=3))).eval()
    ids = text(1, 6)
    with torch.no_grad():
        before = model(ids).last_hidden_state[0, 5]
        for place, seen in ((2, False), (3, True)):
            changed = ids.clone()
            changed[0, place] = (ids[0, place] + 1) % TEXTS
            assert torch.equal(model(changed).last_hidden_state[0, 5], before) is not seen


@pytest.mark.row("R192", "R193")
def test_losses_and_kept_logits_are_the_references() -> None:
    reference, model = pair("MoshiForCausalLM")
    ids = text(2, 7)
    labels = ids.clone()
    labels[0, :3] = -100
    expected, out = reference(ids, labels=labels), model(ids, labels=labels)
    assert distance(out.loss, expected.loss) < TOLERANCE
    assert out.past_key_values is None
    with torch.no_grad():
        for kept in (2, torch.tensor([0, 4])):
            mine, other = model(ids, logits_to_keep=kept), reference(ids, logits_to_keep=kept)
            assert mine.logits.shape == (2, 2, TEXTS)
            assert distance(mine.logits, other.logits) < TOLERANCE
            assert distance(mine.last_hidden_state, other.last_hidden_state) < TOLERANCE
        initial = torch.cat([torch.full((2, 1), TEXTS), ids], dim=1)
        labels = initial.clone()
        labels[:, 0] = -100
        assert torch.equal(model(initial, labels=initial).loss, model(initial, labels=labels).loss)


@pytest.mark.row("R192")
def test_gradients_are_the_references() -> None:
    reference = theirs("MoshiForCausalLM")
    model = ours(reference)
    for one in (reference, model):
        one.train()
        one(text(2, 6), labels=text(2, 6)).loss.backward()
    weight = reference.model.layers[0].self_attn.k_proj.linear.weight.grad
    assert distance(model.model.text.stack.layers[0].attention.key.weight.grad, weight) < TOLERANCE
    gates = reference.model.layers[1].mlp.fc1.weight.grad
    assert distance(model.model.text.stack.layers[1].mlp.gate_up.weight.grad, gates) < TOLERANCE


# texts that go on


@pytest.mark.row("R191")
def test_greedy_texts_are_the_references() -> None:
    reference, model = pair("MoshiForCausalLM")
    ids = text(1, 9)
    assert model.generate(ids, max_length=30).shape == (1, 30)
    assert torch.equal(model.generate(ids, max_length=30), reference.generate(ids, max_length=30))
    assert torch.equal(model.generate(input_ids=ids), reference.generate(ids, max_new_tokens=20))
    assert torch.equal(model.generate(ids, max_new_tokens=4, use_cache=False), model.generate(ids, max_new_tokens=4))
    with pytest.raises(ValueError, match="nothing is left"):
        model.generate(ids, max_length=9)


@pytest.mark.row("R191")
@pytest.mark.parametrize("told", [True, False])
def test_rows_of_different_lengths_are_padded_on_the_left(told: bool) -> None:
    reference, model = pair("MoshiForCausalLM")
    ids = text(2, 8)
    ids[ids == 3] = 4
    ids[0, :3] = 3
    given: dict[str, Any] = {"attention_mask": (ids != 3).long()} if told else {}
    expected = reference.generate(ids, max_new_tokens=8, pad_token_id=3, **given)
    assert torch.equal(model.generate(ids, max_new_tokens=8, pad_token_id=3, **given), expected)
    alone = model.generate(ids[:1, 3:], max_new_tokens=8)
    assert torch.equal(alone[0], expected[0, 3:])


@pytest.mark.row("R191")
def test_ended_rows_are_filled_up_and_all_of_them_end_the_text() -> None:
    reference, model = pair("MoshiForCausalLM")
    ids = text(2, 5)
    free = reference.generate(ids, max_new_tokens=12)
    ends = [int(free[0, 6]), int(free[1, 9])]
    for pad in (7, None):
        settings = {"max_new_tokens": 12, "eos_token_id": ends, "pad_token_id": pad}
        expected = reference.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        assert expected.shape[1] < 17
        assert torch.equal(model.generate(ids, **settings), expected)


def test_processors_criteria_and_scores_are_the_references() -> None:
    reference, model = pair("MoshiForCausalLM")
    ids = text(2, 5)
    settings: dict[str, Any] = {
        "max_new_tokens": 6,
        "repetition_penalty": 1.7,
        "no_repeat_ngram_size": 2,
        "suppress_tokens": [1, 2],
        "return_dict_in_generate": True,
        "output_scores": True,
        "output_logits": True,
        "output_hidden_states": True,
    }
    expected, out = reference.generate(ids, **settings), model.generate(ids, **settings)
    assert torch.equal(out.sequences, expected.sequences)
    assert len(out.scores) == len(out.hidden_states) == 6
    for mine, other in zip(out.logits, expected.logits, strict=True):
        assert distance(mine, other) < TOLERANCE
    stop = [lambda ids, scores: torch.tensor([ids.shape[1] >= 8] * len(ids))]
    assert model.generate(ids, max_new_tokens=6, stopping_criteria=stop).shape == (2, 8)


def test_embeddings_in_place_of_ids_give_the_new_tokens_alone() -> None:
    reference, model = pair("MoshiForCausalLM")
    embedded = noise(2, 4, 32)
    for settings in ({}, {"input_ids": text(2, 4)}):
        expected = reference.generate(inputs_embeds=embedded, max_new_tokens=5, **settings)
        for use_cache in (True, False):
            out = model.generate(inputs_embeds=embedded, max_new_tokens=5, use_cache=use_cache, **settings)
            assert torch.equal(out, expected)


def test_draws_belong_to_the_item() -> None:
    _, model = pair("MoshiForCausalLM")
    ids = text(1, 4)
    both = model.generate(ids, max_new_tokens=9, do_sample=True, num_return_sequences=2, seed=5)
    assert not torch.equal(both[0], both[1])
    assert torch.equal(model.generate(ids, max_new_tokens=9, do_sample=True, seed=6), both[1:])


def test_a_cache_that_is_handed_in_goes_on() -> None:
    _, model = pair("MoshiForCausalLM")
    ids, cache = text(1, 6), antiphon.DynamicCache()
    with torch.no_grad():
        model(ids[:, :4], past_key_values=cache)
    assert torch.equal(
        model.generate(ids, max_new_tokens=5, past_key_values=cache), model.generate(ids, max_new_tokens=5)
    )
    with pytest.raises(ParamError, match="past_key_values with 10 columns before a prompt of 6"):
        model.generate(ids, max_new_tokens=5, past_key_values=cache)
    with pytest.raises(ParamTypeError, match="class list"):
        model.generate(ids, max_new_tokens=5, past_key_values=[])


def test_a_stop_string_ends_a_text() -> None:
    _, model = pair("MoshiForCausalLM")

    class Letters:
        @staticmethod
        def decode(ids: list[int]) -> str:
            return "".join(chr(ord("a") + i) for i in ids)

    ids = text(1, 4)
    free = model.generate(ids, max_new_tokens=8)
    end = Letters.decode(free[0, 6:8].tolist())
    stopped = model.generate(ids, max_new_tokens=8, stop_strings=end, tokenizer=Letters())
    assert torch.equal(stopped, free[:, :8])
    with pytest.raises(ParamError, match="tokenizer"):
        model.generate(ids, max_new_tokens=8, stop_strings=end)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": torch.tensor([[TEXTS + 1]])}, "0 to 40"),
        ({"input_ids": torch.tensor([[-1]])}, "0 to 40"),
        ({"input_ids": torch.tensor([1, 2])}, "shape"),
        ({"input_ids": torch.ones(1, 3)}, "shape"),
        ({"input_ids": torch.ones(1, 0, dtype=torch.long)}, "shape"),
        ({"input_ids": torch.tensor([[1, 2]]), "attention_mask": torch.ones(1, 3)}, "attention_mask"),
        ({}, "bos_token_id"),
        ({"input_ids": torch.tensor([[1]]), "guidance_scale": 3.0}, "guidance_scale=3.0"),
        ({"input_ids": torch.tensor([[1]]), "window_seconds": 10.0}, "window_seconds=10.0"),
        ({"inputs": torch.tensor([[1]]), "input_ids": torch.tensor([[1]])}, "both"),
    ],
)
def test_prompts_that_cannot_be_are_refused(arguments: dict[str, Any], message: str) -> None:
    _, model = pair("MoshiForCausalLM")
    with pytest.raises(ParamError, match=message):
        model.generate(**arguments, max_new_tokens=2)
    with pytest.raises(TypeError, match="max_new_token"):
        model.generate(torch.tensor([[1]]), max_new_token=2)
