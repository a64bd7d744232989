"""Qwen2 beside transformers: logits, losses, caches, windows, heads, files, and texts that go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import antiphon
from antiphon.checkpoints.store import open_weights
from antiphon.errors import ConfigError, ParamError
from antiphon.models.qwen2 import Qwen2Config, Qwen2ForCausalLM, Qwen2Model
from antiphon.nn.linear import Linear
from antiphon.nn.quantized_linear import QuantizedLinear

from .tiny_flamingo import PAD, TEXTS, distance, ours, pair, text, text_fields, theirs

TOLERANCE = 1e-4


def test_the_defaults_are_the_references() -> None:
    own, reference = Qwen2Config(), transformers.Qwen2Config()
    for name in Qwen2Config._fields:
        assert getattr(own, name) == getattr(reference, name), name
    assert own.head_width == 128
    assert Qwen2Config(num_key_value_heads=None, **{"rope_theta": 1e6}).rope_parameters["rope_theta"] == 1e6
    assert Qwen2Config(num_key_value_heads=None).num_key_value_heads == 32


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_size": 30},
        {"num_key_value_heads": 3},
        {"hidden_act": "nothing"},
        {"layer_types": ["full_attention"]},
        {"layer_types": ["sliding_attention", "full_attention"]},
        {"layer_types": ["linear_attention", "full_attention"]},
        {"pad_token_id": TEXTS},
        {"rms_norm_eps": float("nan")},
        {"attention_dropout": 1.5},
        {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}},
        {"rope_scaling": {"type": "yarn", "factor": 4.0}},
        {"head_dim": 7},
        {"num_hidden_layers": 0},
    ],
)
def test_sizes_that_no_model_can_have_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Qwen2Config(**text_fields(**wrong))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": 1},
        {"num_key_value_heads": 4},
        {"tie_word_embeddings": True},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}},
        {"head_dim": 12},
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
        {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0},
        {"use_sliding_window": False, "sliding_window": 4, "max_window_layers": 0},
    ],
)
def test_sizes_heads_and_windows_give_the_references_logits(changes: dict[str, Any]) -> None:
    reference = theirs("text", **changes)
    model, ids = ours(reference), text(2, 11)
    assert set(model.state_dict()) == set(reference.state_dict())
    cache = antiphon.DynamicCache()
    with torch.no_grad():
        expected = reference(ids).logits
        assert distance(model(ids).logits, expected) < TOLERANCE
        pieces = [model(ids[:, a:b], past_key_values=cache).logits for a, b in ((0, 6), (6, 7), (7, 11))]
        assert distance(torch.cat(pieces, dim=1), expected) < TOLERANCE
        assert torch.equal(
            model.generate(ids, max_new_tokens=6, pad_token_id=PAD),
            reference.generate(ids, max_new_tokens=6, pad_token_id=PAD),
        )


def test_padded_rows_positions_and_states_are_the_references() -> None:
    reference, model = pair("text")
    reference.set_attn_implementation("eager")
    ids, mask = text(2, 7), torch.ones(2, 7, dtype=torch.int64)
    mask[0, :3] = 0
    wanted = {"output_hidden_states": True, "output_attentions": True, "attention_mask": mask}
    with torch.no_grad():
        expected, out = reference(ids, **wanted), model(ids, **wanted)
        places = torch.arange(7)[None] * 3
        moved = distance(model(ids, position_ids=places).logits, reference(ids, position_ids=places).logits)
    reference.set_attn_implementation("sdpa")
    assert moved < TOLERANCE
    assert (len(out.hidden_states), len(out.attentions)) == (3, 2)
    for mine, other in zip(out.hidden_states, expected.hidden_states, strict=True):
        assert distance(mine[mask.bool()], other[mask.bool()]) < TOLERANCE
    for mine, other in zip(out.attentions, expected.attentions, strict=True):
        assert distance(mine[0, :, 3:], other[0, :, 3:]) < 1e-5


def test_losses_gradients_and_kept_logits_are_the_references() -> None:
    reference = theirs("text")
    model = ours(reference)
    ids = text(2, 7)
    labels = ids.clone()
    labels[0, :3] = -100
    for one in (reference, model):
        one.train()
        one(ids, labels=labels).loss.backward()
    assert distance(model(ids, labels=labels).loss, reference(ids, labels=labels).loss) < TOLERANCE
    layer: Any = model.model.text.stack.layers[0]
    other = reference.model.layers[0]
    assert distance(layer.attention.key.bias.grad, other.self_attn.k_proj.bias.grad) < TOLERANCE
    assert distance(layer.attention.query.weight.grad, other.self_attn.q_proj.weight.grad) < TOLERANCE
    assert distance(layer.mlp.gate.weight.grad, other.mlp.gate_proj.weight.grad) < TOLERANCE
    with torch.no_grad():
        for kept in (1, 3, torch.tensor([0, 4])):
            assert distance(model(ids, logits_to_keep=kept).logits, reference(ids, logits_to_keep=kept).logits) < 1e-4
        for wrong in (-1, torch.ones(2, 2, dtype=torch.int64)):
            with pytest.raises(ParamError, match="logits_to_keep"):
                model(ids, logits_to_keep=wrong)


def test_a_mask_that_hides_nothing_is_no_mask() -> None:
    _, model = pair("text")
    ids = text(2, 9)
    with torch.no_grad():
        assert torch.equal(model(ids, attention_mask=torch.ones_like(ids)).logits, model(ids).logits)


# texts that go on


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"num_beams": 4, "num_return_sequences": 2}])
def test_greedy_texts_and_beams_are_the_references(settings: dict[str, Any]) -> None:
    reference, model = pair("text")
    ids = text(2, 8)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    settings = {"max_new_tokens": 7, "attention_mask": mask, "pad_token_id": PAD, **settings}
    assert torch.equal(model.generate(ids, **settings), reference.generate(ids, **settings))


def test_a_prompt_is_computed_once_however_many_texts_go_on_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = pair("text")
    ids, rows = text(2, 8), []
    inner = model.model.forward
    monkeypatch.setattr(
        model.model, "forward", lambda ids=None, **kw: rows.append(tuple(ids.shape)) or inner(ids, **kw)
    )
    settings = {"do_sample": True, "seed": 4, "max_new_tokens": 5}
    drawn = model.generate(ids, num_return_sequences=3, **settings)
    assert rows == [(2, 8)] + [(6, 1)] * 4
    monkeypatch.undo()
    assert torch.equal(drawn[3:], model.generate(ids[1:], num_return_sequences=3, **{**settings, "seed": 7}))
    assert len({tuple(row.tolist()) for row in drawn}) == 6
    assert torch.equal(drawn, model.generate(ids, num_return_sequences=3, use_cache=False, **settings))


def test_a_text_goes_on_from_a_cache_of_its_beginning() -> None:
    _, model = pair("text")
    ids, cache = text(2, 8), antiphon.DynamicCache()
    whole = model.generate(ids, max_new_tokens=5)
    with torch.no_grad():
        model(ids[:, :6], past_key_values=cache)
    assert torch.equal(model.generate(ids, max_new_tokens=5, past_key_values=cache), whole)
    with pytest.raises(ParamError, match=r"past_key_values with 12 columns before a prompt of 8"):
        model.generate(ids, max_new_tokens=5, past_key_values=cache)


def test_ids_that_no_token_has_are_refused() -> None:
    _, model = pair("text")
    for wrong in (TEXTS, -1):
        ids = text(1, 4)
        ids[0, 2] = wrong
        with pytest.raises(ParamError, match=f"Expected 0 to {TEXTS - 1}"):
            model.generate(ids, max_new_tokens=2)


# files


@pytest.mark.parametrize("tied", [True, False])
def test_files_go_both_ways_and_tied_heads_stay_tied(tied: bool, tmp_path: Path) -> None:
    reference, ids = theirs("text", tie_word_embeddings=tied), text(2, 6)
    reference.save_pretrained(tmp_path / "theirs")
    model = antiphon.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs")
    assert type(model) is Qwen2ForCausalLM
    model.save_pretrained(tmp_path / "ours")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        for one in (model, back.eval()):
            assert distance(one(ids).logits, reference(ids).logits) < TOLERANCE
            assert (one.lm_head.weight is one.get_input_embeddings().weight) is tied
        bare = antiphon.AutoModel.from_pretrained(tmp_path / "ours")
        assert type(bare) is Qwen2Model
        assert distance(bare(ids).last_hidden_state, reference.model(ids).last_hidden_state) < TOLERANCE
    with open_weights(tmp_path / "ours") as weights:
        assert ("lm_head.weight" in weights.names()) is not tied


@pytest.mark.parametrize("tied", [True, False])
def test_rounding_takes_the_head_unless_it_is_the_embedding(tied: bool, tmp_path: Path) -> None:
    reference, ids = theirs("text", tie_word_embeddings=tied), text(2, 6)
    reference.save_pretrained(tmp_path)
    model = Qwen2ForCausalLM.from_pretrained(tmp_path, quantize="int8")
    assert type(model.lm_head) is (Linear if tied else QuantizedLinear)
    layer: Any = model.model.text.stack.layers[0]
    assert type(layer.attention.query) is type(layer.mlp.down) is QuantizedLinear
    model.save_pretrained(tmp_path / "rounded")
    again = Qwen2ForCausalLM.from_pretrained(tmp_path / "rounded")
    with torch.no_grad():
        expected = reference(ids).logits
        assert 0 < distance(model(ids).logits, expected) < 0.1 * float(expected.abs().max())
        assert distance(again(ids).logits, model(ids).logits) < 1e-4


@pytest.mark.parametrize("tied", [True, False])
def test_more_tokens_get_rows_in_the_embedding_and_the_head(tied: bool) -> None:
    model = Qwen2ForCausalLM(Qwen2Config(**text_fields(tie_word_embeddings=tied))).eval()
    ids = text(1, 4)
    with torch.no_grad():
        before = model(ids).logits
        model.resize_token_embeddings(TEXTS + 4)
        after = model(ids).logits
    assert after.shape == (1, 4, TEXTS + 4)
    assert torch.equal(after[..., :TEXTS], before)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) is tied
    assert model.config.vocab_size == TEXTS + 4
