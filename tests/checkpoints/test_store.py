"""The store: what others wrote is read equal, into memory of its own."""

from __future__ import annotations

import json
import os
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from antiphon.checkpoints import direct_read, store
from antiphon.errors import CheckpointError, ParamError

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.uint16,
    torch.uint32,
    torch.uint64,
    torch.bool,
    torch.complex64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]


def bits(tensor: torch.Tensor) -> list[int]:
    return list(tensor.contiguous().reshape(-1).view(torch.uint8).tolist()) if tensor.numel() else []


def sample(seed: int = 0) -> dict[str, torch.Tensor]:
    gen = torch.Generator().manual_seed(seed)
    return {
        "b.weight": torch.randn(7, 5, generator=gen),
        "a.bias": torch.randn(3, generator=gen).bfloat16(),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "none": torch.zeros(0, 4),
        "ids": torch.arange(6).view(2, 3),
    }


@pytest.fixture(scope="module")
def encodec() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import EncodecConfig, EncodecModel
    torch.manual_seed(0)
    config = EncodecConfig(
        num_filters=4,
        hidden_size=8,
        codebook_size=16,
        codebook_dim=8,
        upsampling_ratios=[4, 2],
        num_lstm_layers=1,
    )
    return EncodecModel(config)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_read_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    raw = torch.arange(48, dtype=torch.uint8)
    tensor = (raw % 2).bool() if dtype == torch.bool else raw.view(dtype)
    save_file({"a": tensor, "b": tensor.clone().view(-1, 1)}, tmp_path / "model.safetensors")
    with store.open_weights(tmp_path) as weights:
        assert weights.info("b") == store.TensorInfo((tensor.numel(), 1), dtype)
        assert weights.read("a").dtype == dtype
        assert bits(weights.read("a")) == bits(tensor)
        target = store.empty((tensor.numel(), 1), dtype)
        weights.read_into({"b": target})
        assert bits(target) == bits(tensor)


def test_weights_are_a_mapping(tmp_path: Path) -> None:
    tensors = sample()
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt", "who": "me"})
    with store.open_weights(tmp_path) as weights:
        assert sorted(weights.names()) == sorted(weights) == sorted(tensors)
        assert len(weights) == 5
        assert "ids" in weights
        assert "other" not in weights
        assert weights.metadata == {"format": "pt", "who": "me"}
        assert weights.paths == [tmp_path / "model.safetensors"]
        for name, tensor in weights.items():
            assert torch.equal(tensor, tensors[name])
        assert weights.get("other") is None
        for ask in (weights.read, weights.info):
            with pytest.raises(CheckpointError, match=r"not in model\.safetensors: other"):
                ask("other")
        with pytest.raises(CheckpointError, match="2 tensor"):
            weights.read_into({"x": torch.zeros(1), "y": torch.zeros(1), "ids": torch.zeros(2, 3)})


@pytest.mark.parametrize("stored", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("wanted", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_floats_are_cast_as_torch_casts_them(tmp_path: Path, stored: torch.dtype, wanted: torch.dtype) -> None:
    tensor = torch.randn(33, 7, generator=torch.Generator().manual_seed(1)).to(stored)
    save_file({"a": tensor}, tmp_path / "model.safetensors")
    target = store.empty((33, 7), wanted)
    with store.open_weights(tmp_path) as weights:
        weights.read_into({"a": target})
    assert torch.equal(target, tensor.to(wanted))


@pytest.mark.parametrize("wanted", [torch.float32, torch.bfloat16], ids=str)
def test_many_small_pieces_by_two_threads_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: torch.dtype
) -> None:
    monkeypatch.setattr(direct_read, "_PIECE_BYTES", 64)
    monkeypatch.setattr(direct_read, "_ALONE_BYTES", 0)
    gen = torch.Generator().manual_seed(2)
    tensors = {f"t{i}": torch.randn(i * 7 + 1, generator=gen) for i in range(40)}
    save_file(tensors, tmp_path / "model.safetensors")
    with store.open_weights(tmp_path) as weights:
        targets = {name: store.empty(tensor.shape, wanted) for name, tensor in tensors.items()}
        weights.read_into(targets)
    assert all(torch.equal(targets[name], tensors[name].to(wanted)) for name in tensors)


def test_a_machine_without_positioned_reads_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "preadv")
    save_file(sample(), tmp_path / "model.safetensors")
    with store.open_weights(tmp_path) as weights:
        assert all(torch.equal(weights[name], tensor) for name, tensor in sample().items())


def test_targets_that_are_views_parameters_or_made_in_inference_mode_are_filled(tmp_path: Path) -> None:
    tensor = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
    save_file({"a": tensor}, tmp_path / "model.safetensors")
    turned = torch.zeros(6, 4).T
    parameter = torch.nn.Parameter(torch.zeros(4, 6, dtype=torch.float16))
    row = torch.zeros(3, 4, 6)
    with torch.inference_mode():
        inferred = torch.zeros(4, 6, dtype=torch.bfloat16)
    with store.open_weights(tmp_path) as weights:
        for target in (turned, parameter, row[1], inferred):
            weights.read_into({"a": target})
            assert torch.equal(target.detach(), tensor.to(target.dtype))
        half_turned = torch.nn.Parameter(torch.zeros(6, 4, dtype=torch.float64).T)
        weights.read_into({"a": half_turned})
    assert torch.equal(half_turned.detach(), tensor.double())
    assert not row[0].any()
    assert not row[2].any()


def test_what_was_read_is_writable_and_belongs_to_the_reader(tmp_path: Path) -> None:
    save_file(sample(), tmp_path / "model.safetensors")
    with store.open_weights(tmp_path) as weights:
        first, second = weights.read("b.weight"), weights.read("b.weight")
        first.zero_()
        assert torch.equal(second, sample()["b.weight"])


def test_a_misfit_is_told_before_anything_is_read(tmp_path: Path) -> None:
    save_file(sample(), tmp_path / "model.safetensors")
    good = torch.zeros(7, 5)
    with store.open_weights(tmp_path) as weights:
        with pytest.raises(CheckpointError, match=r"'a\.bias' has the shape \[3\]\. Expected \[4\]"):
            weights.read_into({"b.weight": good, "a.bias": torch.zeros(4)})
        assert not good.any()
        with pytest.raises(CheckpointError, match="'ids' is stored as int64"):
            weights.read_into({"ids": torch.zeros(2, 3)})


def test_a_closed_store_refuses_and_leaves_no_file_open(tmp_path: Path) -> None:
    save_file(sample(), tmp_path / "model.safetensors")
    torch.save(sample(), tmp_path / "pytorch_model.bin")
    before = len(os.listdir("/proc/self/fd"))
    for kind in (True, False):
        weights = store.open_weights(tmp_path, use_safetensors=kind)
        assert len(os.listdir("/proc/self/fd")) == before + 1
        weights.close()
        weights.close()
        with pytest.raises(CheckpointError, match="closed"):
            weights.read("ids")
        dropped = store.open_weights(tmp_path, use_safetensors=kind)
        del dropped
    (tmp_path / "model.safetensors").write_bytes(b"junk and more junk")
    with pytest.raises(CheckpointError):
        store.open_weights(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_error_in_one_thread_stops_both_and_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_read, "_PIECE_BYTES", 8)
    monkeypatch.setattr(direct_read, "_ALONE_BYTES", 0)
    save_file({"a": torch.randn(1000)}, tmp_path / "model.safetensors")
    threads = threading.active_count()
    with store.open_weights(tmp_path) as weights:
        os.truncate(tmp_path / "model.safetensors", 1000)
        with pytest.raises(CheckpointError, match="ended at byte 1000 while it was being read"):
            weights.read("a")
    assert threading.active_count() == threads


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_the_order_of_the_search_and_the_switches(tmp_path: Path, variant: str | None) -> None:
    dot = f".{variant}" if variant else ""
    torch.save({"a": torch.tensor([1.0])}, tmp_path / f"pytorch_model{dot}.bin")
    with store.open_weights(tmp_path, variant=variant) as weights:
        assert weights["a"].item() == 1
    with pytest.raises(CheckpointError, match=rf"Expected one of model{dot}\.safetensors"):
        store.open_weights(tmp_path, variant=variant, use_safetensors=True)
    save_file({"a": torch.tensor([2.0])}, tmp_path / f"model{dot}-00001-of-00001.safetensors")
    index = tmp_path / (f"model.safetensors.index.{variant}.json" if variant else "model.safetensors.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"a": f"model{dot}-00001-of-00001.safetensors"}}))
    with store.open_weights(tmp_path, variant=variant) as weights:
        assert weights["a"].item() == 2
    save_file({"a": torch.tensor([3.0])}, tmp_path / f"model{dot}.safetensors")
    with store.open_weights(tmp_path, variant=variant) as weights:
        assert weights["a"].item() == 3
    with store.open_weights(tmp_path, variant=variant, use_safetensors=False) as weights:
        assert weights["a"].item() == 1
    with pytest.raises(CheckpointError, match="fp32"):
        store.open_weights(tmp_path, variant="fp32")


def test_the_index_of_a_variant_is_not_taken_for_the_default(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([1.0])}, tmp_path / "model-00001-of-00001.safetensors")
    (tmp_path / "model.safetensors.index.fp32.json").write_text(
        json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}})
    )
    with pytest.raises(CheckpointError, match=r"has no weights: it holds model-00001.*index\.fp32\.json"):
        store.open_weights(tmp_path)
    with store.open_weights(tmp_path, variant="fp32") as weights:
        assert weights["a"].item() == 1


@pytest.mark.parametrize("variant", ["", "../x", "a/b", "a.b", 3])
def test_a_variant_is_a_plain_word(tmp_path: Path, variant: Any) -> None:
    with pytest.raises(ParamError, match="variant="):
        store.open_weights(tmp_path, variant=variant)


def test_open_file_reads_any_name_and_picks_inside_pickles(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([1.0])}, tmp_path / "tokenizer-e351c8d8-checkpoint125.safetensors")
    torch.save({"best_state": {"a": torch.tensor([2.0])}, "xp.cfg": "x: 1"}, tmp_path / "state_dict.bin")
    with store.open_file(tmp_path / "tokenizer-e351c8d8-checkpoint125.safetensors") as weights:
        assert weights["a"].item() == 1
    seen: dict[str, Any] = {}

    def pick(content: Any) -> Any:
        seen["cfg"] = content["xp.cfg"]
        return content["best_state"]

    with store.open_file(tmp_path / "state_dict.bin", pick=pick) as weights:
        assert weights["a"].item() == 2
    assert seen == {"cfg": "x: 1"}
    with pytest.raises(CheckpointError, match=r"2 entries that are not tensors: best_state, xp\.cfg"):
        store.open_file(tmp_path / "state_dict.bin")


@pytest.mark.parametrize("max_shard_size", ["1GB", "20KB"])
def test_what_transformers_saves_is_read_equal(tmp_path: Path, encodec: Any, max_shard_size: str) -> None:
    encodec.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    assert (tmp_path / "model.safetensors.index.json").exists() == (max_shard_size == "20KB")
    state = encodec.state_dict()
    with store.open_weights(tmp_path) as weights:
        assert set(weights.names()) == set(state)
        targets = {name: store.empty(weights.info(name).shape, weights.info(name).dtype) for name in weights}
        weights.read_into(targets)
        assert all(torch.equal(targets[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("max_shard_size", ["1GB", "20KB"])
def test_what_is_written_is_what_transformers_writes_and_reads(
    tmp_path: Path, encodec: Any, max_shard_size: str, variant: str | None
) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    encodec.save_pretrained(theirs, max_shard_size=max_shard_size, variant=variant)
    paths = store.write_weights(ours, encodec.state_dict(), max_shard_size=max_shard_size, variant=variant)
    weight_names = {name for name in os.listdir(theirs) if name != "config.json"}
    assert {path.name for path in paths} == set(os.listdir(ours)) == weight_names
    for name in weight_names:
        if name.endswith(".json"):
            index = json.loads((ours / name).read_text())
            want = json.loads((theirs / name).read_text())
            assert index["weight_map"] == want["weight_map"]
            assert index["metadata"]["total_size"] == want["metadata"]["total_size"]
        else:
            assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    encodec.config.save_pretrained(ours)
    again = type(encodec).from_pretrained(ours, variant=variant)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in encodec.state_dict().items())
