"""Adapters by the short way: loaded with a model, told of in what it makes, made again from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import antiphon
from antiphon.errors import AdapterError, AudioError, CheckpointError, ParamTypeError
from antiphon.tasks.adapter_summary import AdapterSummary
from antiphon.tasks.adapters import ScaledAdapter, checksum_of
from antiphon.tasks.replay import Recipe, compare


def write(checkpoint: Path, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """An adapter that is felt."""
    model = antiphon.MusicgenForConditionalGeneration.from_pretrained(checkpoint)
    model.add_adapter(antiphon.LoraConfig(r=4, target_modules=["q_proj", "fc1"], **changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".default." in name:
                parameter += torch.randn(parameter.shape, generator=generator)
    model.save_adapter(folder)
    return folder


@pytest.fixture(scope="module")
def one(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(checkpoint, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def two(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(checkpoint, tmp_path_factory.mktemp("two"), 1)


def piece(composer: Any) -> antiphon.Audio:
    made: antiphon.Audio = composer("calm piano", seconds=0.3, seed=1)
    return made


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_an_adapter_changes_what_is_made_and_is_told_of(
    checkpoint: Path, one: Path, tmp_path: Path, quantize: str | None
) -> None:
    plain = antiphon.load(checkpoint, device="cpu", quantize=quantize)
    changed = antiphon.load(checkpoint, device="cpu", quantize=quantize, adapters=[one])
    assert not np.array_equal(piece(plain).samples, piece(changed).samples)
    assert "adapters" not in piece(plain).parameters
    (told,) = piece(changed).parameters["adapters"]
    assert (told["name"], told["scale"]) == (str(one), 1.0)
    assert len(told["sha256"]) == 64


def test_a_scale_of_nothing_is_the_model_alone_and_several_add_up(checkpoint: Path, one: Path, two: Path) -> None:
    weights = []
    for adapters in ([], [(one, 0.0)], [(one, 0.5), two], [two, (str(one), 0.5)]):
        model = antiphon.load(checkpoint, device="cpu", adapters=adapters).model
        weights.append(model.state_dict()["decoder.model.decoder.layers.0.fc1.weight"])
        assert list(model.peft_config) == []
    assert torch.equal(weights[0], weights[1])
    assert torch.allclose(weights[2], weights[3], atol=1e-5)
    assert not torch.allclose(weights[0], weights[2], atol=0.1)


def test_a_piece_with_adapters_is_made_again_from_its_file(checkpoint: Path, one: Path, tmp_path: Path) -> None:
    file = tmp_path / "piece.wav"
    piece(antiphon.load(checkpoint, device="cpu", adapters=[(one, 0.5)])).save(file)
    recipe = Recipe.of(antiphon.Audio.load(file))
    composer = recipe.load(device="cpu")
    assert composer.adapters[0]["scale"] == 0.5
    assert compare(recipe.make(composer), file).verdict == "equal"


def test_a_piece_is_not_made_again_with_another_adapter_under_the_old_name(
    checkpoint: Path, one: Path, two: Path, tmp_path: Path
) -> None:
    place = shutil.copytree(one, tmp_path / "adapter")
    file = tmp_path / "piece.wav"
    piece(antiphon.load(checkpoint, device="cpu", adapters=[place])).save(file)
    shutil.copy(two / "adapter_model.safetensors", place)
    with pytest.raises(CheckpointError, match="is another one than"):
        Recipe.of(antiphon.Audio.load(file)).load(device="cpu")
    shutil.rmtree(place)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        Recipe.of(antiphon.Audio.load(file)).load(device="cpu")


def test_tags_that_name_no_adapters_are_refused() -> None:
    record = {"software": f"antiphon {antiphon.__version__}", "adapters": "mine"}
    with pytest.raises(AudioError, match="adapters='mine'"):
        Recipe.of(antiphon.Audio(np.zeros((1, 4), np.float32), 8000, parameters=record))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("folder", ("folder", 1.0)),
        ("folder:0.5", ("folder", 0.5)),
        ("a:b:-2", ("a:b", -2.0)),
        ("C:\\folder", ("C:\\folder", 1.0)),
        ("someone/name@main:1e-1", ("someone/name@main", 0.1)),
        (":3", (":3", 1.0)),
    ],
)
def test_a_folder_and_its_scale_are_read_from_one_word(text: str, wanted: tuple[str, float]) -> None:
    assert ScaledAdapter.parsed(text) == ScaledAdapter(*wanted)


def test_F028_adapters_that_cannot_be_are_refused(checkpoint: Path, one: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="scale of nan"):
        ScaledAdapter.parsed("folder:nan")
    for wrong in ([(one, "much")], [(one, True)], [(1, 2)], [(one, 1, 2)]):
        with pytest.raises(AdapterError):
            antiphon.load(checkpoint, device="cpu", adapters=wrong)
    with pytest.raises(ParamTypeError, match="a list"):
        antiphon.load(checkpoint, device="cpu", adapters=str(one))
    with pytest.raises(CheckpointError, match=r"adapter_config\.json"):
        antiphon.load(checkpoint, device="cpu", adapters=[tmp_path])


def test_a_checksum_is_of_names_and_numbers() -> None:
    given = {"b": torch.ones(2), "a": torch.zeros(2)}
    assert checksum_of(given) == checksum_of(dict(reversed(given.items())))
    assert checksum_of(given) != checksum_of({**given, "a": torch.ones(2)})
    assert checksum_of(given) != checksum_of({"c": given["b"], "a": given["a"]})


def test_the_summary_says_what_an_adapter_is(checkpoint: Path, tmp_path: Path) -> None:
    write(checkpoint, tmp_path, rank_pattern={"fc1": 2}, modules_to_save=["lm_heads.0"], use_rslora=True)
    told = AdapterSummary.of(tmp_path)
    stored = json.loads((tmp_path / "adapter_config.json").read_text())
    assert told.base == stored["base_model_name_or_path"] == str(checkpoint)
    assert (told.ranks, told.alpha, told.use_rslora) == ([2, 4], 8, True)
    assert (told.targets, told.whole) == (["fc1", "q_proj"], ["decoder.lm_heads.0"])
    assert told.bytes == 4 * told.parameters
