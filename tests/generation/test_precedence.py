"""Which setting wins, what a call may not ask for, and the length that comes out."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import GenerationConfig as TheirConfig
from transformers.generation.utils import GenerationMixin

from antiphon.errors import ParamError, ParamTypeError
from antiphon.generation.config import GenerationConfig, refuse_unknown, require_single_beam, resolve, resolve_length

MODEL = {"do_sample": True, "guidance_scale": 3.0, "max_length": 1500, "top_k": 250, "pad_token_id": 2048, "own": 1}


def reference(
    call: dict[str, Any] | None, model: dict[str, Any], overrides: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    stand_in = SimpleNamespace(
        generation_config=TheirConfig(**model), config=SimpleNamespace(_get_generation_parameters=dict)
    )
    given = None if call is None else TheirConfig(**call)
    return GenerationMixin._prepare_generation_config(stand_in, given, **overrides)


CASES: list[tuple[dict[str, Any] | None, dict[str, Any], dict[str, Any]]] = [
    (None, {}, {}),
    (None, MODEL, {}),
    (None, MODEL, {"do_sample": False}),
    (None, MODEL, {"temperature": 0.5, "max_new_tokens": 7, "input_ids": 1, "own": 2}),
    (None, MODEL, {"top_k": None, "guidance_scale": None}),
    ({"top_k": 5, "do_sample": True}, MODEL, {}),
    ({"top_k": 5, "do_sample": True, "extra": 3}, MODEL, {"top_k": 6}),
    ({}, {}, {"num_return_sequences": 2, "do_sample": True}),
]


@pytest.mark.parametrize(("call", "model", "overrides"), CASES)
def test_the_resolved_settings_equal_the_references(
    call: dict[str, Any] | None, model: dict[str, Any], overrides: dict[str, Any]
) -> None:
    theirs, their_rest = reference(call, model, overrides)
    ours, rest = resolve(None if call is None else GenerationConfig(**call), GenerationConfig(**model), overrides)
    honoured = {name: getattr(theirs, name) for name in ours.to_dict() if hasattr(theirs, name)}
    kept_defaults = {name for name, value in honoured.items() if value != getattr(ours, name)}
    # the reference also fills in defaults of fields that are only kept here
    assert all(getattr(ours, name) is None for name in kept_defaults - {"transformers_version"})
    assert not kept_defaults & {"top_k", "top_p", "temperature", "max_length", "do_sample", "min_length", "num_beams"}
    assert rest == their_rest


def test_keywords_win_over_the_calls_config_over_the_models_over_the_defaults() -> None:
    config, _ = resolve(
        GenerationConfig(top_k=2, top_p=0.5), GenerationConfig(top_k=3, top_p=0.6, min_p=0.1), {"top_k": 1}
    )
    assert (config.top_k, config.top_p, config.min_p, config.temperature) == (1, 0.5, 0.1, 1.0)


def test_the_stored_configs_are_never_changed() -> None:
    model, call = GenerationConfig(**MODEL, bad_words_ids=[[1]]), GenerationConfig(top_p=0.5)
    before = model.copy(), call.copy()
    config, _ = resolve(call, model, {"do_sample": False, "top_k": 1, "max_length": 9})
    config.bad_words_ids = [[2]]
    config.own = 5
    assert (model, call) == before


def test_none_switches_a_sampler_off_and_leaves_lengths_and_counts_alone() -> None:
    config, rest = resolve(
        None,
        GenerationConfig(**MODEL),
        {"top_k": None, "guidance_scale": None, "max_length": None, "num_return_sequences": None, "do_sample": None},
    )
    assert config.top_k is None and config.guidance_scale is None and rest == {}
    assert (config.max_length, config.num_return_sequences, config.do_sample) == (1500, 1, True)


def test_a_field_that_is_only_kept_cannot_be_asked_for() -> None:
    with pytest.raises(ParamError, match="penalty_alpha=0.5 is not supported"):
        resolve(None, GenerationConfig(), {"penalty_alpha": 0.5})
    with pytest.raises(ParamError, match="epsilon_cutoff"):
        resolve(GenerationConfig(epsilon_cutoff=0.1), GenerationConfig(), {})
    neutral = {
        "diversity_penalty": 0.0,
        "renormalize_logits": False,
        "cache_implementation": None,
        "num_beam_groups": 1,
    }
    assert resolve(None, GenerationConfig(), neutral)[1] == {}


def test_a_kept_field_of_the_models_file_does_not_stand_in_the_way() -> None:
    model = GenerationConfig(renormalize_logits=True)
    call = model.copy()
    call.top_k = 7
    assert resolve(call, model, {})[0].top_k == 7


def test_samplers_asked_for_without_sampling_are_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        resolve(None, GenerationConfig(top_k=250), {"do_sample": False})
        assert not caplog.records
        resolve(None, GenerationConfig(), {"temperature": 0.5})
    assert len(caplog.records) == 1 and "temperature" in caplog.text


def test_unknown_keywords_are_refused_with_the_nearest_name() -> None:
    refuse_unknown(["input_ids"], ["input_ids"])
    with pytest.raises(ParamTypeError, match="'guidence_scale'.*'guidance_scale'"):
        refuse_unknown(["input_ids", "guidence_scale"], ["input_ids"])
    with pytest.raises(ParamTypeError, match="'input_id'.*'input_ids'"):
        refuse_unknown(["input_id"], ["input_ids"], where="MusicgenForCausalLM.generate")


def test_beam_search_is_refused_with_the_reason() -> None:
    require_single_beam(GenerationConfig(num_beams=1))
    require_single_beam(GenerationConfig())
    with pytest.raises(ParamError, match="num_beams=2.*greedy decoding or sampling"):
        require_single_beam(GenerationConfig(num_beams=2))


@pytest.mark.parametrize(
    ("fields", "prompt", "default", "ceiling", "expected"),
    [
        ({"max_length": 30}, 1, True, None, 31),
        ({"max_length": 30}, 1, False, None, 30),
        ({"max_length": 30}, 5, True, 32, 32),
        ({"max_length": 30}, 5, False, 20, 30),
        ({"max_new_tokens": 20}, 1, True, None, 21),
        ({"max_new_tokens": 20, "max_length": 5}, 3, True, 10, 23),
        ({"max_new_tokens": 20, "max_length": 5}, 3, False, None, 23),
    ],
)
def test_the_length_equals_the_references(
    fields: dict[str, int], prompt: int, default: bool, ceiling: int | None, expected: int
) -> None:
    config = GenerationConfig(**fields)
    assert resolve_length(config, prompt, max_length_is_default=default, ceiling=ceiling) == expected
    positions = {} if ceiling is None else {"max_position_embeddings": ceiling}
    stand_in = SimpleNamespace(config=SimpleNamespace(**positions))
    theirs = GenerationMixin._prepare_generated_length(
        stand_in, TheirConfig(**fields), default, True, "input_ids", prompt, None
    )
    assert theirs.max_length == expected


def test_two_lengths_in_one_call_are_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        resolve_length(GenerationConfig(max_new_tokens=2, max_length=9), 1, max_length_is_default=False)
    assert "max_new_tokens counts" in caplog.text


def test_a_prompt_that_leaves_nothing_to_generate_is_refused() -> None:
    config = GenerationConfig(max_length=10)
    assert resolve_length(config, 9, max_length_is_default=False) == 10
    for prompt in (10, 11):
        with pytest.raises(ParamError, match="nothing is left"):
            resolve_length(config, prompt, max_length_is_default=False)
    with pytest.raises(ParamError, match="nothing is left"):
        resolve_length(config, 12, max_length_is_default=True, ceiling=12)
    with pytest.raises(ParamError, match="max_length"):
        resolve_length(GenerationConfig(), 1, max_length_is_default=True)
