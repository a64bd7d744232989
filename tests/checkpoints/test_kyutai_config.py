"""kyutai's configurations and the documents' say the same, and what cannot be computed is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon.checkpoints.kyutai_codec import PUBLISHED, codec_values, kyutai_codec
from antiphon.checkpoints.kyutai_config import KyutaiConfig
from antiphon.checkpoints.kyutai_folder import KyutaiFolder
from antiphon.checkpoints.kyutai_language_model import LEGACY, gated_width, kyutai_values, language_model_values
from antiphon.errors import ConfigError, ParamError

from .kyutai_files import KINDS, golden

HERE = Path("here")


def told(**changes: Any) -> dict[str, Any]:
    return language_model_values(KyutaiConfig({**LEGACY, **changes}, HERE))


def codec_told(section: str = "", **changes: Any) -> dict[str, Any]:
    if not section:
        return codec_values({**PUBLISHED, **changes}, HERE)
    return codec_values({**PUBLISHED, section: {**PUBLISHED[section], **changes}}, HERE)


def test_what_has_no_configuration_is_the_published_model() -> None:
    values = told()
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "ffn_dim")
    assert [values[key] for key in sizes] == [32000, 4096, 32, 32, 32, 22528]
    assert (values["sliding_window"], values["rope_theta"], values["rms_norm_eps"]) == (3000, 10000.0, 1e-8)
    depth = values["depth_decoder_config"]
    assert [depth[key] for key in sizes] == [32000, 1024, 6, 16, 16, 5632]
    assert (depth["input_size"], depth["num_codebooks"], depth["max_position_embeddings"]) == (4096, 8, 9)
    assert values["delays"] == [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1]
    assert kyutai_values(values) == {**LEGACY, "existing_text_end_padding_id": 0}


def test_the_published_codec_is_the_documents_default() -> None:
    values = codec_told()
    assert (values["sampling_rate"], values["num_quantizers"], values["codebook_dim"]) == (24000, 32, 256)
    assert (values["upsampling_ratios"], values["sliding_window"]) == ([8, 6, 5, 4], 250)
    assert kyutai_codec(values) == PUBLISHED


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_made_anew_is_read_as_the_one_it_was_made_of(kind: str) -> None:
    original = KyutaiFolder.found(golden(kind))
    assert original is not None
    values = original.config()
    codec = values.pop("audio_encoder_config")
    assert language_model_values(KyutaiConfig(kyutai_values(values), HERE)) == values
    assert codec_values(kyutai_codec(codec), HERE) == codec
    assert kyutai_codec(codec) == original.codec_config


@pytest.mark.parametrize("width", [8, 16, 36, 64])
@pytest.mark.parametrize("feedforward", [24, 25, 26, 63, 64, 65, 144, 256])
def test_every_gate_has_a_size_to_state(width: int, feedforward: int) -> None:
    values = told(dim=width * 32, hidden_scale=feedforward / (width * 32), depformer_dim=1024)
    assert values["ffn_dim"] == 2 * gated_width(width * 32, feedforward)
    back = kyutai_values(values)
    assert gated_width(back["dim"], int(back["hidden_scale"] * back["dim"])) == gated_width(width * 32, feedforward)


def test_keys_without_effect_may_have_any_value() -> None:
    assert told(depformer_causal=True, depformer_context=99, gradient_checkpointing=True) == told()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_q": 17}, "n_q=17"),
        ({"dep_q": 0, "n_q": 32}, "dep_q=0"),
        ({"dim": float("nan")}, "dim=nan"),
        ({"dim": 4095}, "dim=4095"),
        ({"num_heads": True}, "num_heads=True"),
        ({"context": None}, "context=None"),
        ({"norm": "layer_norm"}, "norm='layer_norm'"),
        ({"gating": "none"}, "gating='none'"),
        ({"positional_embedding": "sin"}, "positional_embedding='sin'"),
        ({"delays": [0, 1]}, r"delays=\[0, 1\]"),
        ({"delays": [1] * 17}, "text's is 0"),
        ({"text_card_out": 5}, "text_card_out=5"),
        ({"demux_second_stream": True}, "demux_second_stream=True"),
        ({"depformer_weights_per_step_schedule": [0] * 8}, "depformer_weights_per_step_schedule"),
        ({"depformer_dim_feedforward": [1, 2]}, "one size for all codebooks"),
        ({"conditioners": {"speaker": {}}}, "conditioners"),
        ({"wings": 2}, "wings=2"),
    ],
)
def test_what_no_moshi_here_has_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        told(**changes)


def test_a_missing_size_is_named() -> None:
    with pytest.raises(ConfigError, match="lacks num_layers"):
        language_model_values(KyutaiConfig({k: v for k, v in LEGACY.items() if k != "num_layers"}, HERE))


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ("", {"frame_rate": 25}, "frame_rate=25"),
        ("", {"sample_rate": "fast"}, "sample_rate='fast'"),
        ("", {"seanet": None}, "seanet=None"),
        ("", {"wings": 2}, "wings=2"),
        ("seanet", {"pad_mode": "reflect"}, "seanet.pad_mode='reflect'"),
        ("seanet", {"causal": False}, "seanet.causal=False"),
        ("seanet", {"ratios": [8, 6, 5, 0]}, "seanet.ratios"),
        ("seanet", {"true_skip": "yes"}, "seanet.true_skip='yes'"),
        ("transformer", {"d_model": 256}, "transformer.d_model=256"),
        ("transformer", {"num_heads": 7}, "transformer.num_heads=7"),
        ("transformer", {"layer_scale": None}, "transformer.layer_scale=None"),
        ("quantizer", {"input_dimension": 256}, "quantizer.input_dimension=256"),
        ("quantizer", {"n_q": 0}, "quantizer.n_q=0"),
    ],
)
def test_what_no_mimi_here_has_is_refused_by_name(section: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        codec_told(section, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_act": "mish"}, "hidden_act='mish'"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps"),
        ({"head_dim": 64}, "64 channels"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings"),
        ({"hidden_size": 20, "num_attention_heads": 1, "head_dim": 20, "ffn_dim": 106}, "ffn_dim=106"),
    ],
)
def test_a_model_that_kyutai_has_no_form_for_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamError, match=message):
        kyutai_values({**told(), **changes})


@pytest.mark.parametrize(
    "key", ["use_causal_conv", "pad_mode", "upsample_groups", "hidden_act", "norm_eps", "head_dim"]
)
def test_a_codec_that_kyutai_has_no_form_for_is_refused(key: str) -> None:
    with pytest.raises(ParamError, match=key):
        kyutai_codec({**codec_told(), key: "other"})
