"""Faults A, places: names that lead nowhere, half-empty caches, files that change, and files being written.

The numbers are those of docs/faults.md.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from antiphon.checkpoints import atomic_files, store
from antiphon.checkpoints.hub import locate
from antiphon.errors import CheckpointError, ParamError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def run_child(code: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Runs a program of its own, for faults that may take the process with them."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def parts(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".part")]


# --- the Hub ---------------------------------------------------------------------------------------------------------


def make_cache(root: Path, repo: str, files: dict[str, bytes]) -> Path:
    """A cache tree as the hub library makes it: blobs, a snapshot of links, a reference."""
    home = root / ("models--" + repo.replace("/", "--"))
    snapshot = home / "snapshots" / COMMIT
    for folder in (home / "blobs", home / "refs", snapshot):
        folder.mkdir(parents=True)
    for i, (name, content) in enumerate(files.items()):
        (home / "blobs" / f"{i:040x}").write_bytes(content)
        (snapshot / name).symlink_to(f"../../blobs/{i:040x}")
    (home / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_F008_links_into_the_blobs_of_the_same_cached_repository_work(tmp_path: Path) -> None:
    source = tmp_path / "source"
    store.write_weights(source, {f"t{i}": torch.ones(10) for i in range(4)}, max_shard_size=80)
    files = {path.name: path.read_bytes() for path in source.iterdir()}
    snapshot = make_cache(tmp_path / "hub", "me/tiny", files)
    with store.open_weights(snapshot) as weights:
        assert len(weights) == 4
    other = tmp_path / "hub" / "models--you--other" / "blobs"
    other.mkdir(parents=True)
    stranger = other / "x"
    stranger.write_bytes(files["model-00001-of-00002.safetensors"])
    (snapshot / "model-00001-of-00002.safetensors").unlink()
    (snapshot / "model-00001-of-00002.safetensors").symlink_to(stranger)
    with pytest.raises(CheckpointError, match="link out of its folder"):
        store.open_weights(snapshot)


@pytest.mark.parametrize(
    "name",
    [
        "../etc",
        "a" * 97,
        "a b",
        "two words/here",
        "a//b",
        "a/b/c",
        "m\U0001f3b5del",
        "/no/such/folder",
        "./no/such/folder",
        "~/no/such/folder",
        "C:\\models\\x",
        "a--b",
        "a\0b",
        "x" * 5000,
        "https://huggingface.co/a/b",
    ],
)
def test_F021_nonsense_names_are_told_as_neither_folder_nor_repository(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="no such folder and not a repo id") as caught:
        locate(name, cache_dir=tmp_path, local_files_only=True)
    assert isinstance(caught.value, ParamError)
    assert len(str(caught.value)) < 400


def test_F021_an_empty_name_is_refused() -> None:
    for name in ("", "  "):
        with pytest.raises(ValueError, match="name is"):
            locate(name)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("offline")
def test_F022_offline_with_an_empty_cache_says_how_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="'me/tiny' is not in the cache.*antiphon pull me/tiny"):
        locate("me/tiny", cache_dir=tmp_path)


@pytest.mark.usefixtures("offline")
def test_F022_offline_with_a_reference_but_no_snapshot_says_how_to_fetch(tmp_path: Path) -> None:
    refs = tmp_path / "models--me--tiny" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    with pytest.raises(CheckpointError, match="'me/tiny' is not in the cache.*antiphon pull me/tiny"):
        locate("me/tiny", cache_dir=tmp_path)


@pytest.mark.usefixtures("offline")
def test_F022_a_half_empty_snapshot_is_named_by_the_reader(tmp_path: Path) -> None:
    source = tmp_path / "source"
    store.write_weights(source, {f"t{i}": torch.ones(10) for i in range(4)}, max_shard_size=80)
    make_cache(tmp_path / "hub", "me/config-only", {"config.json": b"{}"})
    folder = locate("me/config-only", cache_dir=tmp_path / "hub")
    with pytest.raises(CheckpointError, match=r"holds config\.json.*one of model\.safetensors.*pull me/config-only"):
        store.open_weights(folder)
    files = {path.name: path.read_bytes() for path in source.iterdir() if "00002-of" not in path.name}
    folder = locate("me/half", cache_dir=make_cache(tmp_path / "hub", "me/half", files).parents[2])
    with pytest.raises(CheckpointError, match=r"lacks 1 of 2 shard.*00002-of-00002.*antiphon pull me/half"):
        store.open_weights(folder)
    blob = tmp_path / "hub" / "models--me--half" / "blobs" / f"{0:040x}"
    blob.unlink()
    with pytest.raises(CheckpointError):
        store.open_weights(folder)
    dangling = make_cache(tmp_path / "hub", "me/dangling", {"model.safetensors": b""})
    (dangling / "model.safetensors").resolve().unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing.*antiphon pull me/dangling"):
        store.open_weights(dangling)


@pytest.mark.usefixtures("offline")
def test_F022_a_read_only_cache_is_enough_for_reading(tmp_path: Path) -> None:
    source = tmp_path / "source"
    store.write_weights(source, {"a": torch.ones(3)})
    snapshot = make_cache(
        tmp_path / "hub", "me/tiny", {"model.safetensors": (source / "model.safetensors").read_bytes()}
    )
    folders = [tmp_path / "hub", *(path for path in (tmp_path / "hub").rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert locate("me/tiny", cache_dir=tmp_path / "hub") == snapshot
        with store.open_weights(snapshot) as weights:
            assert weights["a"].sum().item() == 3
    finally:
        for folder in folders:
            folder.chmod(0o755)


# --- files that change, and files being written ----------------------------------------------------------------------


def test_F024_two_processes_that_write_one_file_never_show_a_half(tmp_path: Path) -> None:
    code = """
        import sys
        from antiphon.checkpoints.atomic_files import atomic_write
        for i in range(40):
            with atomic_write(sys.argv[1]) as part:
                with open(part, "wb") as file:
                    for _ in range(20):
                        file.write(sys.argv[2].encode() * 1000)
        """
    final = tmp_path / "a.bin"
    children = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(final), letter]) for letter in ("a", "b")
    ]
    seen = set()
    while any(child.poll() is None for child in children):
        if final.exists():
            seen.add(final.read_bytes())
    assert [child.wait() for child in children] == [0, 0]
    assert seen | {final.read_bytes()} <= {b"a" * 20_000, b"b" * 20_000}
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_F025_a_file_truncated_after_reading_kills_nobody(tmp_path: Path, kind: str) -> None:
    store.write_weights(tmp_path, {"a": torch.ones(300_000)}, safe_serialization=kind == "safetensors")
    code = """
        import os, sys
        from antiphon.checkpoints import store
        from antiphon.errors import CheckpointError
        weights = store.open_weights(sys.argv[1])
        path = weights.paths[0]
        first = weights.read("a")
        os.truncate(path, 64)
        total = first.sum().item()
        try:
            weights.read("a")
        except CheckpointError as error:
            print(int(total), str(path) in str(error))
        """
    done = run_child(code, tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "300000 True"), done.stderr


def test_F025_a_file_replaced_while_it_is_open_stays_the_old_one(tmp_path: Path) -> None:
    for safe in (True, False):
        folder = tmp_path / str(safe)
        store.write_weights(folder, {"a": torch.ones(1000)}, safe_serialization=safe)
        with store.open_weights(folder) as weights:
            store.write_weights(folder, {"a": torch.zeros(2000)}, safe_serialization=safe)
            assert weights["a"].sum().item() == 1000
        with store.open_weights(folder) as weights:
            assert weights["a"].shape == (2000,)


@pytest.mark.parametrize("max_shard_size", ["5GB", "100B"])
def test_F026_saving_onto_the_folder_of_the_source_keeps_every_byte(tmp_path: Path, max_shard_size: str) -> None:
    from safetensors.torch import load_file

    tensors = {f"t{i}": torch.randn(20, generator=torch.Generator().manual_seed(i)) for i in range(5)}
    store.write_weights(tmp_path, tensors)
    mapped = load_file(tmp_path / "model.safetensors")  # a live mapping of the file that is replaced
    with store.open_weights(tmp_path) as weights:
        store.write_weights(tmp_path, dict(weights), max_shard_size=max_shard_size)
        store.write_weights(tmp_path, mapped, max_shard_size=max_shard_size)
        assert all(torch.equal(weights[name], tensor) for name, tensor in tensors.items())
    assert all(torch.equal(mapped[name], tensor) for name, tensor in tensors.items())
    with store.open_weights(tmp_path) as weights:
        assert set(weights) == set(tensors)
        assert all(torch.equal(weights[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("safe", [True, False], ids=["safetensors", "bin"])
def test_F027_a_size_limit_leaves_the_old_file_and_no_part(tmp_path: Path, safe: bool) -> None:
    store.write_weights(tmp_path, {"a": torch.ones(10)}, safe_serialization=safe)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code = """
        import resource, sys, torch
        from antiphon.checkpoints import store
        from antiphon.errors import CheckpointError
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            store.write_weights(sys.argv[1], {"a": torch.ones(100_000)}, safe_serialization=sys.argv[2] == "True")
        except CheckpointError as error:
            print("needed 0.4 MB" in str(error), "MB free" in str(error))
        """
    done = run_child(code, tmp_path, safe)
    assert (done.returncode, done.stdout.strip()) == (0, "True True"), done.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_F027_a_disk_too_small_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(CheckpointError, match=r"needed 4\.0 MB, 1\.0 MB free"):
        store.write_weights(tmp_path, {"a": torch.ones(1_000_000)})
    assert os.listdir(tmp_path) == []


def test_F027_denied_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(atomic_files, "open", denied, raising=False)
    with pytest.raises(CheckpointError, match="permission denied"):
        store.write_weights(tmp_path, {"a": torch.ones(1)})


def test_F027_a_folder_in_place_of_the_file_and_a_name_of_300_characters_are_told(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(CheckpointError, match="it is a folder"):
        store.write_weights(tmp_path, {"a": torch.ones(1)})
    with (
        pytest.raises(CheckpointError, match=r"has 300 bytes\. Expected at most 255"),
        store.atomic_write(tmp_path / ("x" * 300)),
    ):
        pass
    assert parts(tmp_path) == []


def test_F027_a_writer_killed_in_the_middle_leaves_no_file_and_its_part_is_swept(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from antiphon.checkpoints.atomic_files import atomic_write
        with atomic_write(sys.argv[1]) as part:
            part.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        """
    final = tmp_path / "a.bin"
    assert run_child(code, final).returncode == -9
    assert not final.exists()
    assert len(parts(tmp_path)) == 1
    with store.atomic_write(final) as part:
        part.write_bytes(b"whole")
    assert os.listdir(tmp_path) == ["a.bin"]
