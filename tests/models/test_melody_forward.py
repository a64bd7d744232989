"""One call of the Melody models beside transformers: a melody and a text as a prefix of the columns."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from antiphon.outputs import MusicgenMelodyOutputWithPast

from .conftest import Pair
from .tiny_melody import CHROMA, CHROMA_LENGTH, chroma, null, tiled
from .tiny_musicgen import CODES, column_ids, distance

TOLERANCE = 2e-4
NAMES = ["melody", "melody_stereo", "melody_narrow"]


def projected(pair: Pair, features: torch.Tensor) -> torch.Tensor:
    """Frames as wide as the decoder, by the weights as files name them."""
    state = pair.ours.state_dict()
    if "audio_enc_to_dec_proj.weight" not in state:
        return features
    return features @ state["audio_enc_to_dec_proj.weight"].T + state["audio_enc_to_dec_proj.bias"]


@pytest.mark.row("R7", "R50", "R61", "R77")
@pytest.mark.parametrize("frames", [1, 4, CHROMA_LENGTH, 20])
@pytest.mark.parametrize("name", NAMES)
def test_the_prefix_is_the_melody_and_then_the_text(name: str, frames: int, request: Any, texts: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    length, features = pair.ours.config.chroma_length, chroma(2, frames)
    asked = {**texts, "input_features": features, "decoder_input_ids": column_ids(2, 5, codebooks=pair.books)}
    with torch.no_grad():
        ours, theirs = pair.ours(**asked), pair.theirs(**asked)
        alone = pair.ours(**texts, decoder_input_ids=asked["decoder_input_ids"])
    prefix = ours.encoder_hidden_states
    assert prefix.shape == (2, pair.prefix(texts), pair.ours.config.decoder.hidden_size)
    assert distance(prefix, theirs.encoder_hidden_states) < 1e-5
    assert distance(prefix[:, :length], projected(pair, tiled(features, length))) < 1e-5
    assert torch.equal(prefix[:, length:], alone.encoder_hidden_states[:, length:])
    assert distance(ours.logits, theirs.logits) < TOLERANCE


@pytest.mark.row("R7", "R75")
@pytest.mark.parametrize("given", ["both", "melody", "text", "neither"])
@pytest.mark.parametrize("name", NAMES)
def test_logits_over_prefix_and_columns_equal_the_references(name: str, given: str, request: Any, texts: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    asked: dict[str, Any] = {"decoder_input_ids": column_ids(2, 6, codebooks=pair.books)}
    prefix = 0
    if given in ("both", "text"):
        asked |= texts
        prefix = pair.prefix(texts)
    if given in ("both", "melody"):
        asked["input_features"] = chroma(2, 7)
        prefix = prefix or pair.ours.config.chroma_length
    with torch.no_grad():
        ours, theirs = pair.ours(**asked), pair.theirs(**asked)
    assert ours.logits.shape == (2 * pair.books, prefix + 6, CODES)
    assert distance(ours.logits, theirs.logits) < TOLERANCE


@pytest.mark.row("R75", "R76")
def test_two_prompts_give_the_documented_shape_of_logits(melody: Pair, texts: Any) -> None:
    model = melody.kind.from_pretrained(melody.folder, chroma_length=235)
    start = torch.full((2 * model.decoder.num_codebooks, 1), model.generation_config.pad_token_id)
    with torch.no_grad():
        logits = model(**texts, decoder_input_ids=start).logits
    assert logits.shape == (8, 235 + texts["input_ids"].shape[1] + 1, CODES)


@pytest.mark.row("R61")
def test_the_length_of_the_melody_comes_from_the_configuration(melody: Pair, texts: Any) -> None:
    asked = {**texts, "input_features": chroma(2, 7), "decoder_input_ids": column_ids(2, 3)}
    lengths = {}
    for length in (1, 5, 235):
        ours = melody.kind.from_pretrained(melody.folder, chroma_length=length)
        theirs = melody.their_kind.from_pretrained(melody.folder, chroma_length=length).eval()
        with torch.no_grad():
            out, expected = ours(**asked), theirs(**asked)
        assert distance(out.logits, expected.logits) < TOLERANCE
        lengths[length] = out.encoder_hidden_states.shape[1]
    assert lengths == {length: length + texts["input_ids"].shape[1] for length in lengths}


@pytest.mark.row("R61")
@pytest.mark.parametrize(("frames", "warned"), [(CHROMA_LENGTH - 1, False), (CHROMA_LENGTH, False), (10, True)])
def test_only_a_melody_that_is_cut_is_warned_of(
    melody: Pair, frames: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="antiphon"), torch.no_grad():
        melody.ours(input_features=chroma(1, frames), decoder_input_ids=column_ids(1, 2))
    assert ("10 frames" in caplog.text or " 10 " in caplog.text) is warned
    assert bool(caplog.records) is warned


@pytest.mark.row("R61")
def test_frames_beyond_the_length_have_no_influence(melody: Pair, texts: Any) -> None:
    features = chroma(2, 20)
    other = torch.cat([features[:, :CHROMA_LENGTH], features[:, CHROMA_LENGTH:].flip(-1)], dim=1)
    asked = {**texts, "decoder_input_ids": column_ids(2, 4)}
    with torch.no_grad():
        one, two = (melody.ours(**asked, input_features=f).logits for f in (features, other))
    assert torch.equal(one, two)


@pytest.mark.row("R71", "R75")
def test_states_and_attentions_span_prefix_and_columns_and_equal_the_references(melody_eager: Pair, texts: Any) -> None:
    asked = {**texts, "input_features": chroma(2, 7), "decoder_input_ids": column_ids(2, 6)}
    asked |= {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        ours, theirs = melody_eager.ours(**asked), melody_eager.theirs(**asked)
    span = melody_eager.prefix(texts) + 6
    assert [h.shape for h in ours.hidden_states] == [torch.Size([2, span, 32])] * 4
    assert [a.shape for a in ours.attentions] == [torch.Size([2, 4, span, span])] * 3
    for name in ("hidden_states", "attentions"):
        assert len(theirs[name]) == len(ours[name])
        assert max(distance(a, b) for a, b in zip(ours[name], theirs[name], strict=True)) < TOLERANCE, name


@pytest.mark.row("R7")
def test_there_is_no_cross_attention(melody: Pair) -> None:
    assert not any("encoder_attn" in name for name in melody.ours.state_dict())
    with torch.no_grad():
        out = melody.ours.decoder(column_ids(1, 3), encoder_hidden_states=torch.randn(1, 5, 32))
        last = melody.ours.decoder.model(column_ids(1, 3), encoder_hidden_states=torch.randn(1, 5, 32))
    assert out.logits.shape == (4, 5 + 3, CODES)
    assert last.last_hidden_state.shape == (1, 5 + 3, 32)


@pytest.mark.row("R65")
@pytest.mark.parametrize("name", ["melody", "melody_eager"])
@pytest.mark.parametrize("masked", ["prefix", "columns", "both"])
def test_one_mask_alone_is_completed_with_ones(name: str, masked: str, request: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    memory = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(4))
    prefix, columns = torch.ones(2, 5, dtype=torch.long), torch.ones(2, 6, dtype=torch.long)
    prefix[0, 3:], columns[1, 2] = 0, 0
    asked = {"encoder_hidden_states": memory}
    asked |= {"encoder_attention_mask": prefix} if masked != "columns" else {}
    asked |= {"attention_mask": columns} if masked != "prefix" else {}
    with torch.no_grad():
        ours = pair.ours.decoder(column_ids(2, 6), **asked).logits
        theirs = pair.theirs.decoder(column_ids(2, 6), **asked).logits
    assert distance(ours, theirs) < TOLERANCE


@pytest.mark.row("R64", "R65")
def test_a_masked_place_of_the_prefix_has_no_influence(melody: Pair) -> None:
    memory, mask = torch.randn(2, 5, 32), torch.ones(2, 5, dtype=torch.long)
    mask[:, 2] = 0
    other = memory.clone()
    other[:, 2] += 5
    with torch.no_grad():
        one, two = (
            melody.ours.decoder(column_ids(2, 4), encoder_hidden_states=m, encoder_attention_mask=mask).logits
            for m in (memory, other)
        )
        seen = melody.ours.decoder(column_ids(2, 4), encoder_hidden_states=other).logits
    assert distance(one[:, 3:], two[:, 3:]) == 0
    assert distance(one[:, 3:], seen[:, 3:]) > 0.1


@pytest.mark.row("R65", "R77")
def test_states_given_to_the_composite_are_the_whole_prefix(melody: Pair) -> None:
    memory, ids = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(4)), column_ids(2, 4)
    with torch.no_grad():
        ours = melody.ours(encoder_hidden_states=memory, decoder_input_ids=ids)
        theirs = melody.theirs(encoder_hidden_states=memory, decoder_input_ids=ids)
        decoder = melody.ours.decoder(ids, encoder_hidden_states=memory)
    assert ours.logits.shape == (8, 5 + 4, CODES)
    assert torch.equal(ours.logits, decoder.logits)
    assert distance(ours.logits, theirs.logits) < TOLERANCE


@pytest.mark.row("R78")
def test_pads_of_the_text_stay_in_the_prefix_as_zeros(melody: Pair, texts: Any) -> None:
    pads = texts["attention_mask"] == 0
    assert pads.any()
    with torch.no_grad():
        prefix = melody.ours(**texts, decoder_input_ids=column_ids(2, 2)).encoder_hidden_states
    assert not prefix[:, CHROMA_LENGTH:][pads].any()
    assert (prefix[:, CHROMA_LENGTH:][~pads].abs().sum(-1) > 0).all()


@pytest.mark.row("R80")
def test_embeddings_alone_stand_for_the_columns_too(melody_stereo: Pair) -> None:
    embedded = torch.randn(2, 4, 32, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        ours = melody_stereo.ours(inputs_embeds=embedded).logits
        stated = melody_stereo.theirs(inputs_embeds=embedded, decoder_inputs_embeds=embedded).logits
    assert distance(ours, stated) < TOLERANCE


@pytest.mark.row("R70", "R77")
def test_the_output_is_of_its_own_class_with_the_documented_fields(melody: Pair, texts: Any) -> None:
    asked = {**texts, "decoder_input_ids": column_ids(2, 3)}
    labels = torch.zeros(2, 3, 4, dtype=torch.long)
    with torch.no_grad():
        out = melody.ours(**asked, labels=labels, use_cache=True, output_hidden_states=True, output_attentions=True)
        part = melody.ours.decoder(column_ids(2, 3))
        plain = melody.ours(**asked, return_dict=False, use_cache=False, output_attentions=True)
    names = ["loss", "logits", "past_key_values", "hidden_states", "attentions", "encoder_hidden_states"]
    assert type(out) is type(part) is MusicgenMelodyOutputWithPast
    assert list(MusicgenMelodyOutputWithPast.__dataclass_fields__) == names
    assert list(out) == names
    assert len(plain) == 3  # logits, attentions and the prefix; what is empty is left out
    assert torch.equal(plain[-1], out.encoder_hidden_states)


@pytest.mark.row("R7", "R50")
@pytest.mark.parametrize("frame", [0, 3, CHROMA_LENGTH - 1])
def test_a_frame_moves_the_places_from_its_own_on_and_none_before(melody: Pair, texts: Any, frame: int) -> None:
    features = chroma(2, CHROMA_LENGTH)
    other = features.clone()
    other[:, frame] = other[:, frame].roll(1, dims=-1)
    asked = {**texts, "decoder_input_ids": column_ids(2, 4)}
    with torch.no_grad():
        one, two = (melody.ours(**asked, input_features=f).logits for f in (features, other))
    moved = (one - two).abs().amax(dim=(0, 2))
    assert not moved[:frame].any()
    assert (moved[frame:] > 10 * TOLERANCE).all()


@pytest.mark.row("R61")
def test_a_short_melody_is_heard_again_and_again(melody: Pair) -> None:
    features = chroma(1, 4)
    other = features.clone()
    other[:, 2] = other[:, 2].roll(1, dims=-1)
    with torch.no_grad():
        one, two = (
            melody.ours(input_features=f, decoder_input_ids=column_ids(1, 2)).encoder_hidden_states
            for f in (features, other)
        )
    moved = (one - two).abs().amax(dim=(0, 2)).nonzero().flatten()
    assert moved.tolist() == [2, 6]


@pytest.mark.row("R3")
def test_melody_and_text_each_move_the_logits_far_beyond_the_tolerance(melody: Pair, texts: Any) -> None:
    ids, swapped = column_ids(2, 6), {name: value.flip(0) for name, value in texts.items()}

    def logits(**given: Any) -> torch.Tensor:
        with torch.no_grad():
            out: torch.Tensor = melody.ours(**given, decoder_input_ids=ids).logits[:, -6:]
        return out

    first, second = chroma(2, 9), chroma(2, 9, seed=8)
    assert distance(logits(**texts, input_features=first), logits(**texts, input_features=second)) > 1000 * TOLERANCE
    assert distance(logits(**texts, input_features=first), logits(**swapped, input_features=first)) > 1000 * TOLERANCE
    assert distance(logits(**texts), logits(**swapped)) > 1000 * TOLERANCE
    assert distance(logits(**texts, input_features=first), logits(**texts)) > 1000 * TOLERANCE
    assert torch.equal(logits(**texts, input_features=null(2)), logits(**texts))
    assert torch.equal(logits(**texts, input_features=null(2, 30)), logits(**texts))


@pytest.mark.row("R68")
def test_a_melody_is_felt_in_cached_steps_as_in_one_call(melody: Pair, texts: Any) -> None:
    ids = column_ids(2, 7)
    asked = {**texts, "input_features": chroma(2, 5)}
    with torch.no_grad():
        whole = melody.ours(**asked, decoder_input_ids=ids).logits
        first = melody.ours(**asked, decoder_input_ids=ids[:, :2], use_cache=True)
        cache, parts = first.past_key_values, [first.logits]
        assert cache.get_seq_length() == melody.prefix(texts) + 2
        for column in range(2, 7):
            step = melody.ours(decoder_input_ids=ids[:, column : column + 1], past_key_values=cache, use_cache=True)
            assert step.past_key_values is cache
            parts.append(step.logits)
    assert distance(torch.cat(parts, dim=1), whole) < TOLERANCE


def test_a_melody_is_as_wide_as_the_configuration_says(melody: Pair) -> None:
    with pytest.raises(ValueError, match=rf"input_features.*{CHROMA}"):
        melody.ours(input_features=torch.zeros(1, 4, CHROMA + 1), decoder_input_ids=column_ids(1, 2))
