"""The configurations of Audio Flamingo 3 and Music Flamingo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import antiphon
from antiphon.errors import ConfigError
from antiphon.models.audio_flamingo_config import (
    AudioFlamingo3Config,
    AudioFlamingo3EncoderConfig,
    MusicFlamingoConfig,
)
from antiphon.models.qwen2 import Qwen2Config

from .tiny_flamingo import encoder_fields, fields, text_fields


@pytest.mark.row("R137")
@pytest.mark.parametrize("name", ["MusicFlamingoConfig", "AudioFlamingo3Config", "AudioFlamingo3EncoderConfig"])
def test_the_defaults_are_the_references(name: str) -> None:
    own, reference = getattr(antiphon, name)().to_dict(), getattr(transformers, name)().to_dict()
    parts = {part: own.pop(part) for part in ("audio_config", "text_config") if part in own}
    for field, value in own.items():
        assert reference[field] == value, field
    for part, values in parts.items():
        assert {field: reference[part][field] for field in values} == values


@pytest.mark.row("R114", "R137")
def test_the_time_embedding_follows_from_its_base_and_the_encoders_width() -> None:
    config = MusicFlamingoConfig()
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 1200.0, "partial_rotary_factor": 0.2}
    assert (config.max_position_embeddings, config.head_dim) == (1200.0, 1280)
    longer = MusicFlamingoConfig(rope_parameters={"rope_theta": 1800.0})
    assert (longer.max_position_embeddings, longer.partial_rotary_factor) == (1800.0, 0.2)
    older = MusicFlamingoConfig(rope_theta=600.0, partial_rotary_factor=0.1)
    assert (older.rope_theta, older.partial_rotary_factor, older.max_position_embeddings) == (600.0, 0.1, 600.0)


@pytest.mark.row("E2", "R138", "R151")
def test_the_parts_come_by_position_by_name_as_dicts_or_not_at_all() -> None:
    audio, text = AudioFlamingo3EncoderConfig(**encoder_fields()), Qwen2Config(**text_fields())
    config = MusicFlamingoConfig(audio, text)
    assert config.audio_config is audio
    assert config.text_config is text
    assert MusicFlamingoConfig(audio_config=encoder_fields(), text_config=text_fields()) == config
    for stated in (None, "musicflamingo_encoder", "audioflamingo3_encoder"):
        assert MusicFlamingoConfig(audio_config={**encoder_fields(), "model_type": stated}).audio_config == audio
    assert MusicFlamingoConfig(text_config={**text_fields(), "model_type": None}).text_config == text
    assert MusicFlamingoConfig(audio, text, 7, "relu", False, 8, 9, 0.02).audio_frame_step == 0.02
    assert config.get_text_config() is text
    assert text.get_text_config() is text


@pytest.mark.row("R138", "R151")
def test_a_model_is_made_of_them_as_the_document_shows() -> None:
    configuration = MusicFlamingoConfig(AudioFlamingo3EncoderConfig(**encoder_fields()), Qwen2Config(**text_fields()))
    model = antiphon.MusicFlamingoForConditionalGeneration(configuration)
    assert model.config is configuration
    assert model.model.language_model.config is configuration.text_config
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert not bool(model.model.audio_tower.encoder.first.bias.any())


@pytest.mark.row("R151")
def test_the_documented_example_runs_at_full_size_without_memory() -> None:
    with torch.device("meta"):
        model = antiphon.MusicFlamingoForConditionalGeneration(
            MusicFlamingoConfig(AudioFlamingo3EncoderConfig(), Qwen2Config())
        )
    assert model.lm_head.weight.shape == (151936, 4096)
    assert model.num_parameters() > 7e9


@pytest.mark.row("R137")
@pytest.mark.parametrize("kind", ["music", "audio"])
def test_a_file_comes_back_as_it_was(kind: str, tmp_path: Path) -> None:
    config = {"music": MusicFlamingoConfig, "audio": AudioFlamingo3Config}[kind](**fields(kind), strange=3)
    config.save_pretrained(tmp_path)
    again = antiphon.AutoConfig.from_pretrained(tmp_path)
    assert again == config
    assert type(again) is type(config)
    assert again.strange == 3
    theirs = transformers.AutoConfig.from_pretrained(tmp_path).to_dict()
    written = json.loads((tmp_path / "config.json").read_text())
    assert theirs["text_config"]["rope_parameters"] == written["text_config"]["rope_parameters"]
    assert theirs.get("rope_parameters") == written.get("rope_parameters")


def test_the_encoders_older_spellings_mean_the_same() -> None:
    config = AudioFlamingo3EncoderConfig(d_model=48, encoder_layers=3, encoder_attention_heads=6, encoder_ffn_dim=50)
    assert (config.hidden_size, config.num_hidden_layers, config.intermediate_size) == (48, 3, 50)
    assert config.encoder_attention_heads == 6


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"audio_config": Qwen2Config(**text_fields())}, "audio_config of class Qwen2Config"),
        ({"text_config": {"model_type": "moshi"}}, "text_config of class MoshiConfig"),
        ({"text_config": 3}, "text_config=3"),
        ({"projector_hidden_act": "nothing"}, "projector_hidden_act='nothing'"),
        ({"audio_frame_step": 0.0}, "audio_frame_step=0.0"),
        ({"audio_frame_step": float("nan")}, "audio_frame_step=nan"),
        ({"rope_parameters": {"partial_rotary_factor": 0.6}}, "partial_rotary_factor=0.6"),
        ({"rope_parameters": {"partial_rotary_factor": 0.0}}, "partial_rotary_factor=0.0"),
        ({"rope_parameters": {"partial_rotary_factor": float("nan")}}, "partial_rotary_factor=nan"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, "rope_parameters="),
        ({"rope_parameters": {"rope_theta": -1.0}}, "rope_parameters="),
        ({"rope_parameters": 7}, "rope_parameters=7"),
        ({"audio_config": encoder_fields(num_attention_heads=7)}, "num_attention_heads=7"),
        ({"audio_config": encoder_fields(dropout=2.0)}, "dropout=2.0"),
    ],
)
def test_what_no_model_can_be_built_from_is_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named.replace("(", r"\(")):
        MusicFlamingoConfig(**fields(**wrong))
