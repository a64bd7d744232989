"""Checkpoints of Music Flamingo and Audio Flamingo 3: both ways, both spellings, parts, dtypes, and rounded weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import antiphon
from antiphon.errors import CheckpointError, ConfigError
from antiphon.nn.quantized_linear import QuantizedLinear

from .tiny_flamingo import MEL, TEXTS, asked, distance, pair, text

KINDS = ["music", "audio"]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints that the oracle wrote."""
    found = {}
    for kind in KINDS:
        found[kind] = tmp_path_factory.mktemp(kind)
        pair(kind)[0].save_pretrained(found[kind])
    return found


def rewritten(folder: Path, to: Path, tensors: dict[str, Any]) -> Path:
    """A copy of a checkpoint with other tensors."""
    to.mkdir()
    for name in ("config.json", "generation_config.json"):
        (to / name).write_text((folder / name).read_text())
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, to / "model.safetensors")
    return to


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        out: torch.Tensor = model(**asked([MEL, 30])).logits
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_go_both_ways_under_the_names_of_the_hub(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    reference, own = pair(kind)
    model = type(own).from_pretrained(folders[kind])
    assert distance(logits(model), logits(own)) < 1e-6
    assert not model.training
    model.save_pretrained(tmp_path)
    assert sorted(load_file(tmp_path / "model.safetensors")) == sorted(load_file(folders[kind] / "model.safetensors"))
    assert sorted(model.state_dict()) == sorted(reference.state_dict())
    back = type(reference).from_pretrained(tmp_path).eval()
    assert distance(logits(back), logits(reference)) < 1e-6
    back.load_state_dict(model.state_dict())
    model.load_state_dict(reference.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_files_with_the_newer_names_open_too(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    reference, own = pair(kind)
    folder = rewritten(folders[kind], tmp_path / "newer", reference.state_dict())
    assert torch.equal(logits(type(own).from_pretrained(folder)), logits(own))


def test_tables_that_early_files_hold_are_passed_over(folders: dict[str, Path], tmp_path: Path) -> None:
    tensors = load_file(folders["music"] / "model.safetensors")
    strays = ("audio_tower.pos_emb.freqs", "pos_emb.inv_freq", "model.pos_emb.position_angles")
    more = {**tensors, **{name: torch.ones(3) for name in strays}}
    own = pair()[1]
    model, info = type(own).from_pretrained(
        rewritten(folders["music"], tmp_path / "strays", more), output_loading_info=True
    )
    assert torch.equal(logits(model), logits(own))
    assert info == {"missing_keys": [], "unexpected_keys": [], "mismatched_keys": []}
    more = {**tensors, "audio_tower.something.freqs": torch.ones(3)}
    with pytest.raises(CheckpointError, match=r"1 unexpected \(model.audio_tower.something.freqs\)"):
        type(own).from_pretrained(rewritten(folders["music"], tmp_path / "odd", more))
    del tensors["audio_tower.conv1.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing \(model.audio_tower.conv1.bias\)"):
        type(own).from_pretrained(rewritten(folders["music"], tmp_path / "less", tensors))


@pytest.mark.row("R113")
def test_the_type_that_a_checkpoint_states_says_what_it_is(folders: dict[str, Path]) -> None:
    classes = {kind: type(pair(kind)[1]) for kind in KINDS}
    for asked_of in classes.values():
        for kind in KINDS:
            assert type(asked_of.from_pretrained(folders[kind])) is classes[kind]
    for kind in KINDS:
        assert type(antiphon.AutoModelForMultimodalLM.from_pretrained(folders[kind])) is classes[kind]
        assert type(antiphon.AutoModel.from_pretrained(folders[kind])) is type(pair(kind)[1].model)
    with pytest.raises(ConfigError, match="cannot be loaded as text_to_waveform"):
        antiphon.AutoModelForTextToWaveform.from_pretrained(folders["music"])


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_open_out_of_the_whole(kind: str, folders: dict[str, Path], tmp_path: Path) -> None:
    _, own = pair(kind)
    frames = {k: v for k, v in asked([MEL, 30]).items() if k.startswith("input_features")}
    with torch.no_grad():
        encoder = antiphon.AudioFlamingo3Encoder.from_pretrained(folders[kind])
        expected = own.model.audio_tower(**frames).last_hidden_state
        assert torch.equal(encoder(**frames).last_hidden_state, expected)
        model = antiphon.Qwen2Model.from_pretrained(folders[kind])
        ids = text(2, 5)
        assert torch.equal(model(ids).last_hidden_state, own.model.language_model(ids).last_hidden_state)
        bare = type(own.model).from_pretrained(folders[kind])
        assert torch.equal(bare(**asked([30])).last_hidden_state, own.model(**asked([30])).last_hidden_state)
        bare.save_pretrained(tmp_path)
        theirs = getattr(transformers, type(bare).__name__).from_pretrained(tmp_path)
        again = type(bare).from_pretrained(tmp_path)
        for name, tensor in bare.state_dict().items():
            assert torch.equal(theirs.state_dict()[name], tensor)
            assert torch.equal(again.state_dict()[name], tensor)
    with pytest.raises(ConfigError, match="which Qwen2ForCausalLM cannot read"):
        antiphon.Qwen2ForCausalLM.from_pretrained(folders[kind])


@pytest.mark.row("R149")
@pytest.mark.parametrize("asked_for", [{"device_map": "auto"}, {"device_map": "cpu"}, {"device_map": {"": "cpu"}}])
def test_a_device_map_places_the_model(asked_for: dict[str, Any], folders: dict[str, Path]) -> None:
    model = antiphon.MusicFlamingoForConditionalGeneration.from_pretrained(folders["music"], **asked_for)
    assert model.device == torch.device(antiphon.infer_device() if asked_for["device_map"] == "auto" else "cpu")


def test_the_time_embedding_is_exact_in_every_dtype(folders: dict[str, Path]) -> None:
    exact = pair()[1].model.pos_emb
    for dtype in ("bfloat16", torch.float16, "auto"):
        model = antiphon.MusicFlamingoForConditionalGeneration.from_pretrained(folders["music"], dtype=dtype)
        assert model.dtype is (torch.float32 if dtype == "auto" else getattr(torch, str(dtype).removeprefix("torch.")))
        tables = model.to(torch.bfloat16).model.pos_emb.tables(torch.tensor([7]), 25, 25)
        for mine, other in zip(tables, exact.tables(torch.tensor([7]), 25, 25), strict=True):
            assert mine.dtype is torch.float32
            assert torch.equal(mine, other)
        assert logits(model).dtype is torch.bfloat16


@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_rounded_weights_answer_nearly_the_same(bits: str, folders: dict[str, Path], tmp_path: Path) -> None:
    own = pair()[1]
    model = type(own).from_pretrained(folders["music"], quantize=bits)
    tower, speaker = model.model.audio_tower.encoder.stack.layers[0], model.model.language_model.text.stack.layers[0]
    for layer in (tower.attention.query, tower.mlp.up, speaker.attention.key, speaker.mlp.gate, model.lm_head):
        assert type(layer) is QuantizedLinear
    assert model.lm_head.bits == 8
    expected = logits(own)
    error = float((logits(model) - expected).norm() / expected.norm())
    assert 0 < error < {"int8": 0.05, "int4": 0.6}[bits]
    model.save_pretrained(tmp_path)
    assert distance(logits(type(own).from_pretrained(tmp_path)), logits(model)) < 1e-4


def test_more_tokens_get_rows_in_the_embedding_and_the_head(folders: dict[str, Path]) -> None:
    model = antiphon.MusicFlamingoForConditionalGeneration.from_pretrained(folders["music"])
    before = logits(model)
    model.resize_token_embeddings(TEXTS + 2)
    assert torch.equal(logits(model)[..., :TEXTS], before)
    assert model.config.text_config.vocab_size == TEXTS + 2
    assert not hasattr(model.config, "vocab_size")


def test_settings_of_generation_come_from_the_checkpoint(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = rewritten(folders["music"], tmp_path / "settings", load_file(folders["music"] / "model.safetensors"))
    settings = {"eos_token_id": [3, 4], "pad_token_id": 5, "max_new_tokens": 3}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    model = antiphon.MusicFlamingoForConditionalGeneration.from_pretrained(folder)
    assert model.generation_config.eos_token_id == [3, 4]
    inputs = asked([30])
    theirs = transformers.MusicFlamingoForConditionalGeneration.from_pretrained(folder)
    assert torch.equal(model.generate(**inputs), theirs.generate(**inputs))
