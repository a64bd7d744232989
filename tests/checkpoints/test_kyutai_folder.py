"""A folder of kyutai's is found, told from the documents' layout, and answers what every loader asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from antiphon.checkpoints import hub
from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
from antiphon.checkpoints.kyutai_folder import CODEC_FILE, MODEL_FILE, ROUNDED_FILE, TOKENIZER_FILE, KyutaiFolder
from antiphon.errors import CheckpointError, ConfigError
from antiphon.models.auto import AutoTokenizer
from antiphon.models.features import feature_settings

from .kyutai_files import CODEC_CONFIG, CONFIG, KINDS, copied, golden, read


def found(folder: Path) -> KyutaiFolder:
    original = KyutaiFolder.found(folder)
    assert original is not None
    return original


@pytest.mark.parametrize("kind", KINDS)
def test_loaders_see_the_documents_layout(kind: str) -> None:
    folder = CheckpointFolder(golden(kind))
    values = folder.values()
    assert folder.model_type() == values["model_type"] == "moshi"
    assert values["audio_encoder_config"]["model_type"] == "mimi"
    assert folder.tokenizer() == golden(kind) / TOKENIZER_FILE
    with folder.weights() as weights, folder.weights("audio_encoder.") as codec, folder.weights("decoder.") as main:
        assert set(codec.names()) | set(main.names()) == set(weights.names())
        assert all(name.startswith("audio_encoder.") for name in codec.names())
    assert feature_settings(golden(kind))["sampling_rate"] == 600


def test_the_documents_own_configuration_is_not_kyutais(tmp_path: Path) -> None:
    (tmp_path / CONFIG).write_text('{"model_type": "moshi", "hidden_size": 16}', encoding="utf-8")
    (tmp_path / TOKENIZER_FILE).write_bytes(b"")
    assert KyutaiFolder.found(tmp_path) is None
    (tmp_path / CONFIG).write_text("{", encoding="utf-8")
    assert KyutaiFolder.found(tmp_path) is None
    with pytest.raises(CheckpointError, match="not valid JSON"):
        CheckpointFolder(tmp_path).values()


def test_the_tokenizer_is_that_of_the_folder() -> None:
    tokenizer = AutoTokenizer.from_pretrained(golden("moshi"))
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (
        3,
        0,
        1,
        2,
    )


def test_generation_is_that_of_the_package_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    told = found(golden("moshi")).generation()
    assert (told["temperature"], told["top_k"], told["pad_token_id"], told["do_sample"]) == (0.7, 25, 300, True)
    assert told["depth_decoder_config"]["temperature"] == 0.8
    assert (told["depth_decoder_config"]["top_k"], told["depth_decoder_config"]["max_length"]) == (250, 5)
    settings = {"temp": 0.6, "temp_text": 0.5, "top_k": 7, "top_k_text": 9, "use_sampling": False}
    told = found(copied("moshi", tmp_path, lm_gen_config=settings)).generation()
    depth = told["depth_decoder_config"]
    assert (told["temperature"], told["top_k"], told["do_sample"]) == (0.5, 9, False)
    assert (depth["temperature"], depth["top_k"], depth["do_sample"]) == (0.6, 7, False)
    with pytest.raises(ConfigError, match="lm_gen_config"):
        found(copied("moshi", tmp_path, lm_gen_config=3)).generation()


def test_a_folder_without_configuration_is_the_published_model(tmp_path: Path) -> None:
    folder = copied("moshi", tmp_path)
    (folder / CONFIG).unlink()
    (folder / CODEC_CONFIG).unlink()
    values = found(folder).config()
    assert (values["hidden_size"], values["audio_encoder_config"]["sampling_rate"]) == (4096, 24000)
    with pytest.raises(CheckpointError, match="sizes that the configuration says"):
        found(folder).open()  # these weights are smaller


def test_without_a_configuration_weights_in_8_bits_are_taken_where_there_are_no_others(tmp_path: Path) -> None:
    folder = copied("moshi", tmp_path)
    (folder / CONFIG).unlink()
    assert found(folder).language_model_path == folder / MODEL_FILE
    (folder / MODEL_FILE).unlink()
    assert found(folder).language_model_path == folder / ROUNDED_FILE
    assert CheckpointFolder(folder).model_type() == "moshi"


def test_a_codec_alone_is_a_mimi(tmp_path: Path) -> None:
    folder = copied("moshi", tmp_path)
    for name in (CONFIG, MODEL_FILE, ROUNDED_FILE, TOKENIZER_FILE):
        (folder / name).unlink()
    assert CheckpointFolder(folder).model_type() == "mimi"
    assert found(folder).config() == found(golden("moshi")).config()["audio_encoder_config"]
    prefix = "audio_encoder."
    inside = {n.removeprefix(prefix): t for n, t in read(golden("moshi")).items() if n.startswith(prefix)}
    alone = read(folder)
    assert alone.keys() == inside.keys() and all(torch.equal(alone[name], inside[name]) for name in alone)


def test_a_training_runs_file_holds_the_weights_one_level_deeper(tmp_path: Path) -> None:
    folder = copied("moshi", tmp_path, moshi_name="run.th", mimi_name="codec.th")
    torch.save({"fsdp_best_state": {"model": load_file(folder / MODEL_FILE)}}, folder / "run.th")
    torch.save({"model": load_file(folder / CODEC_FILE)}, folder / "codec.th")
    plain, deeper = read(golden("moshi")), read(folder)
    assert plain.keys() == deeper.keys() and all(torch.equal(plain[name], deeper[name]) for name in plain)
    torch.save({"best": 3}, folder / "run.th")
    with pytest.raises(CheckpointError, match="run.th"):
        found(folder).open()


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/model.safetensors", "a/b", "c:\\x", "x\0", ".hidden"])
def test_F008_names_of_files_stay_inside_the_folder(tmp_path: Path, name: str) -> None:
    for key in ("moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name"):
        original = found(copied("moshi", tmp_path, **{key: name}))
        with pytest.raises(CheckpointError, match="plain name of a file"):
            original.file(key, "")


def test_a_file_may_be_named_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    save_file(load_file(golden("moshi") / CODEC_FILE), other / "codec.safetensors")
    original = found(copied("moshi", tmp_path / "one", mimi_name=f"file://{other / 'codec.safetensors'}"))
    assert original.codec_path == other / "codec.safetensors"
    asked: list[Any] = []
    monkeypatch.setattr(hub, "locate", lambda name, patterns: asked.append((name, patterns)) or other)  # type: ignore[func-returns-value]
    original = found(copied("moshi", tmp_path / "two", mimi_name="hf://kyutai/some-repo/codec.safetensors"))
    assert original.codec_path == other / "codec.safetensors"
    assert asked == [("kyutai/some-repo", ["codec.safetensors"])]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model_type": "hibiki"}, ConfigError, "'hibiki'"),
        ({"moshi_name": 3}, ConfigError, "moshi_name=3"),
        ({"moshi_name": "absent.safetensors"}, CheckpointError, "absent.safetensors is missing"),
        ({"num_heads": 3}, ConfigError, "dim=16"),
        ({"num_layers": 3}, ConfigError, ""),
    ],
)
def test_a_configuration_that_does_not_fit_its_files_is_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    original = found(copied("moshi", tmp_path, **changes))
    if message:
        with pytest.raises(error, match=message):
            original.open()
    else:  # a layer more than there is leaves its tensors out, which loaders list by name
        with original.open() as weights:
            assert "decoder.model.layers.2.input_layernorm.weight" not in weights


def test_damaged_weights_leave_no_file_open(tmp_path: Path) -> None:
    folder = copied("moshi", tmp_path)
    (folder / CODEC_FILE).write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="tokenizer-e351c8d8"):
        found(folder).open()


def test_a_configuration_may_keep_what_is_known_about_the_model(tmp_path: Path) -> None:
    told = {"tts_config": {}, "stt_config": {}, "model_id": {"sig": "abc"}, "model_type": "moshi"}
    assert found(copied("moshi", tmp_path, **told)).config() == found(golden("moshi")).config()
    assert json.loads((tmp_path / CONFIG).read_text(encoding="utf-8"))["model_id"] == {"sig": "abc"}
