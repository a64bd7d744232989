"""One call of the MusicGen models beside transformers: logits, states, attentions, masks, forms of input."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from .conftest import ALL, Pair
from .tiny_musicgen import CODES, column_ids, distance, sound

TOLERANCE = 2e-4


def memory_of(pair: Pair, rows: int = 2, places: int = 5) -> torch.Tensor:
    return torch.randn(rows, places, pair.ours.config.decoder.hidden_size, generator=torch.Generator().manual_seed(4))


@pytest.mark.row("R62", "R81")
@pytest.mark.parametrize("name", ALL)
def test_logits_of_the_composite_equal_the_references(name: str, request: Any, texts: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    ids = column_ids(2, 9, codebooks=pair.books)
    with torch.no_grad():
        theirs = pair.theirs(**texts, decoder_input_ids=ids)
        ours = pair.ours(**texts, decoder_input_ids=ids)
        stacked = pair.ours(**texts, decoder_input_ids=ids.view(2, -1, 9))
        direct = pair.ours.forward(**texts, decoder_input_ids=ids)
    assert ours.logits.shape == (2 * pair.books, pair.prefix(texts) + 9, CODES)
    assert distance(ours.logits, theirs.logits) < TOLERANCE
    condition = "encoder_hidden_states" if pair.has_melody else "encoder_last_hidden_state"
    assert distance(ours[condition], theirs[condition]) < 1e-5
    assert torch.equal(stacked.logits, ours.logits)
    assert torch.equal(direct.logits, ours.logits)
    assert isinstance(pair.ours, torch.nn.Module)


@pytest.mark.row("R71")
def test_hidden_states_and_attentions_equal_the_references(mono_eager: Pair, texts: Any) -> None:
    ids = column_ids(2, 6)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        theirs = mono_eager.theirs(**texts, decoder_input_ids=ids, **wanted)
        ours = mono_eager.ours(**texts, decoder_input_ids=ids, **wanted)
    layers, places = 3, texts["input_ids"].shape[1]
    assert len(ours.decoder_hidden_states) == layers + 1
    assert ours.decoder_attentions[0].shape == (2, 4, 6, 6)
    assert ours.cross_attentions[0].shape == (2, 4, 6, places)
    for field in (
        "decoder_hidden_states",
        "decoder_attentions",
        "cross_attentions",
        "encoder_hidden_states",
        "encoder_attentions",
    ):
        assert len(ours[field]) == len(theirs[field]), field
        assert max(distance(a, b) for a, b in zip(ours[field], theirs[field], strict=True)) < TOLERANCE, field


@pytest.mark.row("R71", "R87", "R112")
def test_fused_and_explicit_attention_agree_and_both_show_their_weights(either: Pair, eager: Pair, texts: Any) -> None:
    ids = column_ids(2, 6)
    with torch.no_grad():
        fused = either.ours(**texts, decoder_input_ids=ids)
        explicit = eager.ours(**texts, decoder_input_ids=ids, output_attentions=True)
        shown = either.ours(**texts, decoder_input_ids=ids, output_attentions=True)
    assert distance(fused.logits, explicit.logits) < 1e-5
    field = "attentions" if either.has_melody else "decoder_attentions"
    assert len(shown[field]) == 3
    assert distance(shown[field][2], explicit[field][2]) < 1e-5


@pytest.mark.row("R87", "R112")
def test_flash_attention_without_a_fitting_device_is_refused_by_name(either: Pair) -> None:
    with pytest.raises(ValueError, match=r"flash_attention_2.*[Ee]xpected|Expected.*CUDA"):
        either.decoder_kind.from_pretrained(either.folder, attn_implementation="flash_attention_2").forward(
            column_ids(1, 3)
        )


@pytest.mark.row("R3")
def test_removing_the_condition_moves_the_logits_far_beyond_the_tolerance(either: Pair, texts: Any) -> None:
    ids = column_ids(2, 6)
    with torch.no_grad():
        with_text = either.ours(**texts, decoder_input_ids=ids).logits[:, -6:]
        without = either.ours.decoder(ids).logits
        other = either.ours(
            input_ids=texts["input_ids"].flip(0), attention_mask=texts["attention_mask"].flip(0), decoder_input_ids=ids
        ).logits[:, -6:]
    assert distance(with_text, without) > 1000 * TOLERANCE
    assert distance(with_text, other) > 1000 * TOLERANCE


@pytest.mark.row("R29", "R31", "R107")
def test_the_standalone_decoder_gives_the_references_logits_with_and_without_a_memory(either: Pair) -> None:
    ids, memory = column_ids(2, 7), memory_of(either)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.no_grad():
        for given in ({}, {"encoder_hidden_states": memory, "encoder_attention_mask": mask}):
            theirs, ours = either.theirs.decoder(ids, **given), either.ours.decoder(ids, **given)
            assert distance(ours.logits, theirs.logits) < TOLERANCE
        bare = either.ours.decoder.model(ids, encoder_hidden_states=memory).last_hidden_state
        assert (
            distance(bare, either.theirs.decoder.model(ids, encoder_hidden_states=memory).last_hidden_state) < TOLERANCE
        )


@pytest.mark.row("R79")
def test_later_columns_do_not_move_earlier_logits(either: Pair) -> None:
    ids = column_ids(1, 8)
    changed = ids.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % CODES
    with torch.no_grad():
        one, other = either.ours.decoder(ids).logits, either.ours.decoder(changed).logits
    assert torch.equal(one[:, :5], other[:, :5])
    assert distance(one[:, 5:], other[:, 5:]) > 0.1


@pytest.mark.row("R64")
@pytest.mark.parametrize("name", ["mono", "mono_eager", "melody", "melody_eager"])
def test_a_masked_column_has_no_influence_and_the_numbers_stay_the_references(name: str, request: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    ids, mask = column_ids(2, 7), torch.ones(2, 7, dtype=torch.long)
    mask[0, 2] = 0
    changed = ids.clone()
    changed[:4, 2] = (changed[:4, 2] + 7) % CODES
    with torch.no_grad():
        ours = pair.ours.decoder(ids, attention_mask=mask).logits
        theirs = pair.theirs.decoder(ids, attention_mask=mask).logits
        moved = pair.ours.decoder(changed, attention_mask=mask).logits
    assert distance(ours, theirs) < TOLERANCE
    assert distance(ours[:4, 3:], moved[:4, 3:]) == 0
    assert distance(ours[:4, 2], moved[:4, 2]) > 0.1  # the masked column itself still sees what it is


@pytest.mark.row("R78")
def test_text_pads_are_zero_for_the_decoder_whatever_stands_there(either: Pair, texts: Any) -> None:
    ids = column_ids(2, 4)
    pads = texts["attention_mask"] == 0
    assert pads.any()
    other = texts["input_ids"].masked_fill(pads, 7)
    with torch.no_grad():
        one = either.ours(**texts, decoder_input_ids=ids).logits
        two = either.ours(input_ids=other, attention_mask=texts["attention_mask"], decoder_input_ids=ids).logits
    assert distance(one, two) == 0


@pytest.mark.row("R78")
def test_projected_pads_are_zero_in_spite_of_the_bias(mono: Pair, texts: Any) -> None:
    pads = texts["attention_mask"] == 0
    projected = mono.ours.project(torch.randn(2, pads.shape[1], 24), texts["attention_mask"])
    assert not projected[pads].any()
    assert projected[~pads].abs().sum() > 0


@pytest.mark.row("R69")
def test_embeddings_in_place_of_ids_give_the_same_and_both_or_neither_is_an_error(either: Pair) -> None:
    decoder, ids = either.ours.decoder, column_ids(2, 6)
    embedded = decoder.model.decoder.embed(ids.view(2, 4, 6))
    with torch.no_grad():
        assert distance(decoder(inputs_embeds=embedded).logits, decoder(ids).logits) == 0
    with pytest.raises(ValueError, match="both"):
        decoder(ids, inputs_embeds=embedded)
    with pytest.raises(ValueError, match="either"):
        decoder()
    with pytest.raises(ValueError, match="exactly one"):
        either.ours.text_encoder()


@pytest.mark.row("R69")
def test_text_embeddings_and_decoder_embeddings_pass_through_the_composite(either: Pair, texts: Any) -> None:
    ids = column_ids(2, 4)
    embedded = either.ours.text_encoder.get_input_embeddings()(texts["input_ids"])
    columns = either.ours.decoder.model.decoder.embed(ids.view(2, 4, 4))
    with torch.no_grad():
        plain = either.ours(**texts, decoder_input_ids=ids).logits
        ours = either.ours(
            inputs_embeds=embedded, attention_mask=texts["attention_mask"], decoder_inputs_embeds=columns
        ).logits
    assert distance(plain, ours) < 1e-5


@pytest.mark.row("R70")
def test_outputs_answer_by_name_key_and_place_and_become_tuples_on_request(either: Pair, texts: Any) -> None:
    ids = column_ids(2, 3)
    with torch.no_grad():
        out = either.ours(**texts, decoder_input_ids=ids, use_cache=False)
        plain = either.ours(**texts, decoder_input_ids=ids, use_cache=False, return_dict=False)
    assert out.logits is out["logits"] is out[0]
    assert isinstance(plain, tuple)
    assert len(plain) == 2  # logits and the conditions; what is empty is left out
    assert torch.equal(plain[0], out.logits)
    assert list(out) == ["logits", "encoder_hidden_states" if either.has_melody else "encoder_last_hidden_state"]


@pytest.mark.row("R48", "E7")
def test_the_configuration_decides_what_a_call_leaves_open(fresh: Any) -> None:
    ids = column_ids(1, 3)
    decoder = fresh.decoder
    decoder.config.output_hidden_states = True
    assert len(decoder(ids).hidden_states) == 4
    decoder.config.use_cache = False
    assert decoder(ids).past_key_values is None
    decoder.config.return_dict = False
    assert isinstance(decoder(ids), tuple)
    assert isinstance(decoder.model(ids), tuple)
    assert decoder(ids, return_dict=True).logits.shape == (4, 3, CODES)
    fresh.config.return_dict = False
    assert isinstance(fresh(torch.tensor([[5, 1]]), decoder_input_ids=ids), tuple)


@pytest.mark.row("R98", "E3")
def test_a_head_mask_acts_with_explicit_attention_only(
    mono: Pair, mono_eager: Pair, texts: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ids, closed = column_ids(2, 4), torch.zeros(3, 4)
    with torch.no_grad():
        plain = mono.ours.decoder(ids).logits
        with caplog.at_level(logging.WARNING):
            assert torch.equal(mono.ours.decoder(ids, head_mask=closed).logits, plain)
        assert "head_mask has no effect" in caplog.text
        explicit = mono_eager.ours.decoder(ids).logits
        assert distance(mono_eager.ours.decoder(ids, head_mask=torch.ones(3, 4)).logits, explicit) == 0
        assert distance(mono_eager.ours.decoder(ids, head_mask=closed).logits, explicit) > 0.1
        one_head = torch.ones(3, 4)
        one_head[1, 2] = 0
        assert distance(mono_eager.ours.decoder(ids, head_mask=one_head).logits, explicit) > 1e-3
        whole = mono_eager.ours(**texts, decoder_input_ids=ids).logits
        for name, layers in (("decoder_head_mask", 3), ("cross_attn_head_mask", 3), ("head_mask", 2)):
            masked = mono_eager.ours(**texts, decoder_input_ids=ids, **{name: torch.zeros(layers, 4)}).logits
            assert distance(masked, whole) > 1e-3, name


@pytest.mark.row("R63")
def test_codes_of_a_sound_stand_in_for_decoder_ids_once_flattened(either: Pair, texts: Any) -> None:
    values = sound(2, 1, 3000)
    with torch.no_grad():
        codes = either.ours.audio_encoder.encode(values).audio_codes
        assert codes.shape == (1, 2, 4, 5)
        flat = codes[0].reshape(2 * 4, -1)
        ours = either.ours(**texts, decoder_input_ids=flat).logits
        theirs = either.theirs(**texts, decoder_input_ids=flat).logits
    assert distance(ours, theirs) < TOLERANCE


def test_a_sound_stands_in_for_its_codes(mono: Pair, texts: Any) -> None:
    values = sound(2, 1, 3000)
    with torch.no_grad():
        flat = mono.ours.audio_encoder.encode(values).audio_codes[0].flatten(0, 1)
        assert torch.equal(
            mono.ours(**texts, input_values=values).logits, mono.ours(**texts, decoder_input_ids=flat).logits
        )


@pytest.mark.row("R93")
def test_in_a_stereo_call_one_channels_codes_stand_for_both(stereo: Pair, texts: Any) -> None:
    values = sound(2, 1, 2000)
    with torch.no_grad():
        ours, theirs = stereo.ours(**texts, input_values=values), stereo.theirs(**texts, input_values=values)
    assert distance(ours.logits, theirs.logits) < TOLERANCE


@pytest.mark.row("R111")
def test_encoder_outputs_come_as_a_tuple_or_as_an_object(mono: Pair, texts: Any) -> None:
    ids = column_ids(2, 4)
    with torch.no_grad():
        states = mono.ours.text_encoder(**texts)
        whole = mono.ours(**texts, decoder_input_ids=ids).logits
        for given in (states, (states[0],), states[0]):
            out = mono.ours(encoder_outputs=given, attention_mask=texts["attention_mask"], decoder_input_ids=ids)
            assert torch.equal(out.logits, whole)


def test_an_unknown_argument_of_a_call_is_an_error_that_names_the_nearest(either: Pair) -> None:
    with pytest.raises(TypeError, match="attention_mask"):
        either.ours(torch.tensor([[5, 1]]), atention_mask=None, decoder_input_ids=column_ids(1, 2))


def test_arguments_with_a_parts_prefix_go_to_that_part(mono: Pair, texts: Any) -> None:
    ids, positions = column_ids(2, 4), torch.arange(4).repeat(2, 1)
    with torch.no_grad():
        plain = mono.ours(**texts, decoder_input_ids=ids).logits
        same = mono.ours(**texts, decoder_input_ids=ids, decoder_position_ids=positions).logits
        later = mono.ours(**texts, decoder_input_ids=ids, decoder_position_ids=positions + 50).logits
    assert distance(plain, same) < 1e-5
    assert distance(plain, later) > 1e-2


@pytest.mark.row("R42")
def test_scaled_embeddings_are_divided_by_the_root_of_the_width(either: Pair) -> None:
    scaled = either.decoder_kind.from_pretrained(either.folder, scale_embedding=True)
    ids = column_ids(1, 5)
    embedded = either.ours.decoder.model.decoder.embed(ids.view(1, 4, 5))
    with torch.no_grad():
        ours = scaled(ids).logits
        by_hand = either.ours.decoder(inputs_embeds=embedded / 32**0.5).logits
    assert distance(ours, by_hand) < 1e-5
    assert distance(ours, either.ours.decoder(ids).logits) > 0.1


@pytest.mark.row("R47")
def test_the_activation_function_is_the_one_named_or_given(either: Pair) -> None:
    ids = column_ids(1, 4)
    logits = {}
    for act in ("gelu", "relu", "silu", torch.nn.functional.relu):
        model = either.decoder_kind.from_pretrained(either.folder, activation_function=act)
        with torch.no_grad():
            logits[act] = model(ids).logits
    assert torch.equal(logits["gelu"], either.ours.decoder(ids).logits)
    assert distance(logits["gelu"], logits["relu"]) > 1e-2
    assert distance(logits["silu"], logits["relu"]) > 1e-2
    assert torch.equal(logits[torch.nn.functional.relu], logits["relu"])


@pytest.mark.row("R40")
def test_columns_beyond_the_stated_maximum_still_get_positions(either: Pair) -> None:
    short = either.decoder_kind.from_pretrained(either.folder, max_position_embeddings=4)
    ids = column_ids(1, 12)
    with torch.no_grad():
        assert distance(short(ids).logits, either.theirs.decoder(ids).logits) < TOLERANCE
