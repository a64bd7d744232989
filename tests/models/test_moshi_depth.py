"""Moshi's depth decoder beside transformers: codebooks at once, one by one, and frames that it makes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import antiphon
from antiphon.errors import ParamError
from antiphon.models.moshi import MoshiDepthDecoder

from .tiny_moshi import CODES, TEXTS, codes, distance, noise, ours, pair, text, theirs

TOLERANCE = 1e-4
BOOKS = 4


def told(rows: int = 3, books: int = BOOKS) -> Tensor:
    """What the steps of a frame are told."""
    return torch.cat([text(rows, 1), codes(rows, 1, books=books)[:, : books - 1, 0]], dim=1)


@pytest.mark.row("R187")
def test_it_is_a_public_name() -> None:
    assert antiphon.MoshiDepthDecoder is MoshiDepthDecoder
    assert type(pair("MoshiDepthDecoder")[1]) is antiphon.MoshiDepthDecoder


@pytest.mark.row("R160")
def test_every_codebook_has_weights_of_its_own_which_the_documents_stack() -> None:
    reference, model = pair("MoshiDepthDecoder")
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes == {name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()}
    assert shapes["lm_heads.weight"] == (BOOKS, CODES, 24)
    assert shapes["input_projections.weight"] == (BOOKS, 24, 32)
    assert shapes["layers.0.self_attn.q_proj.linear.weight"] == (BOOKS, 24, 24)
    assert shapes["text_embed_tokens.weight"] == (TEXTS + 1, 24)
    assert [name for name in shapes if name.startswith("embed_tokens")] == [
        f"embed_tokens.{k}.weight" for k in range(BOOKS - 1)
    ]
    reference.load_state_dict(model.state_dict())


@pytest.mark.row("R175")
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_whole_frame_is_causal_whatever_the_kind_of_attention(attention: str) -> None:
    reference, model = pair("MoshiDepthDecoder")
    model = ours(reference)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        expected = reference(input_ids=told(), last_hidden_state=noise(3, 1, 32), output_hidden_states=True)
        out = model(told(), noise(3, 1, 32), output_hidden_states=True, output_attentions=True)
        assert out.logits.shape == (3, BOOKS, CODES)
        assert distance(out.logits, expected.logits) < TOLERANCE
        for mine, other in zip(out.hidden_states, expected.hidden_states, strict=True):
            assert distance(mine, other) < TOLERANCE
        assert not any(weights.triu(1).any() for weights in out.attentions)
        changed = told()
        changed[:, 2] = (changed[:, 2] + 1) % CODES
        moved = (model(changed, noise(3, 1, 32)).logits - out.logits).abs().amax(dim=(0, 2))
    assert (moved[:2] < 1e-4).all()
    assert (moved[2:] > 1e-2).all()


@pytest.mark.row("R175")
def test_codebooks_one_by_one_through_a_cache_are_the_whole() -> None:
    _, model = pair("MoshiDepthDecoder")
    moment, cache = noise(3, 1, 32), antiphon.DynamicCache()
    with torch.no_grad():
        whole = model(told(), moment)
        first = model(told()[:, :2], moment, past_key_values=cache)
        rest = [model(told()[:, k : k + 1], moment, past_key_values=first.past_key_values).logits for k in (2, 3)]
    assert first.past_key_values is cache
    assert distance(torch.cat([first.logits, *rest], dim=1), whole.logits) < TOLERANCE
    assert whole.past_key_values.get_seq_length() == BOOKS


@pytest.mark.row("R159")
def test_more_places_than_codebooks_are_refused() -> None:
    _, model = pair("MoshiDepthDecoder")
    with pytest.raises(ParamError, match="1 to 4 codebooks"):
        model(torch.zeros(1, 5, dtype=torch.long), noise(1, 1, 32))
    with pytest.raises(ParamError, match="at most 4"):
        model.generate(text(1, 1), last_hidden_state=noise(1, 1, 32), max_length=12)
    with pytest.raises(ParamError, match="position_ids"):
        model(told(), noise(3, 1, 32), position_ids=torch.tensor([[1, 2, 3, 4]]))
    with pytest.raises(ParamError, match="last_hidden_state"):
        model(told())
    assert model(told(), noise(3, 1, 32), position_ids=torch.arange(4)[None]).logits.shape == (3, 4, CODES)


def test_losses_and_gradients_are_the_references() -> None:
    reference = theirs("MoshiDepthDecoder")
    model = ours(reference)
    labels = codes(3, 1)[..., 0]
    labels[0, 1], labels[1, 2] = -100, CODES
    losses = []
    for one in (reference, model):
        out = one(input_ids=told(), last_hidden_state=noise(3, 1, 32), labels=labels)
        out.loss.backward()
        losses.append(out.loss)
    assert distance(losses[0], losses[1]) < TOLERANCE
    keys = torch.stack([step.layers[0].attention.key.weight.grad for step in model.depth.steps])
    assert distance(keys, reference.layers[0].self_attn.k_proj.linear.weight.grad) < TOLERANCE
    norm = reference.layers[1].input_layernorm.weight.grad
    assert distance(model.depth.steps[2].layers[1].attention_norm.weight.grad, norm) < TOLERANCE


@pytest.mark.row("R158")
def test_greedy_frames_are_the_references() -> None:
    reference, model = pair("MoshiDepthDecoder")
    given = {"last_hidden_state": noise(3, 1, 32), "input_ids": text(3, 1)}
    expected = reference.generate(**given, max_length=BOOKS + 1)
    assert expected.shape == (3, BOOKS + 1)
    assert torch.equal(model.generate(**given, max_length=BOOKS + 1), expected)
    assert torch.equal(model.generate(**given), expected)
    assert torch.equal(model.generate(**given, max_length=3), expected[:, :3])
    assert torch.equal(model.generate(**given, max_new_tokens=3), expected[:, :4])


@pytest.mark.row("R158")
def test_more_codebooks_than_usual_give_the_references_frames() -> None:
    codec = {"model_type": "mimi", "num_quantizers": 12, "codebook_size": CODES}
    reference = theirs(
        "MoshiDepthDecoder",
        num_codebooks=11,
        audio_encoder_config=codec,
        depth={"sliding_window": 11, "max_position_embeddings": 12, "num_key_value_heads": 1},
    )
    model = ours(reference)
    given = {"last_hidden_state": noise(2, 1, 32), "input_ids": text(2, 1)}
    frame = model.generate(**given)
    assert torch.equal(frame, reference.generate(**given, max_length=12))
    with torch.no_grad():
        logits = model(frame[:, :-1], given["last_hidden_state"]).logits
    assert torch.equal(logits.argmax(dim=-1), frame[:, 1:])


def test_a_window_hides_the_first_codebooks() -> None:
    reference = theirs("MoshiDepthDecoder", depth={"sliding_window": 2, "num_hidden_layers": 1})
    model = ours(reference)
    changed = told()
    changed[:, 0] = (changed[:, 0] + 1) % TEXTS
    cache = antiphon.DynamicCache()
    with torch.no_grad():
        before = model(told(), noise(3, 1, 32)).logits
        moved = (model(changed, noise(3, 1, 32)).logits - before).abs().amax(dim=(0, 2))
        steps = [model(told()[:, k : k + 1], noise(3, 1, 32), past_key_values=cache).logits for k in range(BOOKS)]
    assert (moved > 0).tolist() == [True, True, False, False]
    assert distance(torch.cat(steps, dim=1), before) < TOLERANCE


def test_processors_and_draws_hold_for_codebooks() -> None:
    _, model = pair("MoshiDepthDecoder")
    given: dict[str, Any] = {"last_hidden_state": noise(2, 1, 32), "input_ids": text(2, 1)}
    free = model.generate(**given)
    banned = model.generate(
        **given, suppress_tokens=[int(free[0, 1])], return_dict_in_generate=True, output_scores=True
    )
    assert int(banned.sequences[0, 1]) != int(free[0, 1])
    assert len(banned.scores) == BOOKS
    drawn = model.generate(**given, do_sample=True, temperature=3.0, seed=4)
    assert not torch.equal(drawn, free)
    alone = model.generate(
        last_hidden_state=given["last_hidden_state"][1:],
        input_ids=given["input_ids"][1:],
        do_sample=True,
        temperature=3.0,
        seed=5,
    )
    assert torch.equal(alone, drawn[1:])
    several = model.generate(**given, do_sample=True, temperature=3.0, seed=4, num_return_sequences=2)
    assert several.shape == (4, BOOKS + 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eos_token_id": 3}, "eos_token_id=3"),
        ({"stopping_criteria": [1]}, "stopping_criteria"),
        ({"num_beams": 2}, "num_beams=2"),
        ({"guidance_scale": 3.0}, "guidance_scale=3.0"),
        ({"window_seconds": 10.0}, "window_seconds=10.0"),
        ({"input_ids": torch.zeros(1, 2, dtype=torch.long)}, "input_ids of shape"),
        ({"last_hidden_state": torch.zeros(1, 2, 32)}, "last_hidden_state of shape"),
        ({"last_hidden_state": None}, "last_hidden_state"),
        ({"do_sample": True, "seed": 1, "noise": lambda k: torch.zeros(1, CODES)}, "seed and noise"),
    ],
)
def test_what_means_nothing_within_a_frame_is_refused(arguments: dict[str, Any], message: str) -> None:
    _, model = pair("MoshiDepthDecoder")
    given = {"last_hidden_state": noise(1, 1, 32), "input_ids": text(1, 1), **arguments}
    with pytest.raises(ParamError, match=message):
        model.generate(**given)
