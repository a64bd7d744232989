"""The documented configurations: defaults, mapping, files, other names, validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import antiphon
from antiphon.errors import ConfigError

NAMES = ["MusicgenDecoderConfig", "MusicgenMelodyDecoderConfig", "EncodecConfig", "T5Config"]
FAMILIES = ["Musicgen", "MusicgenMelody"]


@pytest.mark.row("R38", "R111")
@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_the_references(name: str) -> None:
    ours, theirs = getattr(antiphon, name)(), getattr(transformers, name)()
    for field, value in ours.to_dict().items():
        if field in theirs.to_dict() and field not in ("dtype", "architectures"):
            assert theirs.to_dict()[field] == value, field


@pytest.mark.row("R38")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_composites_defaults_are_those_of_its_parts(family: str) -> None:
    config = getattr(antiphon, f"{family}Config")()
    assert config.decoder == getattr(antiphon, f"{family}DecoderConfig")()
    assert config.text_encoder == antiphon.T5Config()
    assert config.audio_encoder == antiphon.EncodecConfig()
    assert config.is_encoder_decoder


@pytest.mark.row("R38", "R61")
def test_a_melody_has_twelve_notes_and_235_frames() -> None:
    ours, theirs = antiphon.MusicgenMelodyConfig(), transformers.MusicgenMelodyConfig()
    assert (ours.num_chroma, ours.chroma_length) == (theirs.num_chroma, theirs.chroma_length) == (12, 235)
    assert (ours.model_type, ours.decoder.model_type) == (theirs.model_type, theirs.decoder.model_type)


@pytest.mark.row("R39")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_token_after_the_codes_has_an_embedding_and_no_logit(family: str) -> None:
    config = getattr(antiphon, f"{family}DecoderConfig")(
        hidden_size=8, ffn_dim=8, num_hidden_layers=1, num_attention_heads=1, num_codebooks=2
    )
    assert config.pad_token_id == config.bos_token_id == config.vocab_size == 2048
    model = getattr(antiphon, f"{family}ForCausalLM")(config).eval()
    state = model.state_dict()
    assert state["model.decoder.embed_tokens.0.weight"].shape == (2049, 8)
    assert state["lm_heads.1.weight"].shape == (2048, 8)
    assert model(torch.full((2, 1), 2048)).logits.shape == (2, 1, 2048)


@pytest.mark.row("R11")
@pytest.mark.parametrize("family", FAMILIES)
def test_more_than_two_audio_channels_are_refused(family: str) -> None:
    with pytest.raises(ValueError, match="1 \\(mono\\) or 2 \\(stereo\\)"):
        getattr(antiphon, f"{family}DecoderConfig")(audio_channels=3)


@pytest.mark.row("R44")
@pytest.mark.parametrize("family", FAMILIES)
def test_is_decoder_and_add_cross_attention_are_kept_and_change_nothing(family: str) -> None:
    settings, model = getattr(antiphon, f"{family}DecoderConfig"), getattr(antiphon, f"{family}ForCausalLM")
    sizes = {"hidden_size": 8, "ffn_dim": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 16}
    config = settings(**sizes, is_decoder=True, add_cross_attention=True)
    assert (config.is_decoder, config.add_cross_attention) == (True, True)
    assert (config.to_dict()["is_decoder"], config.to_dict()["add_cross_attention"]) == (True, True)
    with_flags, without = model(config).state_dict(), model(settings(**sizes)).state_dict()
    assert {n: t.shape for n, t in with_flags.items()} == {n: t.shape for n, t in without.items()}


@pytest.mark.row("R108", "E1")
def test_a_configuration_unpacks_like_a_mapping() -> None:
    config = antiphon.MusicgenDecoderConfig(hidden_size=64, made_up=5)
    assert dict(**config)["hidden_size"] == 64
    assert antiphon.MusicgenDecoderConfig(**config) == config
    assert "hidden_size" in config
    assert config["made_up"] == config.made_up == config.get("made_up") == 5
    assert config.get("absent", 3) == 3


@pytest.mark.row("R48")
@pytest.mark.parametrize("name", [*NAMES, "MusicgenConfig", "MusicgenMelodyConfig"])
def test_files_keep_every_value_and_what_is_unknown(name: str, tmp_path: Path) -> None:
    cls = getattr(antiphon, name)
    config = cls(return_dict=False, output_hidden_states=True, made_up={"a": [1]})
    assert isinstance(config, antiphon.PreTrainedConfig)
    config.save_pretrained(tmp_path)
    back = cls.from_pretrained(tmp_path)
    assert back == config
    assert back.made_up == {"a": [1]}
    assert not back.use_return_dict
    assert getattr(transformers, name).from_pretrained(tmp_path).output_hidden_states is True


@pytest.mark.parametrize("name", NAMES)
def test_files_of_the_reference_are_read(name: str, tmp_path: Path) -> None:
    theirs = getattr(transformers, name)()
    theirs.save_pretrained(tmp_path)
    ours = getattr(antiphon, name).from_pretrained(tmp_path)
    for field in getattr(antiphon, name)._fields:
        if hasattr(theirs, field):
            value = getattr(theirs, field)
            assert getattr(ours, field) == (list(value) if isinstance(value, tuple) else value), field


def test_other_names_of_fields_are_one_value() -> None:
    config = antiphon.T5Config(hidden_size=32, num_hidden_layers=3)
    assert (config.d_model, config.hidden_size, config.num_layers) == (32, 32, 3)
    config.hidden_size = 16
    assert config.d_model == 16
    assert "hidden_size" not in config.to_dict()


def test_fields_are_taken_by_position_and_overridden_at_loading(tmp_path: Path) -> None:
    config = antiphon.MusicgenDecoderConfig(128, 512)
    assert (config.vocab_size, config.max_position_embeddings) == (128, 512)
    config.save_pretrained(tmp_path)
    changed, unused = antiphon.MusicgenDecoderConfig.from_pretrained(
        tmp_path, vocab_size=256, nonsense=1, return_unused_kwargs=True
    )
    assert changed.vocab_size == 256
    assert unused == {"nonsense": 1}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_section_of_a_composites_file_is_found(family: str, tmp_path: Path) -> None:
    composite = getattr(antiphon, f"{family}Config")
    composite(decoder={"hidden_size": 64, "num_attention_heads": 2}).save_pretrained(tmp_path)
    assert getattr(antiphon, f"{family}DecoderConfig").from_pretrained(tmp_path).hidden_size == 64
    assert antiphon.T5Config.from_pretrained(tmp_path) == antiphon.T5Config()


def test_sub_configurations_may_be_dicts_and_make_a_composite() -> None:
    parts = (antiphon.T5Config(), antiphon.EncodecConfig(), antiphon.MusicgenDecoderConfig())
    config = antiphon.MusicgenConfig.from_sub_models_config(*parts)
    assert config.decoder is parts[2]
    again = antiphon.MusicgenConfig(**{k: v.to_dict() for k, v in zip(config.sub_configs, parts, strict=True)})
    assert again == config


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("MusicgenDecoderConfig", {"hidden_size": 30, "num_attention_heads": 4}),
        ("MusicgenDecoderConfig", {"hidden_size": "wide"}),
        ("MusicgenDecoderConfig", {"num_hidden_layers": 0}),
        ("MusicgenDecoderConfig", {"dropout": float("nan")}),
        ("MusicgenDecoderConfig", {"dropout": 1.5}),
        ("MusicgenDecoderConfig", {"num_codebooks": 3, "audio_channels": 2}),
        ("MusicgenDecoderConfig", {"vocab_size": 2**40}),
        ("EncodecConfig", {"norm_type": "batch"}),
        ("EncodecConfig", {"upsampling_ratios": []}),
        ("EncodecConfig", {"target_bandwidths": [0]}),
        ("T5Config", {"feed_forward_proj": "three-part-name"}),
        ("MusicgenConfig", {"decoder": 5}),
        ("MusicgenMelodyDecoderConfig", {"num_codebooks": 3, "audio_channels": 2}),
        ("MusicgenMelodyConfig", {"chroma_length": 0}),
        ("MusicgenMelodyConfig", {"chroma_length": 2.5}),
        ("MusicgenMelodyConfig", {"num_chroma": -1}),
        ("MusicgenMelodyConfig", {"num_chroma": float("nan")}),
        ("MusicgenConfig", {"model_type": "t5"}),
    ],
)
def test_values_no_model_can_be_built_from_are_errors_naming_them(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        getattr(antiphon, name)(**wrong)
    assert next(iter(wrong)) in str(caught.value)


def test_the_text_of_a_configuration_is_its_json() -> None:
    config = antiphon.MusicgenDecoderConfig(hidden_size=64, dtype=torch.float16)
    assert json.loads(config.to_json_string()) == config.to_dict()
    assert config.to_dict()["dtype"] == "float16"
    assert set(config.to_diff_dict()) == {"hidden_size", "dtype", "model_type"}
    assert "MusicgenDecoderConfig" in repr(config)
