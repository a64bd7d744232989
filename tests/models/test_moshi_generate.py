"""Moshi's answers beside transformers: text, codes and sound, ends of texts, the user, settings of both decoders."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import antiphon
from antiphon.errors import ParamError, ParamTypeError
from antiphon.outputs import GenerateDecoderOnlyOutput, MoshiConditionalGenerationGenerateOutput

from .tiny_moshi import CODES, HOP, TEXTS, codes, distance, noise, ours, pair, spoken, text, theirs

KIND = "MoshiForConditionalGeneration"
NEW = 9


def both(**arguments: Any) -> tuple[Any, Any]:
    """The reference's answer and ours."""
    reference, model = pair(KIND)
    return tuple(
        one.generate(**{"max_new_tokens": NEW, "return_audio_codes": True, **arguments}) for one in (reference, model)
    )  # type: ignore[return-value]


def assert_same(expected: Any, out: Any) -> None:
    assert torch.equal(out.sequences, expected.sequences)
    assert torch.equal(out.audio_codes, expected.audio_codes)
    if expected.audio_sequences is not None:
        assert distance(out.audio_sequences, expected.audio_sequences) < 1e-3


@pytest.mark.row("R155", "R163", "R169", "R170", "R202", "R206", "R213")
def test_text_codes_and_sound_are_the_references() -> None:
    expected, out = both(**spoken())
    assert_same(expected, out)
    assert isinstance(out, MoshiConditionalGenerationGenerateOutput)
    # the prompt and the column of initial tokens, the new columns, and two that make no frame of their own
    assert out.sequences.shape == (2, 1 + 7 + NEW)
    assert out.audio_codes.shape == (2, 4, 1 + 7 + NEW - 2)
    assert out.audio_sequences.shape == (2, 1, (7 + NEW - 1) * HOP)
    assert bool(((out.audio_codes >= 0) & (out.audio_codes < CODES)).all())
    _, model = pair(KIND)
    with torch.no_grad():
        assert torch.equal(model.audio_encoder.decode(out.audio_codes).audio_values, out.audio_sequences)
    assert torch.equal(out.audio_codes[..., :7], spoken()["moshi_audio_codes"])


@pytest.mark.row("R164", "R165", "R168", "R195")
def test_sound_is_encoded_as_the_reference_does() -> None:
    user = noise(1, 1, 3 * HOP - 500) * 0.3
    ratio = 12.5 / 24000
    columns = math.ceil(user.shape[-1] * ratio)
    values = {"user_input_values": user, "moshi_input_values": torch.zeros_like(user)}
    ids = torch.full((1, columns), 3)
    expected, out = both(input_ids=ids, **values)
    assert_same(expected, out)
    given = {"input_ids": ids, "user_audio_codes": codes(1, columns), "moshi_audio_codes": codes(1, columns, seed=9)}
    _, model = pair(KIND)
    settings = {"max_new_tokens": 3, "return_audio_codes": True, "return_audio_waveforms": False}
    assert_same(model.generate(**given, **settings), model.generate(**given, **values, **settings))


@pytest.mark.row("R203")
@pytest.mark.parametrize("start", ["no initial column", "nothing", "unconditional inputs", "nothing, the pad told"])
def test_every_way_to_begin_is_the_references(start: str) -> None:
    reference, _ = pair(KIND)
    arguments: dict[str, Any] = {
        "no initial column": {**spoken(), "concat_unconditional_inputs": False},
        "nothing": {},
        "unconditional inputs": dict(reference.get_unconditional_inputs(2)),
        "nothing, the pad told": {"pad_token_id": TEXTS},
    }[start]
    assert_same(*both(**arguments))


@pytest.mark.row("R212")
@pytest.mark.parametrize(
    "settings",
    [
        {"pad_token_id": 3},
        {"attention_mask": torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1] * 7])},
        {"repetition_penalty": 1.5, "suppress_tokens": [4]},
        {"max_new_tokens": None, "max_length": 6},
        {"max_new_tokens": None},
        {"depth_decoder_repetition_penalty": 2.0},
        {"use_cache": False, "max_new_tokens": 3},
    ],
)
def test_settings_have_the_references_effect(settings: dict[str, Any]) -> None:
    inputs = spoken()
    if "pad_token_id" in settings:
        inputs["input_ids"][0] = 3
    assert_same(*both(**{**inputs, "return_audio_waveforms": False, **settings}))


@pytest.mark.row("R201", "R202")
def test_what_is_returned_is_a_choice() -> None:
    whole = both(**spoken())[1]
    _, texts = both(**spoken(), return_audio_waveforms=False, return_audio_codes=False)
    assert torch.equal(texts, whole.sequences)
    _, silent = both(**spoken(), return_audio_waveforms=False)
    assert silent.audio_sequences is None
    assert torch.equal(silent.audio_codes, whole.audio_codes)
    _, sound = both(**spoken(), return_audio_codes=None)
    assert sound.audio_codes is None
    assert torch.equal(sound.audio_sequences, whole.audio_sequences)


@pytest.mark.row("R205")
def test_records_of_the_text_are_the_references() -> None:
    wanted = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True, "max_new_tokens": 3}
    wanted |= {"output_hidden_states": True, "output_attentions": True}
    expected, out = both(**spoken(), **wanted, return_audio_waveforms=False)
    for name in ("scores", "logits"):
        for one, other in zip(out[name], expected[name], strict=True):
            assert distance(one, other) < 1e-4
    assert len(out.hidden_states) == len(out.attentions) == 3
    assert out.past_key_values.get_seq_length() == 10
    _, texts = both(**spoken(), **wanted, return_audio_waveforms=False, return_audio_codes=False)
    assert isinstance(texts, GenerateDecoderOnlyOutput)
    assert torch.equal(texts.sequences, out.sequences)


@pytest.mark.row("R206", "E5")
def test_texts_that_end_early_keep_what_was_said() -> None:
    free = both(**spoken())[1]
    # an end in one row fills it up, and the other goes on, as in the reference
    end = int(free.sequences[0, 11])
    ended: dict[str, Any] = {"eos_token_id": end, "pad_token_id": 3, "attention_mask": torch.ones(2, 7).long()}
    if not bool((free.sequences[1, 8:] == end).any()):
        assert_same(*both(**spoken(), **ended))
    # where all rows end, the reference fails; here two columns less are frames
    _, model = pair(KIND)
    one = {name: part[:1] for name, part in spoken().items()}
    first = int((free.sequences[0, 8:] == end).nonzero()[0]) + 8
    out = model.generate(**one, max_new_tokens=NEW, return_audio_codes=True, eos_token_id=end, pad_token_id=3)
    assert torch.equal(out.sequences, free.sequences[:1, : first + 1])
    assert torch.equal(out.audio_codes, free.audio_codes[:1, :, : first - 1])
    assert out.audio_sequences.shape == (1, 1, (first - 1) * HOP)


@pytest.mark.row("R206", "E5")
def test_a_pad_and_an_end_need_no_mask() -> None:
    _, model = pair(KIND)
    inputs = spoken()
    inputs["input_ids"][0, :3] = 3
    inferred = model.generate(**inputs, max_new_tokens=4, pad_token_id=3, eos_token_id=39)
    told = model.generate(
        **inputs, max_new_tokens=4, pad_token_id=3, eos_token_id=39, attention_mask=(inputs["input_ids"] != 3).long()
    )
    assert torch.equal(inferred.sequences, told.sequences)


@pytest.mark.row("R167")
def test_by_default_the_user_is_one_frame_of_zeros_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = pair(KIND)
    asked: list[Tensor] = []
    encode = model.audio_encoder.encode

    def recorded(values: Tensor, **kwargs: Any) -> Any:
        asked.append(values)
        return encode(values, **kwargs)

    monkeypatch.setattr(model.audio_encoder, "encode", recorded)
    columns: list[Tensor] = []
    model.generate(**spoken(), max_new_tokens=5, on_column=lambda column: columns.append(column.clone()))
    assert [tuple(values.shape) for values in asked] == [(2, 1, HOP)]
    assert not asked[0].any()
    blank = encode(asked[0], num_quantizers=4)[0][..., 0]
    for column in columns[1:-1]:  # the first still has the prompt's end in the codebooks that are delayed
        assert torch.equal(column[:, 5:], blank)
    assert torch.equal(columns[0][:, 6:], spoken()["user_audio_codes"][:, 1:, -1])


@pytest.mark.row("R167")
def test_a_user_who_goes_on_is_heard_in_the_right_place() -> None:
    _, model = pair(KIND)
    inputs = spoken()
    speech = torch.cat([inputs["user_audio_codes"], codes(2, 6, seed=11)], dim=-1)
    settings: dict[str, Any] = {"max_new_tokens": NEW, "user_goes_on": True, "return_dict_in_generate": True}
    settings |= {"output_logits": True, "return_audio_waveforms": False}

    def logits(heard: Tensor) -> Tensor:
        return torch.stack(model.generate(**{**inputs, "user_audio_codes": heard}, **settings).logits)

    with pytest.raises(ParamError, match="user_goes_on"):
        model.generate(**{**inputs, "user_audio_codes": speech}, max_new_tokens=NEW)
    heard, silent = logits(speech), logits(inputs["user_audio_codes"])
    assert distance(heard[0], silent[0]) == 0.0  # decided on the prompt
    assert distance(heard[1], silent[1]) > 0.1
    changed = speech.clone()
    changed[:, 0, 7 + 3] = (changed[:, 0, 7 + 3] + 1) % CODES
    moved = (logits(changed) - heard).abs().amax(dim=(1, 2))
    assert not moved[:4].any()  # new frame 3 enters after four columns were decided
    assert float(moved[4]) > 1e-3


@pytest.mark.row("R204", "E3")
def test_settings_of_the_depth_decoder_have_two_prefixes(monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = pair(KIND)
    asked: list[dict[str, Any]] = []
    generate = model.depth_decoder.generate

    def recorded(**kwargs: Any) -> Any:
        asked.append(kwargs)
        return generate(**kwargs)

    monkeypatch.setattr(model.depth_decoder, "generate", recorded)
    free = model.generate(**spoken(), max_new_tokens=3, return_audio_codes=True).audio_codes
    banned = [int(free[0, 0, 7])]
    for prefix in ("depth_", "depth_decoder_"):
        asked.clear()
        out = model.generate(
            **spoken(), max_new_tokens=3, return_audio_codes=True, **{f"{prefix}suppress_tokens": banned}
        )
        assert len(asked) == 3
        assert all(one["suppress_tokens"] == banned for one in asked)
        assert banned[0] not in out.audio_codes[:, :, 7:]
    with pytest.raises(ParamError, match="both given"):
        model.generate(max_new_tokens=2, depth_top_k=3, depth_decoder_top_k=3)
    with pytest.raises(ParamError, match="expected|Expected 5"):
        model.generate(max_new_tokens=2, depth_decoder_max_length=4)
    with pytest.raises(ParamError, match="without a prefix"):
        model.generate(max_new_tokens=2, depth_seed=4)


@pytest.mark.row("R204")
def test_a_checkpoint_says_how_its_depth_decoder_chooses() -> None:
    _, model = pair(KIND)
    said = {"do_sample": True, "temperature": 2.0, "min_length": 5, "max_length": 5, "cache_implementation": "static"}
    settings = model.generation_config.copy()
    settings.depth_decoder_config = said
    greedy = model.generate(**spoken(), max_new_tokens=4, return_audio_codes=True)
    drawn = model.generate(**spoken(), max_new_tokens=4, return_audio_codes=True, generation_config=settings, seed=1)
    again = model.generate(
        **spoken(), max_new_tokens=4, return_audio_codes=True, depth_do_sample=True, depth_temperature=2.0, seed=1
    )
    assert not torch.equal(drawn.audio_codes, greedy.audio_codes)
    assert torch.equal(drawn.audio_codes, again.audio_codes)
    assert drawn.seeds == [1, 2]


@pytest.mark.row("R205")
def test_draws_belong_to_the_item() -> None:
    _, model = pair(KIND)
    drawn = {"do_sample": True, "temperature": 2.0, "depth_do_sample": True, "depth_temperature": 2.0}
    settings: dict[str, Any] = {
        "max_new_tokens": 6,
        "return_audio_codes": True,
        "return_audio_waveforms": False,
        **drawn,
    }
    batch = model.generate(**spoken(), **settings, seed=10)
    alone = model.generate(**{name: part[1:] for name, part in spoken().items()}, **settings, seed=11)
    assert torch.equal(alone.sequences, batch.sequences[1:])
    assert torch.equal(alone.audio_codes, batch.audio_codes[1:])
    first = {name: part[:1] for name, part in spoken().items()}
    several = model.generate(**first, **settings, seed=10, num_return_sequences=2)
    assert torch.equal(several.sequences[:1], batch.sequences[:1])
    assert not torch.equal(several.audio_codes[0], several.audio_codes[1])


@pytest.mark.row("R196", "R203")
def test_embeddings_in_place_of_the_three_inputs() -> None:
    _, model = pair(KIND)
    inputs = spoken()
    plain = model.generate(
        **inputs,
        max_new_tokens=5,
        return_audio_codes=True,
        concat_unconditional_inputs=False,
        return_audio_waveforms=False,
    )
    own, user = inputs["moshi_audio_codes"], inputs["user_audio_codes"]
    late = [torch.cat([torch.full((2, 3, 1), CODES), part[:, 1:, :-1]], dim=-1) for part in (own, user)]
    columns = torch.cat([inputs["input_ids"][:, None], own[:, :1], late[0], user[:, :1], late[1]], dim=1)
    with torch.no_grad():
        embedded = model.lm.embed(columns)
    for use_cache in (True, False):
        out = model.generate(
            inputs_embeds=embedded,
            moshi_audio_codes=own,
            user_audio_codes=user,
            max_new_tokens=5,
            return_audio_codes=True,
            return_audio_waveforms=False,
            use_cache=use_cache,
        )
        assert torch.equal(out.sequences, plain.sequences[:, 7:])
        assert torch.equal(out.audio_codes, plain.audio_codes)


@pytest.mark.row("R181")
def test_more_codebooks_give_the_references_answers() -> None:
    reference = theirs(KIND, num_codebooks=6, num_key_value_heads=1)
    inputs = {
        "input_ids": text(1, 3),
        "moshi_audio_codes": codes(1, 3, books=6),
        "user_audio_codes": codes(1, 3, books=6, seed=4),
    }
    settings = {"max_new_tokens": 6, "return_audio_codes": True}
    assert_same(reference.generate(**inputs, **settings), ours(reference).generate(**inputs, **settings))


def test_so_few_columns_make_no_frame() -> None:
    _, model = pair(KIND)
    out = model.generate(max_new_tokens=1, return_audio_codes=True)
    assert out.sequences.shape == (1, 2)
    assert out.audio_codes.shape == (1, 4, 0)
    assert out.audio_sequences.shape == (1, 1, 0)


@pytest.mark.row("R163", "R164")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user_audio_codes": None}, "user_input_values or user_audio_codes"),
        ({"moshi_audio_codes": None}, "moshi_input_values or moshi_audio_codes"),
        ({"input_ids": None}, "input_ids or inputs_embeds"),
        ({"input_ids": text(2, 6)}, "same sequence length"),
        ({"user_audio_codes": codes(2, 9)}, "same sequence length"),
        ({"user_audio_codes": None, "user_input_values": noise(2, 1, 6 * HOP)}, "same sequence length"),
        ({"user_audio_codes": codes(1, 7)}, "rows"),
        ({"attention_mask": torch.ones(2, 3)}, "attention_mask of shape"),
        ({"moshi_audio_codes": codes(2, 7).index_fill(2, torch.tensor([3]), CODES)}, "initial token"),
        ({"guidance_scale": 3.0}, "guidance_scale=3.0"),
        ({"window_seconds": 10.0}, "window_seconds=10.0"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    _, model = pair(KIND)
    with pytest.raises(ValueError, match=message):
        model.generate(**{**spoken(), "max_new_tokens": 2, **changes})
    with pytest.raises(TypeError, match="max_new_token"):
        model.generate(**spoken(), max_new_token=2)


def test_a_cache_that_is_handed_in_is_filled() -> None:
    _, model = pair(KIND)
    cache = antiphon.DynamicCache()
    out = model.generate(**spoken(), max_new_tokens=2, past_key_values=cache, return_audio_waveforms=False)
    assert torch.equal(out, model.generate(**spoken(), max_new_tokens=2, return_audio_waveforms=False))
    assert cache.get_seq_length() == 9


@pytest.mark.row("R196")
@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_cache_that_holds_the_beginning_of_the_prompt_goes_on_as_in_the_reference(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    asked = {**spoken(1), "max_new_tokens": 5, "return_audio_waveforms": False, "return_audio_codes": True}
    out = []
    for library, model in zip((transformers, antiphon), pair(KIND), strict=True):
        fed: list[Tensor] = []
        call = model.decoder.forward

        def watched(*args: Any, call: Any = call, fed: list[Tensor] = fed, **kwargs: Any) -> Any:
            fed.append(kwargs["inputs_embeds"])
            return call(*args, **kwargs)

        monkeypatch.setattr(model.decoder, "forward", watched)
        whole = model.generate(**asked)
        cache = library.DynamicCache()
        with torch.no_grad():
            call(inputs_embeds=fed[0][:, :count], past_key_values=cache, use_cache=True)
        fed.clear()
        rest = model.generate(**asked, past_key_values=cache)
        assert [len(e[0]) for e in fed] == [8 - count, 1, 1, 1, 1]
        assert torch.equal(rest.sequences, whole.sequences)
        assert torch.equal(rest.audio_codes, whole.audio_codes)
        out.append(rest)
    assert torch.equal(out[0].sequences, out[1].sequences)
    assert torch.equal(out[0].audio_codes, out[1].audio_codes)


def test_a_cache_that_does_not_fit_the_prompt_is_refused() -> None:
    _, model = pair(KIND)
    cache = antiphon.DynamicCache()
    model.generate(**spoken(), max_new_tokens=2, past_key_values=cache, return_audio_waveforms=False)
    with pytest.raises(ParamError, match="past_key_values with 9 columns before a prompt of 8"):
        model.generate(**spoken(), max_new_tokens=2, past_key_values=cache)
    with pytest.raises(ParamError, match="use_cache=False"):
        model.generate(**spoken(), max_new_tokens=2, past_key_values=antiphon.DynamicCache(), use_cache=False)
    with pytest.raises(ParamTypeError, match="class list"):
        model.generate(**spoken(), max_new_tokens=2, past_key_values=[])
