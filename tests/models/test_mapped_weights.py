"""Weights seen through their file: which are, that they compute the same, and that what is changed in memory stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon
from antiphon.models import loading

from .conftest import Pair

_NAME = "someone/tiny"


@pytest.fixture
def cache(mono: Pair, tmp_path: Path) -> Path:
    """The mono checkpoint as it lies in the Hub's cache."""
    home = tmp_path / "models--someone--tiny"
    snapshot = home / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text("1" * 40)
    for file in mono.folder.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    return tmp_path


def by_name(cache: Path, **loading_options: Any) -> Any:
    """Our model by its name, out of that cache."""
    return antiphon.MusicgenForConditionalGeneration.from_pretrained(
        _NAME, cache_dir=cache, local_files_only=True, **loading_options
    )


def mapped_share(model: Any) -> float:
    """The share of the parameters' bytes that lie in a mapping of a weights file."""
    with open("/proc/self/maps", encoding="utf-8") as file:
        lines = [line.split(maxsplit=5) for line in file]
    ranges = [[int(n, 16) for n in f[0].split("-")] for f in lines if len(f) == 6 and "safetensors" in f[5]]
    inside = [p for p in model.parameters() if any(low <= p.data_ptr() < high for low, high in ranges)]
    return sum(p.nbytes for p in inside) / sum(p.nbytes for p in model.parameters())


def test_a_checkpoint_out_of_the_hubs_cache_is_mapped_and_computes_the_same(
    cache: Path, mono: Pair, texts: Any
) -> None:
    model = by_name(cache)
    assert mapped_share(model) > 0.99
    call = {**texts, "do_sample": False, "guidance_scale": 3.0, "max_new_tokens": 20}
    assert torch.equal(model.generate(**call), mono.ours.generate(**call))
    assert torch.equal(model.generate(**call), mono.ours.generate(**call))  # parts that had rested


@pytest.mark.parametrize(
    "options", [{"copy": True}, {"dtype": torch.bfloat16}], ids=["asked to copy", "cast to another dtype"]
)
def test_weights_have_memory_of_their_own_where_it_is_asked_for_or_needed(cache: Path, options: dict[str, Any]) -> None:
    assert mapped_share(by_name(cache, **options)) == 0


def test_a_folder_is_copied_unless_it_is_asked_to_be_mapped(mono: Pair) -> None:
    model_class = antiphon.MusicgenForConditionalGeneration
    assert mapped_share(model_class.from_pretrained(mono.folder)) == 0
    assert mapped_share(model_class.from_pretrained(mono.folder, copy=False)) > 0.99


def test_what_lies_on_a_network_is_copied(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "on_network", lambda path: True)
    assert mapped_share(by_name(cache)) == 0


def test_changes_in_memory_outlive_generation_and_never_reach_the_file(cache: Path, texts: Any) -> None:
    model = by_name(cache)
    before = {path: path.read_bytes() for path in cache.rglob("*.safetensors")}
    with torch.no_grad():
        for parameter in model.text_encoder.parameters():
            parameter.mul_(1.5)
    expected = {name: p.clone() for name, p in model.text_encoder.named_parameters()}
    model.generate(**texts, do_sample=False, max_new_tokens=8)
    assert all(torch.equal(p, expected[name]) for name, p in model.text_encoder.named_parameters())
    assert before == {path: path.read_bytes() for path in cache.rglob("*.safetensors")}


def test_a_mapped_model_trains(cache: Path, texts: Any) -> None:
    model = by_name(cache).train()
    labels = torch.randint(0, 64, (2, 5, 4))
    optimizer = torch.optim.SGD(model.decoder.parameters(), lr=0.1)
    first = model(**texts, labels=labels).loss
    first.backward()
    optimizer.step()
    model.eval()
    assert bool(torch.isfinite(model(**texts, labels=labels).loss))


def test_a_mapped_checkpoint_that_is_replaced_leaves_the_model_as_it_was(cache: Path, texts: Any) -> None:
    model = by_name(cache)
    call = {**texts, "do_sample": False, "max_new_tokens": 12}
    expected = model.generate(**call)
    (path,) = cache.rglob("*.safetensors")
    other = path.with_name("other")
    other.write_bytes(b"not weights at all")
    os.replace(other, path)
    assert torch.equal(model.generate(**call), expected)
