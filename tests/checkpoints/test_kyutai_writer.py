"""What is written for kyutai is what was read from it, bit for bit, with and without a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from antiphon.checkpoints.kyutai_folder import CODEC_FILE, MODEL_FILE, KyutaiFolder
from antiphon.checkpoints.kyutai_language_model import LEGACY
from antiphon.checkpoints.kyutai_record import RECORD_FILE, KyutaiRecord
from antiphon.checkpoints.kyutai_writer import write_kyutai
from antiphon.errors import CheckpointError, ConfigError

from .kyutai_files import CODEC_CONFIG, CONFIG, IN_8_BITS, KINDS, WITH_ADAPTER, copied, golden, read


def original_of(folder: Path) -> KyutaiFolder:
    original = KyutaiFolder.found(folder)
    assert original is not None
    return original


def written(source: Path, target: Path, *, keep: bool, **more: Any) -> Path:
    """A folder read and written again."""
    target.mkdir()
    original = original_of(source)
    record = KyutaiRecord.of(original) if keep else None
    write_kyutai(target, original.config(), read(source), record=record, **more)
    return target


def check_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert list(one) == list(other)
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype and torch.equal(tensor, other[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_record_files_are_written_as_they_were(kind: str, tmp_path: Path) -> None:
    folder = written(golden(kind), tmp_path / "new", keep=True)
    for name in (MODEL_FILE, CODEC_FILE):
        check_same(load_file(folder / name), load_file(golden(kind) / name))
    for name in (CONFIG, CODEC_CONFIG):
        assert json.loads((folder / name).read_text()) == json.loads((golden(kind) / name).read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_record_the_published_spelling_is_written(kind: str, tmp_path: Path) -> None:
    folder = written(golden(kind), tmp_path / "new", keep=False)
    assert "transformer.layers.0.self_attn.in_proj_weight" in load_file(folder / MODEL_FILE)
    assert "encoder_transformer.transformer.layers.0.self_attn.in_proj_weight" in load_file(folder / CODEC_FILE)
    again, first = read(folder), read(golden(kind))
    check_same(dict(sorted(again.items())), dict(sorted(first.items())))
    assert original_of(folder).config() == original_of(golden(kind)).config()


def test_weights_may_be_cast_on_the_way_and_the_codec_is_left(tmp_path: Path) -> None:
    folder = written(golden("moshi"), tmp_path / "new", keep=True, dtype=torch.float32)
    assert {t.dtype for t in load_file(folder / MODEL_FILE).values()} == {torch.float32}
    assert {t.dtype for t in load_file(folder / CODEC_FILE).values()} == {torch.float16}


@pytest.mark.parametrize("changes", [WITH_ADAPTER, IN_8_BITS])
def test_what_was_added_or_widened_is_written_as_plain_weights(changes: dict[str, Any], tmp_path: Path) -> None:
    source = copied("moshi", tmp_path / "source", **changes)
    folder = written(source, tmp_path / "new", keep=True)
    config = json.loads((folder / CONFIG).read_text())
    assert config.keys().isdisjoint({"lora", "lora_rank", "lora_scaling", "lora_name", "quantize"})
    check_same(dict(sorted(read(folder).items())), dict(sorted(read(source).items())))


def test_a_record_of_another_model_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    original = original_of(golden("moshi"))
    record = KyutaiRecord.of(original_of(golden("grouped")))
    (tmp_path / "new").mkdir()
    write_kyutai(tmp_path / "new", original.config(), read(golden("moshi")), record=record)
    assert "another model" in caplog.text and "another codec" in caplog.text
    assert original_of(tmp_path / "new").config() == original.config()


def test_settings_of_generation_are_written_into_a_new_configuration(tmp_path: Path) -> None:
    folder = written(golden("moshi"), tmp_path / "new", keep=False, generation={"temp": 0.6})
    assert json.loads((folder / CONFIG).read_text())["lm_gen_config"] == {"temp": 0.6}


def test_a_codec_alone_is_written_alone(tmp_path: Path) -> None:
    values = original_of(golden("moshi")).config()["audio_encoder_config"]
    tensors = {n.removeprefix("audio_encoder."): t for n, t in read(golden("moshi")).items() if n.startswith("audio_")}
    write_kyutai(tmp_path, values, tensors)
    assert {file.name for file in tmp_path.iterdir()} == {CODEC_FILE, CODEC_CONFIG}
    check_same(dict(sorted(read(tmp_path).items())), dict(sorted(tensors.items())))


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    record = KyutaiRecord.of(original_of(golden("moshi")))
    record.write(tmp_path)
    assert KyutaiRecord.read(tmp_path) == record
    assert KyutaiRecord.read(golden("moshi")) is None
    assert KyutaiRecord(None, None, ["a"], []) != record and record.config != LEGACY


@pytest.mark.parametrize("text", ["{}", '{"config": 3, "codec_config": null, "language_model": [], "codec": []}', "["])
def test_a_damaged_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD_FILE).write_text(text, encoding="utf-8")
    with pytest.raises((CheckpointError, ConfigError), match=RECORD_FILE):
        KyutaiRecord.read(tmp_path)


def test_names_in_a_record_are_names(tmp_path: Path) -> None:
    KyutaiRecord(None, None, [3], []).write(tmp_path)  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="damaged"):
        KyutaiRecord.read(tmp_path)
