"""Generation beside transformers: greedy codes, sound, scores, continuation, lengths."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

import antiphon
from antiphon.errors import ParamError
from antiphon.models.musicgen import MusicgenUnconditionalInput

from .conftest import ALL, Pair
from .same_music import ASK, GREEDY, assert_same_music, complete_generation_config
from .tiny_melody import chroma, null
from .tiny_musicgen import CODES, HOP, column_ids, distance, generated, sound


@pytest.mark.row("R8", "R17", "R19", "R90", "R96")
@pytest.mark.parametrize("name", ALL)
def test_greedy_music_equals_the_references(name: str, request: Any, texts: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    _, ours = assert_same_music(pair, **texts)
    channels = pair.ours.decoder.config.audio_channels
    assert ours.sequences.shape == (2, channels, 13 * HOP)
    assert ours.sequences.dtype == torch.float32
    assert not ours.sequences.requires_grad
    assert torch.equal(ours.sequences, pair.ours.generate(**texts, **GREEDY))


@pytest.mark.row("R71")
def test_scores_and_logits_of_every_step_equal_the_references(either: Pair, texts: Any) -> None:
    theirs, ours = assert_same_music(either, **texts, max_new_tokens=9, output_logits=True)
    assert len(ours.scores) == len(theirs.scores) == 9
    assert ours.scores[0].shape == (2 * 4, CODES)
    assert ours.logits[0].shape == (2 * 2 * 4, CODES)  # both passes, the conditional rows first
    assert max(distance(a, b) for a, b in zip(ours.logits, theirs.logits, strict=True)) < 2e-4
    assert max(distance(a, b) for a, b in zip(ours.scores, theirs.scores, strict=True)) < 1e-3  # three times as far


@pytest.mark.row("R71")
def test_states_and_attentions_of_every_step_are_those_of_the_references_whole_call(
    mono_eager: Pair, texts: Any
) -> None:
    columns: list[torch.Tensor] = [torch.full((2, 4), CODES)]
    wanted = {"output_hidden_states": True, "output_attentions": True}
    ours = mono_eager.ours.generate(**texts, **GREEDY, **ASK, **wanted, on_column=lambda c: columns.append(c.clone()))
    ids = torch.stack(columns[:-1], dim=-1).view(8, -1)
    with torch.no_grad():  # the reference's own generate leaves these fields empty
        whole = mono_eager.theirs(**texts, decoder_input_ids=ids, **wanted)
    assert len(ours.decoder_hidden_states) == len(ours.decoder_attentions) == 16
    for step in range(16):
        for layer in range(4):
            state = ours.decoder_hidden_states[step][layer][:2, -1]
            assert distance(state, whole.decoder_hidden_states[layer][:, step]) < 2e-4
        for layer in range(3):
            own, cross = ours.decoder_attentions[step][layer][:2], ours.cross_attentions[step][layer][:2]
            assert distance(own[:, :, -1], whole.decoder_attentions[layer][:, :, step, : step + 1]) < 2e-4
            assert distance(cross[:, :, -1], whole.cross_attentions[layer][:, :, step]) < 2e-4
    for name in ("encoder_hidden_states", "encoder_attentions"):
        assert max(distance(a, b) for a, b in zip(ours[name], whole[name], strict=True)) < 1e-5


@pytest.mark.row("R21", "R96")
def test_guidance_weighs_the_conditional_against_the_empty_text(either: Pair, texts: Any) -> None:
    out = either.ours.generate(**texts, **GREEDY, return_dict_in_generate=True, output_scores=True, output_logits=True)
    for scores, logits in zip(out.scores, out.logits, strict=True):
        conditional, empty = logits.chunk(2)
        assert distance(scores, empty + 3.0 * (conditional - empty)) < 1e-5
    assert out.sequences.shape[0] == 2
    start = torch.full((4, 1), CODES)
    if either.has_melody:  # the first note throughout, and zeros for the text
        melody = either.ours(input_features=null(1), decoder_input_ids=start).encoder_hidden_states
        nothing = {"encoder_hidden_states": torch.cat([melody, torch.zeros(1, texts["input_ids"].shape[1], 32)], dim=1)}
    else:
        nothing = {"encoder_hidden_states": torch.zeros(1, 9, 32), "encoder_attention_mask": torch.zeros(1, 9)}
    with torch.no_grad():
        assert distance(out.logits[0][8:12], either.ours.decoder(start, **nothing).logits[:, -1]) < 1e-5


@pytest.mark.row("R22")
@pytest.mark.parametrize(("scale", "passes"), [(None, 1), (1.0, 1), (1.5, 2)])
def test_only_a_scale_above_one_doubles_the_rows(either: Pair, texts: Any, scale: float | None, passes: int) -> None:
    rows = set()
    handle = either.ours.decoder.model.register_forward_pre_hook(lambda _, args: rows.add(args[0].shape[0]))
    try:
        either.ours.generate(**texts, do_sample=False, guidance_scale=scale, max_new_tokens=8)
    finally:
        handle.remove()
    assert rows == {passes * 2 * 4}
    assert_same_music(either, **texts, guidance_scale=scale, max_new_tokens=8)


@pytest.mark.row("R5")
def test_every_new_column_is_one_call_that_gives_all_codebooks(either: Pair, texts: Any) -> None:
    calls: list[torch.Size] = []
    handle = either.ours.decoder.lm_heads.register_forward_hook(lambda _, __, out: calls.append(out.shape))
    try:
        audio = either.ours.generate(**texts, do_sample=False, guidance_scale=1.0, max_new_tokens=20)
    finally:
        handle.remove()
    assert calls[1:] == [torch.Size([2, 4, 1, CODES])] * 19
    assert len(calls) == 20
    assert audio.shape[-1] == 17 * HOP


@pytest.mark.row("R5")
@pytest.mark.parametrize(
    ("name", "length"), [("mono", 8), ("melody", 6), ("mono", 3), ("stereo", 9), ("melody_stereo", 5)]
)
def test_the_delay_pattern_is_the_references(name: str, length: int, request: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    ids = column_ids(2, 3, codebooks=pair.ours.decoder.num_codebooks)
    ours = pair.ours.decoder.build_delay_pattern_mask(ids, CODES, length)
    theirs = pair.theirs.decoder.build_delay_pattern_mask(ids, CODES, length)
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])
    filled = torch.where(ours[1] == -1, 5, ours[1])
    assert torch.equal(
        pair.ours.decoder.apply_delay_pattern_mask(filled, ours[1]),
        pair.theirs.decoder.apply_delay_pattern_mask(filled, theirs[1]),
    )


@pytest.mark.row("R5")
def test_the_documented_four_rows_of_the_pattern_come_out(either: Pair) -> None:
    _, plan = either.ours.decoder.build_delay_pattern_mask(torch.full((4, 1), CODES), CODES, 8)
    p = CODES
    assert plan.tolist() == [
        [p, -1, -1, -1, -1, p, p, p],
        [p, p, -1, -1, -1, -1, p, p],
        [p, p, p, -1, -1, -1, -1, p],
        [p, p, p, p, -1, -1, -1, -1],
    ]


@pytest.mark.row("R4", "R106")
def test_the_codec_receives_codes_of_one_segment_inside_its_tables(either: Pair, texts: Any) -> None:
    codes, audio = generated(either.ours, **texts, **GREEDY)
    assert codes.shape == (2, 4, 13)
    assert int(codes.min()) >= 0
    assert int(codes.max()) < CODES
    with torch.no_grad():
        assert torch.equal(either.ours.audio_encoder.decode(codes[None], [None] * 2).audio_values, audio)


@pytest.mark.row("R11", "R12", "R13", "R93")
@pytest.mark.parametrize("name", ["stereo", "melody_stereo"])
def test_even_codebooks_are_the_left_channel_and_odd_ones_the_right(name: str, request: Any, texts: Any) -> None:
    stereo: Pair = request.getfixturevalue(name)
    out = stereo.ours.generate(**texts, **GREEDY, return_dict_in_generate=True)
    codes = out.audio_codes
    assert codes.shape[1] == 8
    for channel in (0, 1):
        with torch.no_grad():
            alone = stereo.ours.audio_encoder.decode(codes[None, :, channel::2], [None]).audio_values
        assert torch.equal(out.sequences[:, channel : channel + 1], alone)
    assert distance(out.sequences[:, 0], out.sequences[:, 1]) > 1e-3


@pytest.mark.row("R8")
def test_beams_are_refused(either: Pair, texts: Any) -> None:
    with pytest.raises(ValueError, match="greedy or sampling"):
        either.ours.generate(**texts, num_beams=2, max_new_tokens=8)
    with pytest.raises(ValueError, match="greedy or sampling"):
        either.ours.decoder.generate(num_beams=2, max_new_tokens=8)


@pytest.mark.row("R8", "R9", "R23")
def test_the_checkpoint_asks_for_sampling_with_guidance_three(either: Pair, texts: Any) -> None:
    config = either.ours.generation_config
    assert (config.do_sample, config.guidance_scale, config.max_length) == (True, 3.0, 30)
    one = either.ours.generate(**texts, max_new_tokens=10, seed=1)
    assert torch.equal(one, either.ours.generate(**texts, max_new_tokens=10, seed=1))
    assert not torch.equal(one, either.ours.generate(**texts, max_new_tokens=10, seed=2))
    torch.manual_seed(5)
    drawn = either.ours.generate(**texts, max_new_tokens=10)
    assert not torch.equal(drawn, either.ours.generate(**texts, max_new_tokens=10))
    torch.manual_seed(5)
    assert torch.equal(drawn, either.ours.generate(**texts, max_new_tokens=10))


@pytest.mark.row("R9")
def test_a_model_that_comes_from_a_configuration_is_greedy(either: Pair, texts: Any) -> None:
    model = either.kind(either.ours.config)
    assert not model.generation_config.do_sample
    out = model.eval().generate(**texts, max_new_tokens=8, return_dict_in_generate=True)
    assert out.seeds is None


@pytest.mark.row("R10", "R28", "R105")
def test_a_calls_arguments_win_over_its_config_and_that_over_the_models(fresh: Any, texts: Any) -> None:
    fresh.generation_config.do_sample = False
    before = fresh.generation_config.to_dict()
    greedy = fresh.generate(**texts, max_new_tokens=8)
    sampled = fresh.generate(**texts, max_new_tokens=8, do_sample=True, seed=3)
    assert not torch.equal(greedy, sampled)
    assert torch.equal(greedy, fresh.generate(**texts, max_new_tokens=8))
    assert fresh.generation_config.to_dict() == before
    call = antiphon.GenerationConfig(do_sample=True, seed=3, max_new_tokens=8)
    assert torch.equal(sampled, fresh.generate(**texts, generation_config=call))
    assert torch.equal(greedy, fresh.generate(**texts, generation_config=call, do_sample=False))
    fresh.generation_config.do_sample = True
    assert torch.equal(sampled, fresh.generate(**texts, max_new_tokens=8, seed=3))


@pytest.mark.filterwarnings("ignore:Using the model-agnostic default:UserWarning")  # of the reference's Melody
@pytest.mark.row("R27", "R105")
def test_a_configured_max_length_counts_new_columns_and_the_keyword_all(fresh: Any, either: Pair, texts: Any) -> None:
    assert "max_length" in str(fresh.generation_config)
    fresh.generation_config.update(max_length=22, guidance_scale=4.0, do_sample=False)
    their_config = either.theirs.generation_config
    before = their_config.to_dict()
    their_config.update(max_length=22, guidance_scale=4.0, do_sample=False)
    try:
        theirs = either.theirs.generate(**texts)
        their_total = either.theirs.generate(**texts, max_length=22)
    finally:
        their_config.update(**before)
    ours = fresh.generate(**texts)
    assert ours.shape[-1] == 19 * HOP  # 22 new columns behind the start
    assert distance(ours, theirs) < 1e-4
    total = fresh.generate(**texts, max_length=22)
    assert total.shape[-1] == 18 * HOP  # 22 columns with the start
    assert distance(total, their_total) < 1e-4


@pytest.mark.row("R103")
@pytest.mark.parametrize("name", ["mono", "stereo"])
def test_music_goes_on_from_a_sound_as_the_references(name: str, request: Any, texts: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    values = sound(2, pair.ours.decoder.config.audio_channels, 5000)
    _, ours = assert_same_music(pair, **texts, input_values=values, padding_mask=torch.ones(2, 5000))
    assert ours.sequences.shape[-1] == (8 + 13) * HOP  # ceil(5000 / 640) frames of the prompt
    assert torch.equal(ours.audio_codes[..., :8], pair.codes_of(values))


@pytest.mark.row("R104")
def test_prompts_of_different_lengths_are_padded_on_the_left_with_the_references_numbers(mono: Pair) -> None:
    clips = [sound(3000).numpy(), sound(5120, seed=3).numpy()]
    asked = {"audio": clips, "sampling_rate": 32000, "text": ["pop track", "rock song"], "padding": True}
    theirs = mono.their_processor(**asked, return_tensors="pt")
    ours = mono.processor(**asked, return_tensors="pt")
    for name in ("input_values", "padding_mask", "input_ids", "attention_mask"):
        assert torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(theirs[name])), name
    assert int(ours["padding_mask"][0, 0]) == 0
    assert_same_music(mono, **ours)


@pytest.mark.row("R93", "E3")
@pytest.mark.parametrize("name", ["stereo", "melody_stereo"])
def test_a_stereo_model_refuses_a_prompt_of_one_channel(name: str, request: Any, texts: Any) -> None:
    stereo: Pair = request.getfixturevalue(name)
    with pytest.raises(ValueError, match="2-channels"):
        stereo.ours.generate(**texts, input_values=sound(2, 1, 2000), max_new_tokens=8)


@pytest.mark.row("R106")
def test_a_codec_that_cuts_sounds_into_segments_is_refused_for_prompts(fresh: Any, texts: Any) -> None:
    fresh.config.audio_encoder.update({"chunk_length_s": 0.05, "overlap": 0.0})
    with pytest.raises(ValueError, match="1 frame"):
        fresh.generate(**texts, input_values=sound(2, 1, 4000), max_new_tokens=8)


@pytest.mark.row("R62", "R63")
def test_prompt_codes_may_be_given_with_or_without_the_start_column(either: Pair, texts: Any) -> None:
    ids = column_ids(2, 6)
    _, ours = assert_same_music(either, **texts, decoder_input_ids=ids)
    bare = either.ours.generate(**texts, **GREEDY, decoder_input_ids=ids[:, 1:])
    stacked = either.ours.generate(**texts, **GREEDY, decoder_input_ids=ids.view(2, 4, 6))
    assert torch.equal(bare, ours.sequences)
    assert torch.equal(stacked, ours.sequences)


@pytest.mark.row("R100")
def test_unconditional_inputs_are_zeros_without_guidance_and_generate(mono: Pair) -> None:
    inputs, theirs = mono.ours.get_unconditional_inputs(num_samples=2), mono.theirs.get_unconditional_inputs(2)
    assert isinstance(inputs, MusicgenUnconditionalInput)
    assert inputs.encoder_outputs[0].shape == (2, 1, 24)
    assert torch.equal(inputs.encoder_outputs[0], theirs.encoder_outputs[0])
    assert torch.equal(inputs.attention_mask, theirs.attention_mask)
    assert inputs.guidance_scale == theirs.guidance_scale == 1.0
    asked = {"do_sample": False, "max_new_tokens": 16}
    assert distance(mono.ours.generate(**inputs, **asked), mono.theirs.generate(**theirs, **asked)) < 1e-4
    assert mono.ours.generate(**inputs, do_sample=True, max_new_tokens=10).shape == (2, 1, 7 * HOP)
    assert mono.ours.generate(max_new_tokens=10).shape == (1, 1, 7 * HOP)


@pytest.mark.row("R94", "R95")
def test_thirty_seconds_are_1503_tokens_and_more_is_warned_of(fresh: Any, caplog: pytest.LogCaptureFixture) -> None:
    counted: list[int] = []

    class Enough(antiphon.StoppingCriteria):
        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> bool:
            counted.append(input_ids.shape[1])
            return True

    def ask(**more: Any) -> bool:
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="antiphon"):
            fresh.generate(do_sample=False, stopping_criteria=[Enough()], **more)
        return "trained" in caplog.text

    assert not ask(max_new_tokens=1503)
    assert ask(max_new_tokens=1504)
    prompt = sound(1, 1, 10 * HOP)
    assert not ask(max_new_tokens=1493, input_values=prompt)
    assert ask(max_new_tokens=1494, input_values=prompt)  # the prompt counts


@pytest.mark.row("R94")
def test_1503_new_tokens_are_thirty_seconds(tmp_path: Any) -> None:
    from . import tiny_musicgen as tiny

    model = tiny.musicgen(1, hidden_size=8, num_attention_heads=1, num_hidden_layers=1, ffn_dim=8)
    model.save_pretrained(tmp_path)
    ours = antiphon.MusicgenForConditionalGeneration.from_pretrained(tmp_path)
    audio = ours.generate(**ours.get_unconditional_inputs(1), do_sample=False, max_new_tokens=1503)
    assert audio.shape == (1, 1, 960_000)


@pytest.mark.row("R17")
def test_return_sequences_are_items_of_their_own(either: Pair, texts: Any) -> None:
    texts = {**texts, "input_features": chroma(2, 7)} if either.has_melody else texts
    out = either.ours.generate(
        **texts, num_return_sequences=2, do_sample=True, seed=[10, 11, 12, 13], max_new_tokens=10, **ASK
    )
    assert out.sequences.shape == (4, 1, 7 * HOP)
    assert out.seeds == [10, 11, 12, 13]
    singles = [
        either.ours.generate(**texts, do_sample=True, seed=[10 + i, 12 + i], max_new_tokens=10, **ASK).audio_codes
        for i in (0, 1)
    ]
    assert torch.equal(out.audio_codes, torch.stack(singles, dim=1).flatten(0, 1))
    assert not torch.equal(out.audio_codes[0], out.audio_codes[1])


@pytest.mark.row("R107", "E7")
@pytest.mark.parametrize("scale", [None, 3.0])
def test_the_standalone_decoder_generates_the_references_codes(either: Pair, scale: float | None) -> None:
    theirs, ours = either.theirs.decoder, either.ours.decoder
    complete_generation_config(theirs)
    # with guidance the reference doubles the rows of a prefix itself, those of a memory not
    rows = 2 if scale is None or either.has_melody else 4
    memory = torch.randn(rows, 5, 32, generator=torch.Generator().manual_seed(6))
    for columns in (1, 4):
        for given in ({}, {"encoder_hidden_states": memory}):
            # without a cache: with one, the reference's decoder sees the last column of its prompt only
            asked = {"do_sample": False, "max_new_tokens": 10, "guidance_scale": scale, **given}
            ids, mask = column_ids(2, columns), torch.ones(2, columns)
            expected = theirs.generate(ids, attention_mask=mask, use_cache=False, **asked)
            assert torch.equal(expected, ours.generate(ids, attention_mask=mask, **asked))
            assert expected.shape == (2, 4, columns - 1 + 7)


@pytest.mark.row("R107")
def test_the_mask_that_the_reference_reads_off_a_standalone_prompt_is_kept_unless_rows_are_independent(
    either: Pair,
) -> None:
    theirs, ours, ids = either.theirs.decoder, either.ours.decoder, column_ids(2, 4)
    complete_generation_config(theirs)
    asked = {"do_sample": False, "max_new_tokens": 10}
    quirk = ours.generate(ids, **asked)
    assert torch.equal(theirs.generate(ids, use_cache=False, **asked), quirk)
    plain = ours.generate(ids, attention_mask=torch.ones(2, 4), **asked)
    assert torch.equal(ours.generate(ids, independent_rows=True, **asked), plain)
    assert not torch.equal(plain, quirk)


@pytest.mark.row("R107", "E7")
def test_the_standalone_decoder_needs_no_start_token_and_no_prompt(either: Pair) -> None:
    decoder = either.decoder_kind.from_pretrained(either.folder)
    decoder.generation_config.decoder_start_token_id = None
    codes = decoder.generate(do_sample=False, max_new_tokens=10)
    assert codes.shape == (1, 4, 7)
    assert int(codes.max()) < CODES
    out = decoder.generate(do_sample=True, max_new_tokens=10, seed=1, guidance_scale=1.0, num_return_sequences=3, **ASK)
    assert out.sequences.shape == (3, 4, 7)
    assert out.seeds == [1, 2, 3]


def test_a_start_token_without_an_embedding_is_refused_by_name(either: Pair) -> None:
    with pytest.raises(ParamError, match=r"start token 65 .*Expected 0 to 64"):
        either.ours.decoder.generate(max_new_tokens=8, decoder_start_token_id=CODES + 1)
