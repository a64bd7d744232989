"""Mimi's configuration beside transformers', and what no codec can be built from."""

from __future__ import annotations

from typing import Any

import pytest
import transformers

import antiphon
from antiphon.errors import ConfigError

from .tiny_mimi import KINDS, SMALL


@pytest.mark.row("R161")
def test_the_default_is_the_published_codec_at_24_khz_and_12_5_hz() -> None:
    ours, theirs = antiphon.MimiConfig(), transformers.MimiConfig()
    for name in antiphon.MimiConfig._fields:
        assert getattr(ours, name) == getattr(theirs, name), name
    derived = ("encodec_frame_rate", "num_codebooks", "latent_stride", "latent_dim", "frame_size", "frame_rate")
    for name in derived:
        assert getattr(ours, name) == getattr(theirs, name), name
    assert (ours.sampling_rate, ours.frame_rate, ours.frame_size, ours.num_quantizers) == (24000, 12.5, 1920, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_derived_values_are_the_references_whatever_the_sizes(kind: str) -> None:
    given = {**SMALL, **KINDS[kind]}
    ours, theirs = antiphon.MimiConfig(**given), transformers.MimiConfig(**given)
    for name in ("encodec_frame_rate", "latent_stride", "frame_size", "frame_rate", "head_dim", "rope_parameters"):
        assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.parametrize("options", [{}, {"frame_rate": 12.5}, {"rope_theta": 500.0}, {"sliding_window": 9}])
def test_a_configuration_comes_back_from_either_side(options: dict[str, Any], tmp_path: Any) -> None:
    ours = antiphon.MimiConfig(**{**SMALL, **options})
    ours.save_pretrained(tmp_path)
    assert antiphon.MimiConfig.from_pretrained(tmp_path) == ours
    theirs = transformers.MimiConfig.from_pretrained(tmp_path)
    assert theirs.frame_rate == ours.frame_rate
    assert theirs.rope_parameters == ours.rope_parameters
    theirs.save_pretrained(tmp_path)
    again = antiphon.MimiConfig.from_pretrained(tmp_path)
    assert (again.frame_rate, again.rope_theta) == (ours.frame_rate, ours.rope_theta)


def test_a_frame_rate_that_is_stated_decides_how_many_frames_become_one() -> None:
    config = antiphon.MimiConfig(upsampling_ratios=[8, 6, 5, 4], frame_rate=6.25)
    assert (config.latent_stride, config.frame_rate) == (4, 6.25)
    assert antiphon.MimiConfig(frame_rate=25).latent_stride == 1
    assert antiphon.MimiConfig(frame_rate=None) == antiphon.MimiConfig()
    assert "_frame_rate" not in config.to_dict()


def test_the_older_spelling_of_the_rotary_base_is_taken() -> None:
    config = antiphon.MimiConfig(rope_theta=2000)
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 2000}
    config.rope_theta = 3000.0
    assert config.rope_parameters["rope_theta"] == config.rope_theta == 3000.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_semantic_quantizers", 32),
        ("num_semantic_quantizers", 0),
        ("codebook_size", 1000),
        ("codebook_dim", 128),
        ("upsampling_ratios", [0]),
        ("audio_channels", 3),
        ("pad_mode", "circular"),
        ("compress", 65),
        ("trim_right_ratio", float("nan")),
        ("trim_right_ratio", 1.5),
        ("frame_rate", 0),
        ("frame_rate", float("nan")),
        ("frame_rate", 100),
        ("upsample_groups", 3),
        ("num_attention_heads", 7),
        ("num_attention_heads", 0),
        ("num_key_value_heads", 3),
        ("head_dim", 63),
        ("attention_dropout", 1.0),
        ("norm_eps", 0.0),
        ("hidden_act", "sine"),
        ("sliding_window", 0),
        ("rope_parameters", {"rope_type": "yarn", "factor": 2.0}),
        ("rope_parameters", {"rope_theta": float("inf")}),
        ("rope_parameters", "default"),
        ("encoder_config", None),
    ],
)
def test_what_no_codec_can_be_built_from_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        antiphon.MimiConfig(**{field: value})
