"""One call of the whole of Moshi beside transformers: three inputs, masks, labels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import antiphon
from antiphon.errors import ParamError
from antiphon.models.moshi import MoshiConfig, MoshiForConditionalGeneration
from antiphon.outputs import MoshiConditionalGenerationOutputWithPast

from .tiny_moshi import CODES, HOP, TEXTS, codes, distance, fields, noise, ours, pair, spoken, text, theirs

TOLERANCE = 1e-4
KIND = "MoshiForConditionalGeneration"


@pytest.mark.row("R184")
def test_the_default_configuration_builds_moshiko() -> None:
    with torch.device("meta"):
        model = MoshiForConditionalGeneration(MoshiConfig())
    assert 7e9 < sum(p.numel() for p in model.parameters()) < 8e9


@pytest.mark.row("R154", "R156", "R173")
def test_three_streams_are_embedded_and_summed() -> None:
    reference, model = pair(KIND)
    inputs = spoken()
    assert len(model.embed_tokens) == 8
    with torch.no_grad():
        out = model(**inputs)
        assert distance(out.logits, reference(**inputs).logits) < TOLERANCE
        embedded = model.get_input_embeddings()(inputs["input_ids"])
        for k in range(4):
            embedded = embedded + model.embed_tokens[k](inputs["moshi_audio_codes"][:, k])
            embedded = embedded + model.embed_tokens[4 + k](inputs["user_audio_codes"][:, k])
        assert distance(model(inputs_embeds=embedded).logits, out.logits) < TOLERANCE
    assert isinstance(out, MoshiConditionalGenerationOutputWithPast)
    assert out.logits.shape == (2, 7, TEXTS)


@pytest.mark.row("R174", "R199")
def test_states_caches_and_tuples_are_there() -> None:
    reference, model = pair(KIND)
    with torch.no_grad():
        wanted = {"output_hidden_states": True}
        expected, out = reference(**spoken(), **wanted), model(**spoken(), **wanted)
        assert distance(out.last_hidden_state, expected.last_hidden_state) < TOLERANCE
        assert len(out.hidden_states) == len(expected.hidden_states) == 4
        cache = antiphon.DynamicCache()
        first = {name: part[..., :4] for name, part in spoken().items()}
        rest = {name: part[..., 4:] for name, part in spoken().items()}
        pieces = [model(**part, past_key_values=cache).logits for part in (first, rest)]
        assert distance(torch.cat(pieces, dim=1), out.logits) < TOLERANCE
        assert isinstance(model(**spoken(), return_dict=False), tuple)
    # what belongs to the depth decoder is its own, and it did not run
    assert out.depth_hidden_states is None
    assert out.depth_past_key_values is None


def test_padded_columns_are_not_seen() -> None:
    reference, model = pair(KIND)
    mask = torch.ones(2, 7, dtype=torch.int64)
    mask[0, :2] = 0
    with torch.no_grad():
        expected, out = (one(**spoken(), attention_mask=mask).logits for one in (reference, model))
        other = spoken()
        other["user_audio_codes"][0, :, :2] = 0
        assert torch.equal(model(**other, attention_mask=mask).logits[0, 2:], out[0, 2:])
    assert distance(out, expected) < TOLERANCE


@pytest.mark.row("R195", "R196")
def test_sound_is_encoded_and_codes_and_embeddings_have_priority() -> None:
    reference, model = pair(KIND)
    inputs, sound = spoken(), noise(2, 1, 7 * HOP) * 0.3
    values = {"user_input_values": sound, "moshi_input_values": sound.flip(0)}
    with torch.no_grad():
        heard = model(inputs["input_ids"], **values).logits
        assert distance(heard, reference(input_ids=inputs["input_ids"], **values).logits) < TOLERANCE
        by_codes = model(**inputs).logits
        assert distance(heard, by_codes) > 0.1
        assert torch.equal(model(**inputs, **values).logits, by_codes)
        embedded = noise(2, 7, 32)
        assert torch.equal(model(**inputs, inputs_embeds=embedded).logits, model(inputs_embeds=embedded).logits)


@pytest.mark.row("R172", "R174", "R197", "R198")
def test_losses_of_text_and_codes_are_the_references() -> None:
    reference, model = pair(KIND)
    inputs = spoken()
    labels = {"text_labels": inputs["input_ids"], "audio_labels": codes(2, 7, seed=8)}
    labels["audio_labels"][0, :, 5:] = CODES  # does not count
    expected, out = reference(**inputs, **labels), model(**inputs, **labels)
    for name in ("loss", "depth_loss", "logits", "audio_logits", "last_hidden_state"):
        assert distance(out[name], expected[name]) < TOLERANCE, name
    assert out.audio_logits.shape == (14, 4, CODES)
    assert distance(out.loss - out.depth_loss, model(**inputs, text_labels=inputs["input_ids"]).loss) < TOLERANCE


@pytest.mark.row("R172")
def test_gradients_of_both_losses_reach_all_parts_and_frozen_ones_get_none() -> None:
    reference = theirs(KIND)
    model = ours(reference)
    model.freeze_audio_encoder()
    inputs = spoken()
    labels = {"text_labels": inputs["input_ids"], "audio_labels": codes(2, 7, seed=8)}
    for one in (reference, model):
        one(**inputs, **labels).loss.backward()
    own = model.decoder.model.text.stack.layers[0].attention.value.weight.grad
    assert distance(own, reference.decoder.model.layers[0].self_attn.v_proj.linear.weight.grad) < TOLERANCE
    for k in (0, 7):
        assert distance(model.embed_tokens[k].weight.grad, reference.embed_tokens[k].weight.grad) < TOLERANCE
    assert all(p.grad is None and not p.requires_grad for p in model.audio_encoder.parameters())
    model.freeze_depth_decoder()
    assert not any(p.requires_grad for p in model.depth_decoder.parameters())


@pytest.mark.row("R172", "R198")
def test_labels_that_do_not_count_need_no_embedding() -> None:
    _, model = pair(KIND)
    inputs = spoken()
    text_labels, audio_labels = inputs["input_ids"].clone(), codes(2, 7, seed=8)
    text_labels[0, :3] = -100
    audio_labels[1, :, 2:] = -100
    mask = torch.ones(2, 7, dtype=torch.int64)
    mask[0, :2] = 0
    with torch.no_grad():
        out = model(**inputs, attention_mask=mask, text_labels=text_labels, audio_labels=audio_labels)
        counted = audio_labels.clone()
        counted[1, :, 2:] = CODES
        other = model(**inputs, attention_mask=mask, text_labels=text_labels, audio_labels=counted)
        alone = model(**inputs, attention_mask=mask, audio_labels=audio_labels)
    assert bool(torch.isfinite(out.loss))
    # the first rows are told the same, wherever the labels of the second stop counting
    assert distance(out.audio_logits[:7], other.audio_logits[:7]) < 1e-6
    # without text labels the depth decoder is told the text itself
    assert distance(alone.loss, out.depth_loss) < TOLERANCE


def test_settings_go_to_the_parts_that_they_name() -> None:
    _, model = pair(KIND)
    inputs = spoken()
    labels = {"text_labels": inputs["input_ids"], "audio_labels": inputs["moshi_audio_codes"]}
    with torch.no_grad():
        out = model(**inputs, **labels, depth_decoder_output_hidden_states=True, decoder_output_attentions=True)
    assert len(out.depth_hidden_states) == 3
    assert out.depth_hidden_states[0].shape == (14, 4, 24)
    assert len(out.attentions) == 3
    with pytest.raises(TypeError, match="text_labels"):
        model(**inputs, text_label=inputs["input_ids"])


@pytest.mark.row("R196")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_ids": None, "moshi_audio_codes": None, "user_audio_codes": None}, "no inputs"),
        ({"input_ids": text(2, 6)}, "same number"),
        ({"user_audio_codes": codes(1, 7)}, "same number"),
        ({"user_audio_codes": codes(2, 7, books=3)}, "audio codes of shape"),
        ({"user_audio_codes": codes(2, 7) + CODES}, "0 to 32"),
        ({"input_ids": text(2, 7) - 50}, "0 to 40"),
        ({"audio_labels": codes(2, 6)}, "audio_labels of shape"),
        ({"user_audio_codes": None, "user_input_values": noise(2, HOP)}, "input values of shape"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    _, model = pair(KIND)
    with pytest.raises(ParamError, match=message):
        model(**{**spoken(), **changes})


def test_a_stream_may_be_left_out() -> None:
    _, model = pair(KIND)
    inputs = spoken()
    with torch.no_grad():
        alone = model(inputs["input_ids"]).logits
        assert distance(alone, model.decoder(inputs["input_ids"]).logits) < TOLERANCE
        assert distance(model(user_audio_codes=inputs["user_audio_codes"]).logits, alone) > 0.1


@pytest.mark.row("R200", "R207", "R208")
def test_a_conversation_begins_with_initial_tokens() -> None:
    reference, model = pair(KIND)
    for count in (1, 3):
        own, other = model.get_unconditional_inputs(count), reference.get_unconditional_inputs(count)
        assert list(own) == list(other)
        assert all(torch.equal(own[name], other[name]) for name in own)
    with torch.no_grad():
        assert model(**model.get_unconditional_inputs()).logits.shape == (1, 1, TEXTS)
    with pytest.raises(ParamError, match="num_samples=0"):
        model.get_unconditional_inputs(0)
    with pytest.raises(TypeError, match="max_new_tokens"):
        model.get_unconditional_inputs(max_new_tokens=5)


def test_parts_are_the_live_modules() -> None:
    model = MoshiForConditionalGeneration(MoshiConfig(**fields()))
    assert model.get_decoder() is model.decoder
    assert model.get_depth_decoder() is model.depth_decoder
    assert model.get_audio_encoder() is model.audio_encoder
    assert model.get_input_embeddings() is model.decoder.model.text.embedding
    assert model.get_output_embeddings() is model.decoder.lm_head
    assert model.decoder.config is model.config
    assert model.depth_decoder.config is model.config.depth_decoder_config
