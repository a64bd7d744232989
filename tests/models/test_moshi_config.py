"""Moshi's configurations: documented defaults, what follows from what, and files in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers

import antiphon
from antiphon import MoshiConfig, MoshiDepthConfig
from antiphon.errors import ConfigError

from .tiny_moshi import CODES, TEXTS, fields, mimi_fields

_MAIN = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 3000,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "use_cache": True,
    "sliding_window": 3000,
    "attention_dropout": 0.0,
    "ffn_dim": 22528,
    "rms_norm_eps": 1e-8,
    "num_codebooks": 8,
    "tie_word_embeddings": False,
}
_DEPTH = {
    "vocab_size": 32000,
    "hidden_size": 1024,
    "input_size": 4096,
    "num_hidden_layers": 6,
    "num_attention_heads": 16,
    "audio_vocab_size": 2048,
    "max_position_embeddings": 9,
    "sliding_window": 8,
    "ffn_dim": 5632,
    "rms_norm_eps": 1e-8,
    "num_codebooks": 8,
}


@pytest.mark.row("R182", "R183", "R184")
def test_the_defaults_are_moshikos_and_belong_together() -> None:
    config = MoshiConfig()
    assert {name: getattr(config, name) for name in _MAIN} == _MAIN
    assert (config.num_key_value_heads, config.head_dim, config.audio_vocab_size) == (32, 128, 2048)
    assert config.sampling_rate == 24000
    assert config.audio_encoder_config.model_type == "mimi"
    for depth in (MoshiDepthConfig(), config.depth_decoder_config):
        assert {name: getattr(depth, name) for name in _DEPTH} == _DEPTH
        assert (depth.num_key_value_heads, depth.head_dim) == (16, 64)


@pytest.mark.row("R176", "R177")
def test_heads_that_are_left_open_follow_from_the_others() -> None:
    config = MoshiConfig(**fields(num_key_value_heads=None))
    assert (config.num_key_value_heads, config.head_dim) == (4, 8)
    assert MoshiConfig(**fields(num_key_value_heads=1, head_dim=6)).head_dim == 6


@pytest.mark.row("R178")
def test_the_base_of_positions_has_two_spellings() -> None:
    old, new = MoshiConfig(rope_theta=500.0), MoshiConfig(rope_parameters={"rope_theta": 500.0})
    assert old.rope_theta == new.rope_theta == 500.0
    assert old.rope_parameters == {"rope_type": "default", "rope_theta": 500.0}
    with pytest.raises(ConfigError, match="rope_parameters"):
        MoshiConfig(rope_parameters={"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0})


@pytest.mark.row("R180")
@pytest.mark.parametrize("kind", [MoshiConfig, MoshiDepthConfig])
def test_an_odd_width_of_the_gated_layer_is_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"ffn_dim=4097.*even"):
        kind(ffn_dim=4097)


@pytest.mark.row("R181")
def test_more_codebooks_than_the_codec_has_are_refused() -> None:
    with pytest.raises(ValueError, match=r"num_codebooks=7.*\(6\)"):
        MoshiConfig(**fields(num_codebooks=7))
    assert MoshiConfig(**fields(num_codebooks=6)).depth_decoder_config.num_codebooks == 6


@pytest.mark.row("R182", "R209")
@pytest.mark.parametrize("name", ["depth_decoder_config", "depth__config"])
def test_a_dict_for_the_depth_decoder_takes_common_sizes_from_the_main_one(name: str) -> None:
    given = fields()
    depth = given.pop("depth_decoder_config")
    config = MoshiConfig(**given, **{name: {**depth, "vocab_size": 7, "input_size": 7}})
    made = config.depth_decoder_config
    assert (made.vocab_size, made.input_size, made.audio_vocab_size, made.num_codebooks) == (TEXTS, 32, CODES, 4)
    assert made.hidden_size == 24


@pytest.mark.row("R182", "R209")
def test_a_configuration_for_the_depth_decoder_stays_that_object_and_has_to_agree() -> None:
    given = fields()
    depth = MoshiDepthConfig(
        **{**given.pop("depth_decoder_config"), "vocab_size": TEXTS, "input_size": 32, "num_codebooks": 4},
        audio_vocab_size=CODES,
    )
    assert MoshiConfig(**given, depth_decoder_config=depth).depth_decoder_config is depth
    with pytest.raises(ConfigError, match=r"depth_decoder_config.audio_vocab_size=2048.*audio_vocab_size=32"):
        MoshiConfig(**given, depth_decoder_config=MoshiDepthConfig())


@pytest.mark.row("R186")
def test_a_configuration_from_a_codecs() -> None:
    config = MoshiConfig.from_audio_encoder_config(antiphon.MimiConfig(), hidden_size=64)
    assert (config.hidden_size, config.audio_vocab_size) == (64, 2048)
    assert config.depth_decoder_config.input_size == 64
    small = MoshiConfig.from_audio_encoder_config(antiphon.MimiConfig(**mimi_fields()), num_codebooks=4)
    assert (small.audio_vocab_size, small.depth_decoder_config.audio_vocab_size) == (CODES, CODES)


@pytest.mark.row("R211")
def test_tied_embeddings_are_said_to_have_no_effect(caplog: Any) -> None:
    config = MoshiConfig(**fields(tie_word_embeddings=True))
    assert config.tie_word_embeddings
    model = antiphon.MoshiForCausalLM(config)
    assert "no effect" in caplog.text
    assert model.lm_head.weight.shape == (TEXTS, 32)
    assert model.get_input_embeddings().weight.shape == (TEXTS + 1, 32)


@pytest.mark.row("R185")
def test_files_go_both_ways(tmp_path: Path) -> None:
    theirs = transformers.MoshiConfig(**fields(rope_parameters={"rope_type": "default", "rope_theta": 300.0}))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = MoshiConfig.from_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    back = transformers.MoshiConfig.from_pretrained(tmp_path / "ours")
    for name in fields():
        if name.endswith("_config"):
            inner = getattr(theirs, name).to_dict()
            for config in (getattr(ours, name), getattr(back, name)):
                assert {k: config.to_dict().get(k, inner[k]) for k in inner if k != "transformers_version"} == {
                    k: v for k, v in inner.items() if k != "transformers_version"
                }
        else:
            assert getattr(ours, name) == getattr(back, name) == getattr(theirs, name), name
    assert ours.rope_theta == 300.0
    assert back.rope_parameters["rope_theta"] == 300.0


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelo"},
        {"hidden_size": 33},
        {"num_key_value_heads": 3},
        {"head_dim": 7},
        {"attention_dropout": float("nan")},
        {"rms_norm_eps": -1.0},
        {"sliding_window": 0},
        {"vocab_size": "many"},
        {"audio_encoder_config": 5},
    ],
)
def test_what_no_model_can_be_built_from_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        MoshiConfig(**fields(**changes))
