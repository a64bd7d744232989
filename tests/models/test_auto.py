"""The Auto names on MusicGen, EnCodec and T5 checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon
from antiphon.errors import CheckpointError

from .conftest import Pair


@pytest.mark.row("R90")
def test_the_processor_of_a_musicgen_checkpoint_is_its_own_class(mono: Pair) -> None:
    processor = antiphon.AutoProcessor.from_pretrained(mono.folder)
    assert type(processor) is antiphon.MusicgenProcessor
    assert type(antiphon.AutoTokenizer.from_pretrained(mono.folder)) is antiphon.T5Tokenizer
    assert type(antiphon.AutoFeatureExtractor.from_pretrained(mono.folder)) is antiphon.EncodecFeatureExtractor


@pytest.mark.row("R110", "E7")
@pytest.mark.parametrize("name", ["AutoModel", "AutoModelForTextToWaveform"])
def test_the_model_of_a_musicgen_checkpoint_is_the_composite_and_makes_music(
    either: Pair, texts: Any, name: str
) -> None:
    model = getattr(antiphon, name).from_pretrained(either.folder)
    assert type(model) is either.kind
    asked = {"do_sample": False, "max_new_tokens": 8}
    assert torch.equal(model.generate(**texts, **asked), either.ours.generate(**texts, **asked))
    built = getattr(antiphon, name).from_config(either.ours.config)
    assert type(built) is either.kind


@pytest.mark.row("R110")
def test_parts_are_recognised_by_their_own_files(mono: Pair, tmp_path: Path) -> None:
    expected = {
        "text_encoder": ("AutoModelForTextEncoding", antiphon.T5EncoderModel),
        "audio_encoder": ("AutoModel", antiphon.EncodecModel),
        "decoder": ("AutoModelForCausalLM", antiphon.MusicgenForCausalLM),
    }
    for part, (auto, cls) in expected.items():
        folder = tmp_path / part
        getattr(mono.theirs, part).save_pretrained(folder)
        assert type(getattr(antiphon, auto).from_pretrained(folder)) is cls
    assert type(antiphon.AutoModel.from_pretrained(tmp_path / "decoder")) is antiphon.MusicgenModel
    assert type(antiphon.AutoModel.from_pretrained(tmp_path / "text_encoder")) is antiphon.T5EncoderModel


@pytest.mark.row("R18", "R60")
def test_the_configuration_of_a_checkpoint_has_three_typed_parts_and_a_rate(mono: Pair) -> None:
    config = antiphon.AutoConfig.from_pretrained(mono.folder)
    assert type(config) is antiphon.MusicgenConfig
    kinds = (antiphon.T5Config, antiphon.EncodecConfig, antiphon.MusicgenDecoderConfig)
    assert (type(config.text_encoder), type(config.audio_encoder), type(config.decoder)) == kinds
    assert config.sampling_rate == config.audio_encoder.sampling_rate == 32000
    assert isinstance(mono.ours.config.audio_encoder.sampling_rate, int)
    assert type(antiphon.AutoConfig.for_model("encodec")) is antiphon.EncodecConfig


def test_an_auto_name_is_not_constructed_and_an_unknown_type_names_the_known(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="from_pretrained"):
        antiphon.AutoModel()
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(ValueError, match=r"nonsense.*musicgen"):
        antiphon.AutoModel.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="causal_lm"):
        antiphon.AutoModelForCausalLM.from_config(antiphon.EncodecConfig())


@pytest.mark.parametrize("name", ["AutoConfig", "AutoModel", "AutoModelForTextToWaveform"])
def test_a_folder_without_a_configuration_is_told_by_what_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        getattr(antiphon, name).from_pretrained(tmp_path)
