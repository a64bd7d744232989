"""What a checkpoint's summary says, against the checkpoint itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon
from antiphon.errors import CheckpointError
from antiphon.tasks import summary as module
from antiphon.tasks.summary import UNSTATED_LICENCE, licence_of, summarise


def test_parts_and_sizes_are_those_of_the_loaded_model(checkpoint: Path, compose: Any) -> None:
    told = summarise(checkpoint)
    model = compose.model
    parts = {part.name: part.parameters for part in told.parts}
    assert parts == {
        "text_encoder": model.text_encoder.num_parameters(),
        "audio_encoder": model.audio_encoder.num_parameters(),
        "decoder": model.decoder.num_parameters(),
        "projection": sum(p.numel() for p in model.enc_to_dec_proj.parameters()),
    }
    assert told.parameters == model.num_parameters()
    assert told.dtypes[0] == "float32"
    assert told.files == {"model.safetensors": (checkpoint / "model.safetensors").stat().st_size}
    assert told.weights_bytes["fp32"] == pytest.approx(model.get_memory_footprint(), rel=0.01)
    assert told.weights_bytes["bf16"] * 2 == told.weights_bytes["fp32"]
    for kind in ("int8", "int4"):
        rounded = antiphon.MusicgenForConditionalGeneration.from_pretrained(checkpoint, quantize=kind)
        assert told.weights_bytes[kind] == pytest.approx(rounded.get_memory_footprint(), rel=0.01)
    assert told.rounding == ""


def test_rounded_checkpoints_are_told_as_such(checkpoint: Path, tmp_path: Path) -> None:
    wide = summarise(checkpoint)
    antiphon.MusicgenForConditionalGeneration.from_pretrained(checkpoint, quantize="int4").save_pretrained(tmp_path)
    told = summarise(tmp_path)
    assert told.rounding == "int4, groups of 64"
    assert (told.parts, told.weights_bytes) == (wide.parts, wide.weights_bytes)
    assert "uint8" in told.dtypes
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"]["quant_method"] = "gptq"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert summarise(tmp_path).rounding == "by gptq"


def test_sound_and_codes_are_told(checkpoint: Path, make_checkpoint: Any, tmp_path: Path) -> None:
    mono, stereo = summarise(checkpoint), summarise(make_checkpoint(tmp_path, channels=2))
    assert (mono.model_type, mono.sampling_rate, mono.frame_rate_hz) == ("musicgen", 32_000, 50)
    assert (mono.codebooks, mono.channels, mono.tokens_per_second) == (4, 1, 200)
    assert (stereo.codebooks, stereo.channels, stereo.tokens_per_second) == (8, 2, 400)


def test_a_codec_of_half_frames_is_told_too(tmp_path: Path) -> None:
    config = antiphon.MimiConfig(hidden_size=16, num_filters=2, num_hidden_layers=1, upsample_groups=16)
    model = antiphon.MimiModel(config)
    model.save_pretrained(tmp_path)
    told = summarise(tmp_path)
    assert (told.model_type, told.sampling_rate, told.channels) == ("mimi", 24_000, 1)
    assert (told.frame_rate_hz, told.codebooks, told.tokens_per_second) == (12.5, 32, 400)
    assert told.parameters == model.num_parameters()


def test_the_cache_of_musicgen_small_is_forecast(tmp_path: Path) -> None:
    config = antiphon.MusicgenConfig(
        audio_encoder={"model_type": "encodec", "sampling_rate": 32_000, "upsampling_ratios": [8, 5, 4, 4]},
        text_encoder={"model_type": "t5"},
        decoder={"model_type": "musicgen_decoder"},
    )
    # two passes, keys and values, 24 layers of width 1024, 30 s at 50 frames and the delay of 4 codebooks
    assert module._cache_bytes(config)["fp32"] == 2 * 2 * 24 * 1024 * (1500 + 4) * 4
    assert module._cache_bytes(config)["bf16"] == 2 * 2 * 24 * 1024 * (1500 + 4) * 2


def test_no_weight_is_read(checkpoint: Path, monkeypatch: Any) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a weight was read")

    monkeypatch.setattr("antiphon.checkpoints.safetensors_file.SafetensorsFile.read_into", refuse)
    assert summarise(checkpoint).parameters > 0


def test_parts_alone_are_told_too(compose: Any, tmp_path: Path) -> None:
    compose.model.audio_encoder.save_pretrained(tmp_path / "codec")
    compose.model.text_encoder.save_pretrained(tmp_path / "text")
    codec, text = summarise(tmp_path / "codec"), summarise(tmp_path / "text")
    assert (codec.model_type, codec.codebooks, codec.sampling_rate) == ("encodec", 4, 32_000)
    assert (text.model_type, text.tokens_per_second, text.cache_bytes) == ("t5", 0, {})
    assert set(text.weights_bytes) == {"fp32", "bf16", "int8", "int4"}
    assert set(codec.weights_bytes) == {"fp32", "bf16"}
    assert text.parameters == compose.model.text_encoder.num_parameters()


def test_a_summary_is_json(checkpoint: Path) -> None:
    told = json.loads(json.dumps(summarise(checkpoint).to_dict()))
    assert told["parameters"] == sum(part["parameters"] for part in told["parts"])


def test_a_folder_without_its_weights_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copy(checkpoint / "config.json", tmp_path)
    with pytest.raises(CheckpointError, match="no weights"):
        summarise(tmp_path)


def test_half_precision_weights_are_told_as_such(compose: Any, checkpoint: Path, tmp_path: Path) -> None:
    loaded = antiphon.MusicgenForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.bfloat16)
    loaded.save_pretrained(tmp_path)
    assert summarise(tmp_path).dtypes[0] == "bfloat16"


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: cc-by-nc-4.0\ntags: [a]\n---\n# x", "cc-by-nc-4.0"),
        ("\ufeff---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("# no front matter\nlicense: mit\n", UNSTATED_LICENCE),
        ("---\nlicense: [\n---\n", UNSTATED_LICENCE),
        ("---\nlicense: mit", UNSTATED_LICENCE),
        ("---\n!!python/object/apply:os.getcwd []\n---\n", UNSTATED_LICENCE),
        ("---\n- a\n---\n", UNSTATED_LICENCE),
        ("", UNSTATED_LICENCE),
    ],
)
def test_the_licence_is_what_the_readme_states(readme: str, licence: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(readme, encoding="utf-8", newline="")
    assert licence_of(tmp_path) == licence


def test_without_a_readme_the_licence_is_not_stated(tmp_path: Path) -> None:
    assert licence_of(tmp_path) == UNSTATED_LICENCE
