"""Faults A in configurations: values no model can be built from, and models no machine can hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from antiphon.errors import AntiphonError, CapacityError, ConfigError
from antiphon.models import loading
from antiphon.models.auto import AutoConfig, AutoModel
from antiphon.models.encodec import EncodecConfig, EncodecModel
from antiphon.models.musicgen import MusicgenDecoderConfig, MusicgenForCausalLM, MusicgenForConditionalGeneration
from antiphon.models.t5 import T5Config, T5EncoderModel


def configured(folder: Path, change: dict[str, Any], section: str | None = None) -> Path:
    """The folder with fields of its ``config.json`` changed."""
    path = folder / "config.json"
    values = json.loads(path.read_text())
    (values if section is None else values[section]).update(change)
    path.write_text(json.dumps(values))
    return folder


def load(folder: Path, **options: Any) -> MusicgenForConditionalGeneration:
    return MusicgenForConditionalGeneration.from_pretrained(folder, **options)


@pytest.fixture
def no_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test in which a model is begun to be built."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a layer was built before the configuration was checked")

    monkeypatch.setattr(nn.Module, "__init__", refuse)


def test_F017_a_folder_without_a_configuration_is_told(folder: Path, no_modules: None) -> None:
    (folder / "config.json").unlink()
    for reader in (load, AutoConfig.from_pretrained, AutoModel.from_pretrained):
        with pytest.raises(ConfigError, match=r"config\.json is missing"):
            reader(folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"[]", "JSON array"),
        (b"{", "not valid JSON"),
        (b'{"decoder": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"model_type": "musicgen", "x": NaN}', "holds NaN"),
        (b'{"model_type": "musicgen", "x": 1e999}', "too large for a number"),
        (b'{"model_type": "\xff"}', "not UTF-8"),
    ],
)
def test_F017_a_damaged_configuration_is_named(folder: Path, content: bytes, said: str, no_modules: None) -> None:
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"config\.json.*{said}"):
        load(folder)


def test_F017_a_byte_order_mark_is_no_damage(folder: Path) -> None:
    path = folder / "config.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load(folder).config.decoder.hidden_size == 16


BAD_NUMBERS = [-1, 0, "1024", 10**12, 1.5, None, True, [16]]


@pytest.mark.parametrize("value", BAD_NUMBERS)
@pytest.mark.parametrize(
    ("section", "field"),
    [
        ("decoder", "hidden_size"),
        ("decoder", "num_hidden_layers"),
        ("decoder", "vocab_size"),
        ("decoder", "num_codebooks"),
        ("text_encoder", "d_model"),
        ("text_encoder", "num_layers"),
        ("audio_encoder", "num_filters"),
        ("audio_encoder", "codebook_size"),
    ],
)
def test_F017_a_size_that_is_none_names_its_field(
    folder: Path, section: str, field: str, value: Any, no_modules: None
) -> None:
    configured(folder, {field: value}, section)
    with pytest.raises(ConfigError, match=rf"\.{field}="):
        load(folder)


@pytest.mark.parametrize(
    ("section", "change", "said"),
    [
        ("decoder", {"num_attention_heads": 3}, "num_attention_heads=3 does not divide hidden_size=16"),
        ("decoder", {"num_attention_heads": 0}, "num_attention_heads=0"),
        ("decoder", {"audio_channels": 3}, "audio channels, got 3"),
        ("decoder", {"num_codebooks": 5, "audio_channels": 2}, "num_codebooks=5"),
        ("decoder", {"num_hidden_layers": 2**20}, "num_hidden_layers"),
        ("decoder", {"num_codebooks": 2**20}, "num_codebooks"),
        ("decoder", {"dropout": 1.5}, "dropout=1.5"),
        ("decoder", {"dropout": "0.1"}, "dropout='0.1'"),
        ("decoder", {"activation_function": "gelo"}, "activation_function='gelo'"),
        ("decoder", {"activation_function": ["gelu"]}, "activation_function="),
        ("decoder", {"model_type": "t5"}, "decoder"),
        ("text_encoder", {"feed_forward_proj": "gated-a-b"}, "feed_forward_proj"),
        ("text_encoder", {"feed_forward_proj": "nonsense"}, "nonsense"),
        ("text_encoder", {"num_layers": 2**20}, "num_layers"),
        ("text_encoder", {"relative_attention_num_buckets": 0}, "relative_attention_num_buckets"),
        ("text_encoder", {"relative_attention_num_buckets": 1}, "relative_attention_num_buckets"),
        ("text_encoder", {"relative_attention_max_distance": 0}, "relative_attention_max_distance"),
        ("text_encoder", {"dropout_rate": -0.5}, "dropout_rate"),
        ("text_encoder", {"layer_norm_epsilon": -1.0}, "layer_norm_epsilon"),
        ("audio_encoder", {"codebook_size": 33}, "codebook_size=33"),
        ("audio_encoder", {"upsampling_ratios": []}, "upsampling_ratios"),
        ("audio_encoder", {"upsampling_ratios": [0, 2]}, "upsampling_ratios"),
        ("audio_encoder", {"upsampling_ratios": [2] * 100}, "upsampling_ratios"),
        ("audio_encoder", {"upsampling_ratios": "842"}, "upsampling_ratios"),
        ("audio_encoder", {"target_bandwidths": []}, "target_bandwidths"),
        ("audio_encoder", {"target_bandwidths": [1e12]}, "target_bandwidths"),
        ("audio_encoder", {"target_bandwidths": [1e-6]}, "target_bandwidths"),
        ("audio_encoder", {"norm_type": "layer_norm"}, "norm_type"),
        ("audio_encoder", {"pad_mode": "mirror"}, "pad_mode"),
        ("audio_encoder", {"num_lstm_layers": -1}, "num_lstm_layers"),
        ("audio_encoder", {"num_residual_layers": -1}, "num_residual_layers"),
        ("audio_encoder", {"chunk_length_s": 0.0}, "chunk_length_s"),
        ("audio_encoder", {"chunk_length_s": 1.0, "overlap": 1.5}, "overlap"),
        ("audio_encoder", {"trim_right_ratio": 2.0, "use_causal_conv": True}, "trim_right_ratio"),
        ("audio_encoder", {"compress": 1000}, "compress"),
        ("audio_encoder", {"sampling_rate": 0}, "sampling_rate"),
        ("audio_encoder", {"audio_channels": 3}, "audio_channels"),
        (None, {"decoder": 5}, "decoder=5"),
        (None, {"text_encoder": []}, "text_encoder=\\[\\]"),
        (None, {"model_type": "musicgem"}, "musicgem"),
        (None, {"model_type": ["musicgen"]}, "musicgen"),
        (None, {"dtype": "fp4"}, "dtype='fp4'"),
    ],
)
def test_F017_values_no_model_can_be_built_from_name_their_field(
    folder: Path, section: str | None, change: dict[str, Any], said: str
) -> None:
    configured(folder, change, section)
    with pytest.raises(ConfigError, match=said):
        load(folder)
    with pytest.raises(ConfigError, match=said):
        AutoModel.from_pretrained(folder)


@pytest.mark.parametrize(("reader", "section"), [(MusicgenForCausalLM, "decoder"), (EncodecModel, "audio_encoder")])
@pytest.mark.parametrize("value", [5, [], "x", None])
def test_F017_a_part_whose_section_is_no_object_is_told(folder: Path, reader: Any, section: str, value: Any) -> None:
    configured(folder, {section: value})
    with pytest.raises(AntiphonError):
        reader.from_pretrained(folder)


def test_F017_an_unknown_model_type_lists_the_known_ones(folder: Path) -> None:
    configured(folder, {"model_type": "bark"})
    with pytest.raises(ConfigError, match=r"model_type 'bark'.*'encodec', .*'musicgen'"):
        AutoModel.from_pretrained(folder)
    with pytest.raises(ConfigError, match="type 'bark'"):
        load(folder)


@pytest.mark.parametrize("kind", [MusicgenDecoderConfig, EncodecConfig, T5Config])
def test_F017_a_change_by_hand_is_checked_when_a_model_is_built(kind: Any) -> None:
    config = kind()
    setattr(config, kind.positive[0], -5)
    model = {MusicgenDecoderConfig: MusicgenForCausalLM, EncodecConfig: EncodecModel, T5Config: T5EncoderModel}[kind]
    with pytest.raises(ConfigError, match=f"{kind.positive[0]}=-5"):
        model(config)


def test_F018_a_configuration_beyond_the_memory_is_refused_before_any_of_it_is_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "materialise", lambda *args: pytest.fail("memory was taken"))
    configured(folder, {"hidden_size": 2**18, "ffn_dim": 2**20}, "decoder")
    with pytest.raises(CapacityError, match=r"the weights need \d+\.\d GiB in torch\.float32 and .* are free"):
        load(folder)


def test_F018_the_forecast_can_be_overruled(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "available_bytes", lambda: 1000)
    with pytest.raises(CapacityError, match="pass force=True"):
        load(tiny_folder)
    assert load(tiny_folder, force=True).num_parameters() > 1000


def test_F018_the_forecast_goes_by_the_dtype_asked_for(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need = load(tiny_folder).num_parameters()
    monkeypatch.setattr(loading, "available_bytes", lambda: 3 * need)
    with pytest.raises(CapacityError):
        load(tiny_folder)
    assert load(tiny_folder, dtype="bfloat16").dtype is torch.bfloat16
