"""Pickles: old and new PyTorch formats are read as data."""

from __future__ import annotations

import argparse
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from antiphon.checkpoints.safe_pickle import PickleFile
from antiphon.errors import CheckpointError


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_both_formats_are_read_equal_and_cast(tmp_path: Path, zipped: bool) -> None:
    fused = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    tensors = OrderedDict(a=fused[:2], b=fused.T, c=torch.tensor(3), d=torch.zeros(0), e=torch.nn.Parameter(fused))
    path = tmp_path / "pytorch_model.bin"
    torch.save(tensors, path, _use_new_zipfile_serialization=zipped)
    file = PickleFile(path)
    assert {name: info.shape for name, info in file.infos.items()} == {n: tuple(t.shape) for n, t in tensors.items()}
    for name, tensor in tensors.items():
        read = file.read(name)
        assert torch.equal(read, tensor.detach())
        assert not read.requires_grad
        assert read.is_contiguous()
    target = torch.zeros(4, 6, dtype=torch.bfloat16)
    file.read_into({"b": target})
    assert torch.equal(target, fused.T.bfloat16())
    with pytest.raises(CheckpointError, match="'c' is stored as int64"):
        file.read_into({"c": torch.zeros(())})
    file.close()
    with pytest.raises(CheckpointError, match="closed"):
        file.read("a")


def test_F025_what_was_read_does_not_hang_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(10_000)}, path)
    file = PickleFile(path)
    read = file.read("a")
    os.truncate(path, 100)
    with pytest.raises(CheckpointError, match="cut short"):
        file.read("a")
    file.close()
    assert read.sum().item() == 10_000


def test_F015_a_foreign_class_is_refused_by_name_unless_allowed(tmp_path: Path) -> None:
    path = tmp_path / "old.th"
    torch.save({"args": argparse.Namespace(lr=1), "state": {"a": torch.ones(2)}}, path)
    with pytest.raises(CheckpointError, match=r"not safe to load.*argparse\.Namespace.*Convert it to safetensors"):
        PickleFile(path)
    file = PickleFile(path, pick=lambda content: content["state"], allow=[argparse.Namespace])
    assert file.read("a").tolist() == [1, 1]
    file.close()
    with pytest.raises(CheckpointError, match="not safe to load"):
        PickleFile(path)


@pytest.mark.parametrize("content", [[torch.ones(1)], torch.ones(1), {"a": 1}, {1: torch.ones(1)}, {"a": None}])
def test_what_is_no_mapping_of_names_to_tensors_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "a.bin"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="Expected a dict of names and tensors"):
        PickleFile(path)


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    torch.save({"a": torch.eye(2).to_sparse()}, path)
    with pytest.raises(CheckpointError, match="'a'.*dense tensor"):
        PickleFile(path)
