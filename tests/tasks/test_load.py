"""``load``: names and folders to composers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon
from antiphon.audio.clip import Audio
from antiphon.errors import CheckpointError, ConfigError, ParamError
from antiphon.tasks.composer import Composer


def test_a_musicgen_folder_gives_a_composer_that_knows_its_model(checkpoint: Path, compose: Composer) -> None:
    assert isinstance(compose, Composer)
    assert compose.name == str(checkpoint)
    assert (compose.sampling_rate, compose.channels, compose.hop_samples) == (32_000, 1, 640)
    assert type(compose.model).__name__ == "MusicgenForConditionalGeneration"
    assert type(compose.processor).__name__ == "MusicgenProcessor"
    assert str(compose) == f"Composer({str(checkpoint)!r}, 32000 Hz, 1 ch, on cpu)"


def test_weights_take_the_dtype_that_is_asked_for(checkpoint: Path) -> None:
    loaded = antiphon.load(checkpoint, dtype="bfloat16", device="cpu")
    assert loaded.model.dtype == torch.bfloat16
    piece = loaded("calm piano", seconds=0.1, seed=1)
    assert piece.parameters["dtype"] == "bfloat16"


def test_half_precision_files_become_float32_on_a_cpu_unless_asked_otherwise(checkpoint: Path, tmp_path: Path) -> None:
    antiphon.load(checkpoint, dtype="float16", device="cpu").model.save_pretrained(tmp_path)
    for file in checkpoint.glob("*"):
        if not (tmp_path / file.name).exists():
            shutil.copy(file, tmp_path)
    assert antiphon.load(tmp_path, device="cpu").model.dtype == torch.float32
    assert antiphon.load(tmp_path, device="cpu", dtype="auto").model.dtype == torch.float16


def test_a_listener_stays_in_bfloat16_on_a_cpu_and_hears(listening_checkpoint: Path, tmp_path: Path) -> None:
    for dtype, expected in (("bfloat16", torch.bfloat16), ("float16", torch.float32)):
        folder = tmp_path / dtype
        shutil.copytree(listening_checkpoint, folder)
        antiphon.load(listening_checkpoint, dtype=dtype, device="cpu").model.save_pretrained(folder)
        listener = antiphon.load(folder, device="cpu")
        assert listener.model.dtype == expected
        sound = Audio(0.1 * torch.randn(16000, generator=torch.Generator().manual_seed(1)).numpy(), 16000)
        assert listener.ask(sound, "Key?", max_new_tokens=3).tokens == 3


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_rounded_weights_make_music_too_and_more_of_the_same(checkpoint: Path, compose: Composer, kind: str) -> None:
    loaded = antiphon.load(checkpoint, quantize=kind, device="cpu")
    assert loaded.model.get_memory_footprint() < 0.8 * compose.model.get_memory_footprint()
    piece, again = (loaded("calm piano", seconds=0.2, seed=1) for _ in range(2))
    assert piece.seconds == pytest.approx(0.2)
    assert torch.equal(torch.as_tensor(piece.samples), torch.as_tensor(again.samples))


def test_an_unknown_number_of_bits_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ParamError, match="quantize='int2'"):
        antiphon.load(checkpoint, quantize="int2", device="cpu")


def test_another_kind_of_model_is_refused_by_name(tmp_path: Path) -> None:
    antiphon.T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"'t5'.*musicgen"):
        antiphon.load(tmp_path)


def test_a_folder_without_weights_is_a_checkpoint_error(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.glob("*.json"):
        shutil.copy(file, tmp_path)
    with pytest.raises(CheckpointError, match="no weights"):
        antiphon.load(tmp_path, device="cpu")


@pytest.mark.parametrize(("option", "value"), [("device", "quantum"), ("dtype", "float3")])
def test_a_device_or_dtype_that_does_not_exist_is_refused(checkpoint: Path, option: str, value: str) -> None:
    with pytest.raises((ParamError, ConfigError), match=value):
        antiphon.load(checkpoint, **{option: value})


def test_a_checkpoint_made_by_the_example_is_the_same_for_the_same_seed(make_checkpoint, checkpoint, tmp_path) -> None:
    again = make_checkpoint(tmp_path / "again")
    other = make_checkpoint(tmp_path / "other", seed=1)
    weights = (checkpoint / "model.safetensors").read_bytes()
    assert (again / "model.safetensors").read_bytes() == weights
    assert (other / "model.safetensors").read_bytes() != weights
    assert json.loads((again / "config.json").read_text())["model_type"] == "musicgen"


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_transformers_opens_the_checkpoint_made_by_the_example_and_finds_the_same_logits(checkpoint, compose) -> None:
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    theirs = transformers.MusicgenForConditionalGeneration.from_pretrained(checkpoint).eval()
    inputs = transformers.AutoProcessor.from_pretrained(checkpoint)(text=["calm piano"], return_tensors="pt")
    ours = compose.processor(text=["calm piano"], return_tensors="pt")
    assert inputs["input_ids"].tolist() == ours["input_ids"].tolist()
    codes = torch.randint(0, 512, (4, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        want = theirs(**inputs, decoder_input_ids=codes).logits
        got = compose.model(**ours, decoder_input_ids=codes).logits
    torch.testing.assert_close(got, want, atol=2e-4, rtol=0)


def test_pieces_of_rounded_weights_say_so_and_keep_an_eight_bit_cache(checkpoint: Path, monkeypatch: Any) -> None:
    composer = antiphon.load(checkpoint, device="cpu", quantize="int4")
    asked: list[dict[str, Any]] = []
    generate = composer.model.generate
    monkeypatch.setattr(composer.model, "generate", lambda **kw: asked.append(kw) or generate(**kw))
    piece = composer("piano", seconds=0.1, seed=1)
    assert piece.parameters is not None and piece.parameters["quantize"] == "int4"
    assert asked[0]["cache_dtype"] == "int8"
