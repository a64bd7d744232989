"""Atomic files: complete under the final name, or not there."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.errors import CheckpointError
from antiphon.part_files import sweep_parts


def test_the_file_appears_only_at_the_end(tmp_path: Path) -> None:
    final = tmp_path / "a.bin"
    with atomic_write(final) as part:
        part.write_bytes(b"new")
        assert not final.exists()
        assert part.parent == tmp_path
        assert part.name.startswith(".a.bin.")
        assert part.name.endswith(".part")
    assert final.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_error_in_the_block_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    final = tmp_path / "a.bin"
    final.write_bytes(b"old")
    with pytest.raises(KeyError), atomic_write(final) as part:
        part.write_bytes(b"half")
        raise KeyError("x")
    assert final.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_an_os_error_about_another_file_is_not_blamed_on_this_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a"):
        (tmp_path / "absent" / "b").read_bytes()


def test_a_writer_that_replaces_the_part_and_makes_it_private_is_mended(tmp_path: Path) -> None:
    final = tmp_path / "a"
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    with atomic_write(final) as part:
        other = tmp_path / "other"
        other.write_bytes(b"x")
        other.chmod(0o600)
        os.replace(other, part)
    assert stat.S_IMODE(final.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_the_permissions_of_the_old_file_are_kept(tmp_path: Path) -> None:
    final = tmp_path / "a"
    final.write_bytes(b"old")
    final.chmod(0o640)
    with atomic_write(final) as part:
        part.write_bytes(b"new")
    assert stat.S_IMODE(final.stat().st_mode) == 0o640


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path: Path) -> None:
    blob, link = tmp_path / "blob", tmp_path / "link"
    blob.write_bytes(b"old")
    link.symlink_to(blob)
    with atomic_write(link) as part:
        part.write_bytes(b"new")
    assert blob.read_bytes() == b"old"
    assert link.read_bytes() == b"new"
    assert not link.is_symlink()


def test_parts_of_dead_processes_are_swept_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    dead = tmp_path / ".a.bin.4194999.part"
    living = tmp_path / f".a.bin.{os.getpid()}.part"
    elsewhere = tmp_path / ".a.bin.4194999.00000000-1.part"
    strange = tmp_path / ".notes.part"
    for path in (dead, living, elsewhere, strange):
        path.write_bytes(b"x")
    with atomic_write(tmp_path / "b") as part:
        part.write_bytes(b"x")
    assert sorted(os.listdir(tmp_path)) == sorted([living.name, elsewhere.name, strange.name, "b"])


def test_sweeping_a_folder_that_does_not_exist_finds_nothing(tmp_path: Path) -> None:
    assert sweep_parts(tmp_path / "absent") == []


def test_a_name_of_250_bytes_fits(tmp_path: Path) -> None:
    final = tmp_path / ("ä" * 125)
    with atomic_write(final) as part:
        part.write_bytes(b"x")
    assert final.read_bytes() == b"x"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_disk_that_fills_up_is_told_with_needed_and_free_size(tmp_path: Path, number: int) -> None:
    with pytest.raises(CheckpointError, match=r"disk is full.*needed 0\.0 MB, .* MB free"):  # noqa: SIM117
        with atomic_write(tmp_path / "a", needed_bytes=1000):
            raise OSError(number, os.strerror(number))
    assert os.listdir(tmp_path) == []


def test_a_full_disk_reported_by_native_code_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="disk is full"), atomic_write(tmp_path / "a"):
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")


def test_a_device_is_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="not a regular file"), atomic_write(tmp_path / "pipe"):
        pass


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="folder does not exist"), atomic_write(tmp_path / "no" / "a"):
        pass


def test_other_failures_keep_their_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", os.fspath(tmp_path / "a"))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(CheckpointError, match="Input/output error"), atomic_write(tmp_path / "a") as part:
        part.write_bytes(b"x")
    assert os.listdir(tmp_path) == []
