"""Faults A: damaged, hostile and half-written checkpoints. The numbers are those of docs/faults.md."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import resource
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from antiphon.checkpoints import store
from antiphon.checkpoints.json_files import write_json
from antiphon.errors import CheckpointError


def build(header: object, body: bytes = b"") -> bytes:
    """A safetensors file from a header (an object, or its bytes) and the data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(start: int, stop: int, shape: list[int], dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def refused(folder: Path, content: bytes, match: str = ".", name: str = "model.safetensors") -> str:
    """The message of the error that opening a folder with this one file gives; it names the file."""
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=match) as caught:
        store.open_weights(folder)
    assert str(folder / name) in str(caught.value)
    return str(caught.value)


# --- safetensors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 7, 8])
def test_F001_an_empty_or_tiny_file_is_told_with_its_size(tmp_path: Path, size: int) -> None:
    refused(tmp_path, b"\0" * size, match=f"has {size} bytes|no header" if size == 8 else f"has {size} bytes")


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 100_000_001, 500, 0, 1])
def test_F002_an_absurd_header_length_is_refused_without_allocating(tmp_path: Path, length: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(tmp_path, struct.pack("<Q", length) + b"{" + b" " * 50)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


@pytest.mark.parametrize(
    "header",
    [
        b"{not json}",
        b"{\xff\xfe}",
        b"[]",
        b'"text"',
        b"{" + b"[" * 5000,
        b'{"a":' * 5000,
        b"{} trailing",
        b"{}\0",
        b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64],"x":' + b"9" * 5000 + b"}}",
    ],
    ids=["not_json", "not_utf8", "array", "text", "deep_array", "deep_object", "trailing", "nul", "long_number"],
)
def test_F003_a_header_that_is_no_json_object_is_refused(tmp_path: Path, header: bytes) -> None:
    refused(tmp_path, build(header, b"\0" * 64))


def _zip_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"b" * 100)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html><body>404 Not Found, and more text to be long enough</body>", "HTML page"),
        (b"\n <HTML lang='en'><head><title>Sign in</title></head><body></body></html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2356039960\n", "git lfs pull"),
        (_zip_bytes(), "zip archive"),
        (gzip.compress(b"weights" * 10), "gzip archive"),
        (b"GGUF" + struct.pack("<IQQ", 3, 10, 10) + b"\0" * 60, "GGUF"),
        (pickle.dumps({"a": list(range(50))}, protocol=2), "Python pickle"),
        (pickle.dumps({"a": list(range(50))}, protocol=4), "Python pickle"),
        (b'{"error": "Repository not found", "more": "............................."}', "error message of a server"),
    ],
    ids=["html", "html_upper", "lfs", "zip", "gzip", "gguf", "pickle2", "pickle4", "json_error"],
)
def test_F004_a_file_of_another_kind_is_told_as_what_it_is(tmp_path: Path, content: bytes, said: str) -> None:
    refused(tmp_path, content, match=said)


def test_F004_a_sound_file_may_begin_like_an_archive_or_a_pickle(tmp_path: Path) -> None:
    for length in (0x8B1F, 0x0280, 0x0480):  # the magic bytes of gzip and of pickles, read as a header length
        header = json.dumps({"a": entry(0, 4, [1])}).encode().ljust(length)
        (tmp_path / "model.safetensors").write_bytes(build(header, struct.pack("<f", 1.5)))
        with store.open_weights(tmp_path) as weights:
            assert weights["a"].item() == 1.5


def test_F004_pointers_in_a_folder_without_weights_are_told(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 2356039960\n"
    (tmp_path / "weights.safetensors").write_bytes(pointer)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: Git LFS pointer.*git lfs pull"):
        store.open_weights(tmp_path)


def test_F005_every_truncation_and_every_tail_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.randn(200), "b": torch.randn(20, 10), "c": torch.ones(3, dtype=torch.int64)}, path)
    whole = path.read_bytes()
    assert 1500 < len(whole) < 2500
    for length in range(len(whole)):
        refused(tmp_path, whole[:length])
    for tail in (b"\0", b"\0" * 8, b"x" * 1000):
        refused(tmp_path, whole + tail)
    path.write_bytes(whole)
    store.open_weights(tmp_path).close()


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_F005_random_damage_is_refused_or_read_and_nothing_else(tmp_path: Path, kind: str) -> None:
    tensors = {"a": torch.randn(20), "b.c": torch.randn(4, 5).half(), "i": torch.arange(3)}
    path = tmp_path / ("a.safetensors" if kind == "safetensors" else "a.bin")
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    whole, chance = path.read_bytes(), random.Random(0)
    refusals = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.choice((1, 2, 4))):
            at = chance.randrange(len(content))
            content[at : at + chance.randrange(3)] = bytes(chance.randrange(256) for _ in range(chance.randrange(3)))
        path.write_bytes(content)
        try:
            with store.open_file(path) as weights:
                dict(weights)
        except CheckpointError as error:
            refusals += 1
            assert str(path) in str(error)
    assert refusals > 100


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(0, 64, [15])},
        {"a": entry(0, 64, [17])},
        {"a": entry(0, 40, [10]), "b": entry(32, 64, [8])},
        {"a": entry(0, 32, [8]), "b": entry(40, 64, [6])},
        {"a": entry(8, 64, [14])},
        {"a": {"dtype": "F32", "shape": [16], "data_offsets": [-4, 60]}},
        {"a": {"dtype": "F32", "shape": [-16], "data_offsets": [0, 64]}},
        {"a": entry(64, 0, [16])},
        {"a": entry(0, 64, [2**63])},
        {"a": entry(0, 64, [2**62, 2**62])},
        {"a": entry(0, 64, [16], "F33")},
        {"a": entry(0, 128, [32])},
        {"a": {"dtype": "F32", "shape": [16]}},
        {"a": {"dtype": "F32", "shape": "16", "data_offsets": [0, 64]}},
        {"a": entry(0, 64, [128], "F4")},
        {"a": 3},
    ],
    ids=[
        "shape_small",
        "shape_large",
        "overlap",
        "hole",
        "hole_first",
        "negative_offset",
        "negative_shape",
        "swapped",
        "huge",
        "overflow",
        "unknown_dtype",
        "beyond_the_end",
        "no_offsets",
        "shape_text",
        "dtype_torch_lacks",
        "no_entry",
    ],
)
def test_F006_shapes_offsets_and_dtypes_that_do_not_fit_are_refused(tmp_path: Path, header: object) -> None:
    refused(tmp_path, build(header, b"\0" * 64))


def test_F006_an_empty_tensor_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(build({"a": entry(0, 0, [0, 3])}))
    with store.open_weights(tmp_path) as weights:
        assert weights["a"].shape == (0, 3)
        with pytest.raises(CheckpointError, match=r"\[0, 3\]\. Expected \[3\]"):
            weights.read_into({"a": torch.zeros(3)})


def test_F007_doubled_names_are_refused(tmp_path: Path) -> None:
    one = json.dumps(entry(0, 4, [1]))
    refused(tmp_path, build(f'{{"a":{one},"a":{one}}}'.encode(), b"\0" * 4), match="twice: a")
    inner = '{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    refused(tmp_path, build(inner.encode(), b"\0" * 4))


@pytest.mark.parametrize("metadata", [{"a": 1}, {"a": None}, {"a": {}}, ["a"], "text"])
def test_F007_metadata_that_is_no_text_is_refused(tmp_path: Path, metadata: object) -> None:
    refused(tmp_path, build({"__metadata__": metadata}))


def test_F007_a_hundred_thousand_names_are_opened(tmp_path: Path) -> None:
    header = {f"t{i}": entry(i, i + 1, [1], "U8") for i in range(100_000)}
    (tmp_path / "model.safetensors").write_bytes(build(header, b"\x07" * 100_000))
    with store.open_weights(tmp_path) as weights:
        assert len(weights) == 100_000
        assert weights["t99999"].item() == 7


# --- index -----------------------------------------------------------------------------------------------------------


def make_shards(folder: Path, shards: dict[str, list[str]]) -> dict[str, str]:
    for shard, names in shards.items():
        save_file({name: torch.ones(2) for name in names}, folder / shard)
    return {name: shard for shard, names in shards.items() for name in names}


def write_index(folder: Path, weight_map: object, metadata: object | None = None) -> None:
    content = {"metadata": metadata if metadata is not None else {}, "weight_map": weight_map}
    write_json(folder / "model.safetensors.index.json", content)


@pytest.mark.parametrize(
    "name",
    [
        "../../x.safetensors",
        "/etc/passwd",
        "/etc/x.safetensors",
        "a/b.safetensors",
        "C:\\x.safetensors",
        "C:x.safetensors",
        "..\\x.safetensors",
        "x\0.safetensors",
        "",
        ".",
        "..",
        ".safetensors",
        "config.json",
        "x.bin",
    ],
)
def test_F008_a_shard_name_that_leaves_the_folder_is_refused_before_any_open(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_index(tmp_path, {"a": name})
    opened: list[object] = []
    monkeypatch.setattr(store, "_open", opened.append)
    with pytest.raises(CheckpointError, match=r"index\.json names .* Expected plain file names"):
        store.open_weights(tmp_path)
    assert opened == []


def test_F008_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder, outside = tmp_path / "model", tmp_path / "secret.safetensors"
    folder.mkdir()
    save_file({"a": torch.ones(1)}, outside)
    (folder / "model-1.safetensors").symlink_to(outside)
    write_index(folder, {"a": "model-1.safetensors"})
    with pytest.raises(CheckpointError, match="link out of its folder"):
        store.open_weights(folder)


def test_F008_links_inside_the_folder_work(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "real.safetensors")
    (tmp_path / "model-1.safetensors").symlink_to("real.safetensors")
    write_index(tmp_path, {"a": "model-1.safetensors"})
    store.open_weights(tmp_path).close()


@pytest.mark.parametrize("weight_map", [None, [], ["a"], "a", 3, {"a": 1}, {"a": None}, {"a": ["x.safetensors"]}, {}])
def test_F009_a_weight_map_that_is_no_map_of_names_is_refused(tmp_path: Path, weight_map: object) -> None:
    write_index(tmp_path, weight_map)
    with pytest.raises(CheckpointError, match="weight_map is"):
        store.open_weights(tmp_path)


def test_F009_missing_shards_are_counted_and_five_are_named(tmp_path: Path) -> None:
    shards = {f"model-{i:05d}-of-00008.safetensors": [f"t{i}"] for i in range(1, 9)}
    write_index(tmp_path, make_shards(tmp_path, shards))
    for i in range(2, 9):
        (tmp_path / f"model-{i:05d}-of-00008.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks 7 of 8 shard.*00002.*00006.* and 2 more"):
        store.open_weights(tmp_path)


def test_F009_tensors_in_no_shard_or_in_two_are_counted_and_five_are_named(tmp_path: Path) -> None:
    names = [f"t{i}" for i in range(9)]
    weight_map = make_shards(tmp_path, {"x.safetensors": names, "y.safetensors": ["other"]})
    write_index(tmp_path, weight_map | {f"absent{i}": "y.safetensors" for i in range(7)})
    with pytest.raises(CheckpointError, match=r"7 tensor.*absent0 in y\.safetensors.*absent4.* and 2 more"):
        store.open_weights(tmp_path)
    write_index(tmp_path, weight_map | dict.fromkeys(names[:3], "y.safetensors"))
    with pytest.raises(CheckpointError, match=r"3 tensor.*t0 in y\.safetensors"):
        store.open_weights(tmp_path)
    make_shards(tmp_path, {"y.safetensors": ["other", *names[:6]]})
    write_index(tmp_path, weight_map)
    with pytest.raises(CheckpointError, match=r"6 tensor\(s\) are in more than one shard: t0.* and 1 more"):
        store.open_weights(tmp_path)
    text = '{"metadata": {}, "weight_map": {"t0": "x.safetensors", "t0": "y.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="twice: t0"):
        store.open_weights(tmp_path)


def test_F009_a_total_size_that_is_no_size_is_refused_and_a_stale_one_is_not(tmp_path: Path) -> None:
    weight_map = make_shards(tmp_path, {"x.safetensors": ["a"]})
    for total in ("8", -1, [8], True):
        write_index(tmp_path, weight_map, {"total_size": total})
        with pytest.raises(CheckpointError, match="total_size is"):
            store.open_weights(tmp_path)
    for stale in (8, 8.0, 16):  # shards cast to another type keep the old sum: the shards prove themselves
        write_index(tmp_path, weight_map, {"total_size": stale})
        store.open_weights(tmp_path).close()


def test_F009_an_index_above_200_mb_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "model.safetensors.index.json", "wb") as file:
        file.truncate(200 * 10**6 + 1)
    with pytest.raises(CheckpointError, match="200000000"):
        store.open_weights(tmp_path)


def test_F012_float64_is_cast_and_other_types_are_refused_by_name(tmp_path: Path) -> None:
    values = torch.tensor([1.0, 2.0])
    others = {
        "int8": values.to(torch.int8),
        "fp8": values.to(torch.float8_e4m3fn),
        "complex": values.to(torch.complex64),
    }
    save_file(
        {"double": values.double(), "ids": values.long(), "mask": values.bool()} | others, tmp_path / "m.safetensors"
    )
    with store.open_file(tmp_path / "m.safetensors") as weights:
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            target = torch.zeros(2, dtype=dtype)
            weights.read_into({"double": target})
            assert target.tolist() == [1, 2]
        for name in others:
            with pytest.raises(CheckpointError, match=f"'{name}' is stored as"):
                weights.read_into({name: torch.zeros(2)})
        ids, mask = torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool)
        weights.read_into({"ids": ids, "mask": mask})
        assert (ids.tolist(), mask.tolist()) == ([1, 2], [True, True])


# --- pickles ---------------------------------------------------------------------------------------------------------


class Payload:
    """Runs a shell command when it is unpickled by a reader that allows that."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def _plain_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize(
    "save",
    [torch.save, lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False), _plain_pickle],
    ids=["zip", "legacy", "plain"],
)
def test_F014_a_pickle_that_runs_a_command_is_refused_and_runs_nothing(
    tmp_path: Path, save: Callable[[object, Path], None]
) -> None:
    marker, path = tmp_path / "marker", tmp_path / "pytorch_model.bin"
    save({"a": Payload(marker)}, path)
    with pytest.raises(CheckpointError, match=r"not safe to load.*system.*Convert it to safetensors"):
        store.open_weights(tmp_path)
    assert not marker.exists()
    pickle.loads(pickle.dumps(Payload(marker)))  # the payload is real
    assert marker.exists()


def test_F014_a_payload_named_th_or_safetensors_runs_nothing_either(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for name in ("a.th", "a.pt", "a.ckpt", "a.safetensors", "a"):
        torch.save({"a": Payload(marker)}, tmp_path / name)
        with pytest.raises(CheckpointError):
            store.open_file(tmp_path / name)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"abcdefghijklmnopqrstuvwxyz0123", "damaged"),
        (b"\x80\x02", "damaged"),
        (b"\x80\x02}q\x00.", "damaged|dict"),
        (b"<!doctype html><html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
        (b"PK\x03\x04" + b"\0" * 100, "damaged zip"),
    ],
    ids=["empty", "garbage", "two_bytes", "empty_dict", "html", "lfs", "zip_head"],
)
def test_F016_junk_named_bin_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    refused(tmp_path, content, match=said, name="pytorch_model.bin")


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_F016_a_pickle_cut_anywhere_is_refused(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.randn(50), "b": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        refused(tmp_path, whole[:length], name="pytorch_model.bin")


def test_F016_a_zip_that_declares_ten_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(1000)}, path)
    bomb = io.BytesIO()
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in good.infolist():
            archive.writestr(member.filename, good.read(member))
        archive.writestr("archive/data/9", bytes(20 * 2**20))
    refused(tmp_path, bomb.getvalue(), match="declares .* bytes of content", name="pytorch_model.bin")
    forged = path.with_name("forged")
    torch.save({"a": torch.ones(1000)}, forged)
    content = bytearray(forged.read_bytes())
    at = content.rfind(b"PK\x01\x02", 0, content.rfind(b"/data/0"))
    content[at + 20 : at + 28] = struct.pack("<II", 4_000_000_000, 4_000_000_000)
    refused(tmp_path, bytes(content), name="pytorch_model.bin")


def test_F016_claims_of_memory_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    class Buffer:
        def __reduce__(self) -> tuple[Any, ...]:
            return bytearray, (20 * 10**9,)

    wide, zipped, plain = tmp_path / "wide.bin", tmp_path / "zip.bin", tmp_path / "plain.bin"
    torch.save({"a": torch.ones(1).expand(10**10)}, wide)
    torch.save({"a": Buffer()}, zipped)
    torch.save({"a": Buffer()}, plain, _use_new_zipfile_serialization=False)
    legacy = tmp_path / "legacy.bin"
    torch.save({"a": torch.ones(1000)}, legacy, _use_new_zipfile_serialization=False)
    content = legacy.read_bytes()
    size = b"M\xe8\x03"  # the opcode for 1000; "\x8a\x05" is the one for a number of five bytes
    legacy.write_bytes(content.replace(size, b"\x8a\x05" + (10**10).to_bytes(5, "little")))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="claims 40000000000 bytes"):
        store.open_file(wide)
    for path in (zipped, plain):
        with pytest.raises(CheckpointError, match="raw buffers"):
            store.open_file(path)
    with pytest.raises(CheckpointError, match="damaged"):
        store.open_file(legacy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024
