"""The generation config: its fields and file agree with the reference, its values are checked, unknown keys survive."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import GenerationConfig as TheirConfig
from transformers import MusicgenConfig, MusicgenDecoderConfig, Qwen2Config

from antiphon.errors import CheckpointError, ConfigError, ParamError, ParamTypeError
from antiphon.generation import config as config_module
from antiphon.generation.config import HONOURED, KEPT, GenerationConfig

OURS_ONLY = {"seed", "independent_rows", "batch_invariant", "window_seconds", "stride_seconds", "cache_dtype"}
CHECKPOINT = {
    "bos_token_id": 2048,
    "decoder_start_token_id": 2048,
    "do_sample": True,
    "guidance_scale": 3.0,
    "max_length": 1500,
    "pad_token_id": 2048,
}


def test_the_fields_are_the_references_and_ours_all_unset() -> None:
    theirs = set(TheirConfig().to_dict()) - {"_from_model_config", "transformers_version"}
    assert set(HONOURED) | set(KEPT) == theirs | OURS_ONLY
    assert not set(HONOURED) & set(KEPT)
    assert all(value is None for value in GenerationConfig().to_dict().values())


def test_the_printed_config_equals_the_references() -> None:
    for fields in ({}, CHECKPOINT, {"eos_token_id": [1, 2], "own_key": {"b": 1}, "bad_words_ids": [[1, 2]]}):
        assert repr(GenerationConfig(**fields)) == repr(TheirConfig(**fields))


def test_settings_are_changed_by_assignment() -> None:
    config = GenerationConfig(**CHECKPOINT)
    config.guidance_scale = 4.0
    config.max_length = 256
    assert config.to_diff_dict() == {**CHECKPOINT, "guidance_scale": 4.0, "max_length": 256}


def test_a_refused_assignment_changes_nothing() -> None:
    config = GenerationConfig(top_k=5)
    with pytest.raises(ParamError, match="top_k=-1"):
        config.top_k = -1
    assert config.top_k == 5


def test_unknown_keys_survive_the_round_trip(tmp_path: Path) -> None:
    fields = {**CHECKPOINT, "depth_decoder_config": {"do_sample": True}, "own_key": None, "length_penalty": 0.5}
    config = GenerationConfig.from_dict(fields)
    config.save_pretrained(tmp_path)
    again = GenerationConfig.from_pretrained(tmp_path)
    assert again == config
    assert again.depth_decoder_config == {"do_sample": True} and again.length_penalty == 0.5
    assert "own_key" in again.to_dict()


def test_what_we_save_the_reference_opens_and_the_reverse(tmp_path: Path) -> None:
    fields = {**CHECKPOINT, "top_k": 250, "eos_token_id": [5, 6], "own_key": "kept"}
    GenerationConfig(**fields).save_pretrained(tmp_path / "ours")
    theirs = TheirConfig.from_pretrained(tmp_path / "ours")
    assert {name: getattr(theirs, name) for name in fields} == fields
    theirs.save_pretrained(tmp_path / "theirs")
    back = GenerationConfig.from_pretrained(tmp_path / "theirs")
    assert back == GenerationConfig(**fields)
    assert back.transformers_version == theirs.to_dict()["transformers_version"]


def test_the_saved_file_holds_only_what_is_set(tmp_path: Path) -> None:
    GenerationConfig(**CHECKPOINT).save_pretrained(tmp_path)
    text = (tmp_path / "generation_config.json").read_text()
    assert json.loads(text) == CHECKPOINT and text.endswith("}\n")
    assert [one.name for one in tmp_path.iterdir()] == ["generation_config.json"]


def test_another_file_name_can_be_saved_and_opened(tmp_path: Path) -> None:
    GenerationConfig(top_k=3).save_pretrained(tmp_path, "mine.json")
    assert GenerationConfig.from_pretrained(tmp_path, "mine.json").top_k == 3
    assert GenerationConfig.from_pretrained(str(tmp_path), config_file_name="mine.json").top_k == 3


def test_keywords_win_over_the_file_and_unused_ones_can_be_had_back(tmp_path: Path) -> None:
    GenerationConfig(**CHECKPOINT, own_key=1).save_pretrained(tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path, top_k=1).top_k == 1
    config, unused = GenerationConfig.from_pretrained(
        tmp_path, top_k=1, foo=False, own_key=2, return_unused_kwargs=True
    )
    assert (config.top_k, config.own_key, unused) == (1, 2, {"foo": False})
    assert GenerationConfig.from_pretrained(tmp_path, foo=3).foo == 3
    config, unused = GenerationConfig.from_dict({"top_k": 4}, top_p=0.5, foo=1, return_unused_kwargs=True)
    assert (config.top_k, config.top_p, unused) == (4, 0.5, {"foo": 1})


def test_a_file_in_a_subfolder_is_found_and_one_outside_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "resolve_folder", config_module.local_folder)
    GenerationConfig(top_k=3).save_pretrained(tmp_path / "model" / "inner")
    assert GenerationConfig.from_pretrained(tmp_path / "model", subfolder="inner").top_k == 3
    with pytest.raises(CheckpointError, match="leads out"):
        GenerationConfig.from_pretrained(tmp_path / "model" / "inner", subfolder="..")


def test_a_missing_folder_or_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "resolve_folder", config_module.local_folder)
    with pytest.raises(CheckpointError, match="no folder"):
        GenerationConfig.from_pretrained(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        GenerationConfig.from_pretrained(tmp_path)


def test_a_bad_value_in_a_file_names_the_file_and_the_field(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"temperature": -1}')
    with pytest.raises(ConfigError, match=r"generation_config\.json.*temperature=-1"):
        GenerationConfig.from_pretrained(tmp_path)


def test_the_hook_for_names_gets_the_hub_keywords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    GenerationConfig(top_k=3).save_pretrained(tmp_path)
    asked: dict[str, Any] = {}

    def hook(name: str, **keywords: Any) -> Path:
        asked.update(keywords, name=name)
        return tmp_path

    monkeypatch.setattr(config_module, "resolve_folder", hook)
    assert GenerationConfig.from_pretrained("someone/model", revision="v2", local_files_only=True).top_k == 3
    assert asked["name"] == "someone/model" and asked["revision"] == "v2" and asked["local_files_only"] is True


def test_fields_of_a_file_that_are_not_followed_are_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {"penalty_alpha": 0.5, "epsilon_cutoff": 0.0, "renormalize_logits": True, "top_h": None}
    GenerationConfig(**fields).save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        GenerationConfig.from_pretrained(tmp_path)
    assert len(caplog.records) == 1
    assert "penalty_alpha" in caplog.text and "renormalize_logits" in caplog.text and "epsilon" not in caplog.text


@pytest.mark.parametrize(
    "model_config",
    [
        MusicgenConfig(),
        MusicgenDecoderConfig(pad_token_id=7, output_attentions=True),
        Qwen2Config(eos_token_id=[3, 4]),
    ],
    ids=lambda one: type(one).__name__,
)
def test_settings_taken_from_a_models_config_equal_the_references(model_config: Any) -> None:
    theirs = TheirConfig.from_model_config(model_config)
    for given in (model_config, model_config.to_dict()):
        ours = GenerationConfig.from_model_config(given)
        assert repr(ours) == repr(theirs)
        assert ours._from_model_config is True


def test_update_sets_what_it_knows_and_returns_the_rest() -> None:
    config = GenerationConfig(own_key=1)
    assert config.update(top_k=3, own_key=2, foo=4) == {"foo": 4}
    assert (config.top_k, config.own_key, hasattr(config, "foo")) == (3, 2, False)


def test_an_update_that_is_refused_changes_nothing() -> None:
    config = GenerationConfig(top_k=3)
    with pytest.raises(ParamError, match="temperature"):
        config.update(top_k=4, temperature=float("nan"))
    with pytest.raises(ParamError, match="num_return_sequences"):
        config.update(top_k=4, num_return_sequences=2)
    assert config.to_diff_dict() == {"top_k": 3}


def test_equality_is_by_value_without_the_versions() -> None:
    config = GenerationConfig(top_k=3, own_key=1)
    assert config == GenerationConfig(top_k=3, own_key=1, transformers_version="4.1")
    assert config != GenerationConfig(top_k=3) and config != {"top_k": 3}


def test_copies_and_pickles_are_equal_and_independent() -> None:
    config = GenerationConfig(bad_words_ids=[[1]], own_key=[1])
    for twin in (config.copy(), copy.deepcopy(config), copy.copy(config), pickle.loads(pickle.dumps(config))):
        assert twin == config and isinstance(twin, GenerationConfig)
    twin = config.copy()
    twin.bad_words_ids[0].append(5)
    twin.own_key.append(2)
    assert config.bad_words_ids == [[1]] and config.own_key == [1]


def test_numpy_numbers_become_plain_ones_that_can_be_saved(tmp_path: Path) -> None:
    config = GenerationConfig(
        temperature=np.float32(0.5), top_k=np.int64(7), eos_token_id=np.int32(3), seed=np.int64(9)
    )
    assert type(config.temperature) is float and type(config.top_k) is int and type(config.seed) is int
    config.save_pretrained(tmp_path)
    assert GenerationConfig.from_pretrained(tmp_path) == config


def test_a_misspelt_field_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        config = GenerationConfig(guidence_scale=3)
    assert "guidance_scale" in caplog.text
    with pytest.raises(AttributeError, match="temperature"):
        _ = config.temprature


def test_arguments_of_the_call_do_not_belong_into_a_config() -> None:
    with pytest.raises(ParamError, match="streamer"):
        GenerationConfig(streamer=object())


def test_saving_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(ParamError, match="push_to_hub"):
        GenerationConfig().save_pretrained(tmp_path, push_to_hub=True)
    with pytest.raises(ParamTypeError, match="config_file_name"):
        GenerationConfig().save_pretrained(tmp_path, config_filename="x.json")
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="is a file"):
        GenerationConfig().save_pretrained(tmp_path / "file")


def test_every_field_can_be_written_out() -> None:
    everything = json.loads(GenerationConfig(top_k=1).to_json_string(use_diff=False))
    assert everything["top_k"] == 1 and everything["max_length"] is None and set(HONOURED) <= set(everything)
