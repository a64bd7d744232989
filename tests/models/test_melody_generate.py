"""Generation under melodies beside transformers: greedy codes, sound, scores, what stands for nothing, batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .conftest import Pair
from .same_music import ASK, GREEDY, assert_same_music, complete_generation_config
from .tiny_melody import CHROMA_LENGTH, chroma, null
from .tiny_musicgen import CODES, HOP, column_ids, distance, sound

NAMES = ["melody", "melody_stereo", "melody_narrow"]
SAMPLED = {"do_sample": True, "guidance_scale": 3.0, "max_new_tokens": 30, "seed": 5}


def codes_of(pair: Pair, **asked: Any) -> torch.Tensor:
    codes: torch.Tensor = pair.ours.generate(**asked, **ASK).audio_codes
    return codes


@pytest.mark.row("R1", "R8", "R17", "R24")
@pytest.mark.parametrize("frames", [4, CHROMA_LENGTH, 20])
@pytest.mark.parametrize("name", NAMES)
def test_music_under_a_melody_and_a_text_equals_the_references(
    name: str, frames: int, request: Any, texts: Any
) -> None:
    pair: Pair = request.getfixturevalue(name)
    _, ours = assert_same_music(pair, **texts, input_features=chroma(2, frames))
    assert ours.sequences.shape == (2, pair.ours.decoder.config.audio_channels, 13 * HOP)


@pytest.mark.row("R22")
@pytest.mark.parametrize("scale", [None, 1.0, 1.5])
def test_music_under_a_melody_without_and_with_little_guidance_equals_the_references(
    melody: Pair, texts: Any, scale: float | None
) -> None:
    assert_same_music(melody, **texts, input_features=chroma(2, 5), guidance_scale=scale, max_new_tokens=10)


@pytest.mark.row("R71")
def test_scores_and_logits_of_every_step_under_a_melody_equal_the_references(melody: Pair, texts: Any) -> None:
    asked = {**texts, "input_features": chroma(2, 5), "max_new_tokens": 9, "output_logits": True}
    theirs, ours = assert_same_music(melody, **asked)
    assert len(ours.logits) == len(theirs.logits) == 9
    assert max(distance(a, b) for a, b in zip(ours.logits, theirs.logits, strict=True)) < 2e-4
    assert max(distance(a, b) for a, b in zip(ours.scores, theirs.scores, strict=True)) < 1e-3  # three times as far


@pytest.mark.row("R71")
def test_states_and_attentions_of_every_step_are_those_of_one_call(melody_eager: Pair, texts: Any) -> None:
    columns: list[torch.Tensor] = [torch.full((2, 4), CODES)]
    asked = {**texts, "input_features": chroma(2, 5), "output_hidden_states": True, "output_attentions": True}
    ours = melody_eager.ours.generate(**asked, **GREEDY, **ASK, on_column=lambda c: columns.append(c.clone()))
    ids = torch.stack(columns[:-1], dim=-1).flatten(0, 1)
    with torch.no_grad():
        whole = melody_eager.theirs(**asked, decoder_input_ids=ids)
    prefix = melody_eager.prefix(texts)
    assert len(ours.decoder_hidden_states) == len(ours.decoder_attentions) == 16
    assert ours.decoder_hidden_states[0][0].shape == (4, prefix + 1, 32)
    for step in range(16):
        for mine, all_places in zip(ours.decoder_hidden_states[step], whole.hidden_states, strict=True):
            assert distance(mine[:2, -1], all_places[:, prefix + step]) < 2e-4
        for mine, all_places in zip(ours.decoder_attentions[step], whole.attentions, strict=True):
            place = prefix + step
            assert distance(mine[:2, :, -1], all_places[:, :, place, : place + 1]) < 2e-4


@pytest.mark.row("R21")
def test_guidance_goes_away_from_the_first_note_and_an_empty_text(melody: Pair, texts: Any) -> None:
    out = melody.ours.generate(**texts, input_features=chroma(2, 5), **GREEDY, **ASK, output_logits=True)
    start, places = torch.full((4, 1), CODES), texts["input_ids"].shape[1]
    with torch.no_grad():
        notes = melody.ours(input_features=null(1), decoder_input_ids=start).encoder_hidden_states
        prefix = torch.cat([notes, torch.zeros(1, places, 32)], dim=1)
        nothing = melody.ours.decoder(start, encoder_hidden_states=prefix).logits[:, -1]
    for row in (2, 3):
        assert distance(out.logits[0].view(4, 4, CODES)[row], nothing) < 1e-5


@pytest.mark.row("R6")
def test_a_melody_of_any_length_leaves_the_length_of_the_music(melody: Pair, texts: Any) -> None:
    lengths = {
        melody.ours.generate(**texts, **GREEDY, **features).shape[-1]
        for features in ({}, *({"input_features": chroma(2, frames)} for frames in (1, 5, 40)))
    }
    assert lengths == {13 * HOP}


@pytest.mark.row("R1")
def test_two_melodies_with_one_seed_and_text_differ_and_one_melody_is_repeatable(melody: Pair, texts: Any) -> None:
    one, same, other, none = (
        codes_of(melody, **texts, **SAMPLED, **features)
        for features in (
            {"input_features": chroma(2, 9)},
            {"input_features": chroma(2, 9)},
            {"input_features": chroma(2, 9, seed=8)},
            {},
        )
    )
    assert torch.equal(one, same)
    assert float((one != other).float().mean()) > 0.3
    assert float((one != none).float().mean()) > 0.3


@pytest.mark.row("R1")
@pytest.mark.parametrize("features", [{}, {"input_features": chroma(2, 9)}])
def test_two_texts_with_one_seed_differ_with_a_melody_and_without(
    melody: Pair, texts: Any, features: dict[str, Any]
) -> None:
    swapped = {name: value.flip(0) for name, value in texts.items()}
    one, other = (codes_of(melody, **given, **features, **SAMPLED) for given in (texts, swapped))
    assert float((one != other).float().mean()) > 0.3


def test_a_melody_belongs_to_its_row(melody: Pair, texts: Any) -> None:
    features = chroma(2, 9)
    other = features.clone()
    other[0] = features[0].roll(5, dims=-1)
    one, two = (codes_of(melody, **texts, input_features=f, **GREEDY) for f in (features, other))
    assert torch.equal(one[1], two[1])
    assert not torch.equal(one[0], two[0])


@pytest.mark.parametrize("use_cache", [True, False])
def test_without_a_cache_a_melody_gives_the_same_codes(melody: Pair, texts: Any, use_cache: bool) -> None:
    asked = {**texts, "input_features": chroma(2, 5), "use_cache": use_cache}
    assert_same_music(melody, **asked, max_new_tokens=10)


@pytest.mark.row("R7")
def test_no_melody_is_the_first_note_throughout(melody: Pair, texts: Any) -> None:
    plain = codes_of(melody, **texts, **GREEDY)
    for frames in (1, 9, 30):
        assert torch.equal(plain, codes_of(melody, **texts, **GREEDY, input_features=null(2, frames)))


@pytest.mark.row("R1", "R25", "R26")
@pytest.mark.parametrize("name", NAMES)
def test_unconditional_inputs_make_the_references_music(name: str, request: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    nothing = pair.processor.get_unconditional_inputs(num_samples=2)
    assert nothing["input_ids"].shape == (2, 1)
    assert not nothing["attention_mask"].any()
    for scale in (1.0, 3.0):  # the checkpoint's scale stays: it weighs nothing against nothing
        assert_same_music(pair, **nothing, guidance_scale=scale)
    assert pair.ours.generate(**nothing, max_new_tokens=10, seed=1).shape[0] == 2


@pytest.mark.row("R1")
def test_a_call_with_nothing_at_all_is_unconditional(melody: Pair) -> None:
    nothing = melody.processor.get_unconditional_inputs(num_samples=1)
    _, ours = assert_same_music(melody)
    assert torch.equal(ours.audio_codes, codes_of(melody, **nothing, **GREEDY))


@pytest.mark.row("R1")
def test_a_melody_alone_goes_with_the_empty_text(melody: Pair) -> None:
    features = chroma(2, 7)
    silent = melody.processor.get_unconditional_inputs(num_samples=2)
    # the reference gives its text encoder the start token there, which is the pad token, and so masks it
    _, ours = assert_same_music(melody, input_features=features)
    assert torch.equal(ours.audio_codes, codes_of(melody, **silent, **GREEDY, input_features=features))


@pytest.mark.row("R62", "R63")
@pytest.mark.parametrize("name", ["melody", "melody_stereo"])
def test_music_under_a_melody_goes_on_from_codes_as_the_references(name: str, request: Any, texts: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    ids = column_ids(2, 6, codebooks=pair.books)
    _, ours = assert_same_music(pair, **texts, input_features=chroma(2, 7), decoder_input_ids=ids)
    assert torch.equal(ours.audio_codes[..., :5], ids[:, 1:].view(2, pair.books, 5))


@pytest.mark.row("R6")
@pytest.mark.parametrize("name", ["melody", "melody_stereo"])
def test_a_sound_to_go_on_from_is_not_the_melody(name: str, request: Any, texts: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    values = sound(2, pair.ours.decoder.config.audio_channels, 5000)
    asked = {**texts, **GREEDY, "input_features": chroma(2, 7)}
    held = pair.codes_of(values)
    out = codes_of(pair, **asked, input_values=values, padding_mask=torch.ones(2, 5000))
    assert out.shape[-1] == 8 + 13  # ceil(5000 / 640) frames of the sound
    assert torch.equal(out[..., :8], held)
    assert torch.equal(out, codes_of(pair, **asked, decoder_input_ids=held.flatten(0, 1)))


@pytest.mark.row("R3", "R31")
@pytest.mark.parametrize("scale", [None, 3.0])
def test_the_standalone_decoder_generates_under_a_prefix_with_a_mask(melody: Pair, scale: float | None) -> None:
    theirs, ours = melody.theirs.decoder, melody.ours.decoder
    complete_generation_config(theirs)
    generator = torch.Generator().manual_seed(6)
    memory, mask = torch.randn(2, 5, 32, generator=generator), torch.ones(2, 5, dtype=torch.long)
    asked = {"do_sample": False, "max_new_tokens": 10, "guidance_scale": scale, "encoder_hidden_states": memory}
    ids, columns = column_ids(2, 1), torch.ones(2, 1)
    whole = ours.generate(ids, attention_mask=columns, encoder_attention_mask=mask, **asked)
    assert torch.equal(whole, ours.generate(ids, attention_mask=columns, **asked))
    mask[0, 3:] = 0
    masked = ours.generate(ids, attention_mask=columns, encoder_attention_mask=mask, **asked)
    assert torch.equal(masked[1], whole[1])
    assert not torch.equal(masked[0], whole[0])
    if scale is None:  # with guidance the reference fails to join the masks
        their_codes = theirs.generate(
            ids, attention_mask=columns, encoder_attention_mask=mask, use_cache=False, **asked
        )
        assert torch.equal(masked, their_codes)


@pytest.mark.row("R9", "R10", "R23", "R28")
def test_the_checkpoint_asks_for_sampling_with_guidance_three_under_a_melody_too(melody: Pair, texts: Any) -> None:
    asked = {**texts, "input_features": chroma(2, 7), "max_new_tokens": 10}
    one = codes_of(melody, **asked, seed=1)
    assert torch.equal(one, codes_of(melody, **asked, do_sample=True, guidance_scale=3.0, seed=1))
    assert not torch.equal(one, codes_of(melody, **asked, seed=2))
    assert not torch.equal(one, codes_of(melody, **asked, do_sample=False))


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_rounded_weights_and_caches_make_music_under_a_melody(melody: Pair, texts: Any, kind: str) -> None:
    model = melody.kind.from_pretrained(melody.folder, quantize=kind)
    asked = {**texts, **GREEDY, **ASK}
    one, other = (model.generate(**asked, input_features=chroma(2, 9, seed=s)).audio_codes for s in (3, 8))
    assert one.shape == (2, 4, 13)
    assert not torch.equal(one, other)
    small = model.generate(**asked, input_features=chroma(2, 9), cache_dtype="int8").audio_codes
    assert small.shape == (2, 4, 13)
