"""Writing weights: names, shards, and what becomes of a former save."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from antiphon.checkpoints.store import open_weights, write_weights
from antiphon.checkpoints.weight_writer import parse_size, split_shards
from antiphon.errors import CheckpointError, ParamError, ParamTypeError


def sample() -> dict[str, torch.Tensor]:
    gen = torch.Generator().manual_seed(0)
    return {f"layer{i}.weight": torch.randn(25, 10, generator=gen) for i in range(4)}  # 1000 bytes each


def test_one_file_carries_the_format_and_the_metadata(tmp_path: Path) -> None:
    paths = write_weights(tmp_path / "new" / "folder", sample(), metadata={"seed": "7"})
    assert [path.name for path in paths] == ["model.safetensors"]
    with safe_open(paths[0], "pt") as file:
        assert file.metadata() == {"format": "pt", "seed": "7"}
    loaded = load_file(paths[0])
    assert all(torch.equal(loaded[name], tensor) for name, tensor in sample().items())


def test_views_shared_storage_and_odd_layouts_are_written_in_full(tmp_path: Path) -> None:
    fused = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    tensors = {
        "q": fused[:2],
        "k": fused[2:4],
        "all": fused,
        "again": fused,
        "turned": fused.T,
        "spread": torch.ones(1).expand(5),
        "zero": torch.zeros(0),
        "scalar": torch.tensor(3),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    for safe in (True, False):
        write_weights(tmp_path / str(safe), tensors, safe_serialization=safe)
        with open_weights(tmp_path / str(safe)) as weights:
            assert all(torch.equal(weights[name], tensor.detach().resolve_conj()) for name, tensor in tensors.items())
    assert (tmp_path / "False" / "pytorch_model.bin").stat().st_size < 10_000


@pytest.mark.parametrize("safe", [True, False])
def test_shards_and_their_index_have_the_usual_names(tmp_path: Path, safe: bool) -> None:
    stem, suffix = ("model", ".safetensors") if safe else ("pytorch_model", ".bin")
    paths = write_weights(tmp_path, sample(), max_shard_size=2000, safe_serialization=safe)
    names = [f"{stem}-00001-of-00002{suffix}", f"{stem}-00002-of-00002{suffix}", f"{stem}{suffix}.index.json"]
    assert [path.name for path in paths] == names
    index = json.loads(paths[-1].read_text())
    assert index["metadata"] == {"total_size": 4000}
    assert index["weight_map"]["layer1.weight"] == names[0]
    assert index["weight_map"]["layer2.weight"] == names[1]
    with open_weights(tmp_path) as weights:
        assert all(torch.equal(weights[name], tensor) for name, tensor in sample().items())


def test_a_new_save_removes_what_is_no_longer_part_and_nothing_else(tmp_path: Path) -> None:
    write_weights(tmp_path, sample(), max_shard_size=1000)
    for name in ("config.json", "model.fp16.safetensors", "model.safetensors.index.fp32.json", "pytorch_model.bin"):
        (tmp_path / name).write_bytes(b"kept")
    kept = {"config.json", "model.fp16.safetensors", "model.safetensors.index.fp32.json", "pytorch_model.bin"}
    write_weights(tmp_path, sample(), max_shard_size=2000)
    shards = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"}
    assert set(os.listdir(tmp_path)) == kept | shards
    write_weights(tmp_path, sample())
    assert set(os.listdir(tmp_path)) == kept | {"model.safetensors"}
    write_weights(tmp_path, sample(), max_shard_size=2000)
    assert set(os.listdir(tmp_path)) == kept | shards
    write_weights(tmp_path, sample(), safe_serialization=False)
    assert set(os.listdir(tmp_path)) == kept


def test_a_tensor_above_the_limit_gets_a_shard_of_its_own() -> None:
    small, large = torch.zeros(10, dtype=torch.uint8), torch.zeros(100, dtype=torch.uint8)
    shards = split_shards({"a": small, "b": large, "c": small, "d": small}, 25)
    assert [list(shard) for shard in shards] == [["b"], ["a", "c"], ["d"]]


def test_no_tensors_make_an_empty_file(tmp_path: Path) -> None:
    write_weights(tmp_path, {})
    with open_weights(tmp_path) as weights:
        assert weights.names() == []


@pytest.mark.parametrize(
    ("size", "count"),
    [("5GB", 5 * 10**9), ("5GiB", 5 * 2**30), ("20KB", 20_000), ("1.5 mb", 1_500_000), ("7", 7), ("7B", 7), (12, 12)],
)
def test_sizes_are_read_as_written(size: int | str, count: int) -> None:
    assert parse_size(size) == count


@pytest.mark.parametrize("size", ["", "GB", "-1GB", "5 apples", "nan", 0, -3, "0GB"])
def test_other_sizes_are_refused(size: int | str) -> None:
    with pytest.raises(ParamError, match="max_shard_size="):
        parse_size(size)
    with pytest.raises(ParamTypeError):
        parse_size(None)  # type: ignore[arg-type]


def test_what_holds_no_data_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    bad: list[Any] = [torch.empty(2, device="meta"), torch.eye(2).to_sparse()]
    for tensor in bad:
        with pytest.raises(ParamError, match="'a' holds no plain data"):
            write_weights(tmp_path, {"a": tensor})
    with pytest.raises(ParamTypeError, match="'a' is a list"):
        write_weights(tmp_path, {"a": [1]})  # type: ignore[dict-item]
    assert os.listdir(tmp_path) == []


def test_an_unsupported_dtype_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ParamError, match="cannot be written as safetensors"):
        write_weights(tmp_path, {"a": torch.zeros(2, dtype=torch.complex128)})
    assert os.listdir(tmp_path) == []


def test_a_file_in_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"")
    with pytest.raises(CheckpointError, match="cannot be made"):
        write_weights(tmp_path / "x", sample())


def test_a_failure_in_the_last_shard_leaves_the_former_save_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from antiphon.checkpoints import weight_writer

    write_weights(tmp_path, sample(), max_shard_size=2000)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    real = weight_writer._write_safetensors
    calls = []

    def fail_at_second(part: Path, shard: Any, metadata: Any) -> None:
        calls.append(part)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(part, shard, metadata)

    monkeypatch.setattr(weight_writer, "_write_safetensors", fail_at_second)
    with pytest.raises(CheckpointError, match="disk is full"):
        write_weights(tmp_path, {name: tensor + 1 for name, tensor in sample().items()}, max_shard_size=2000)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before
