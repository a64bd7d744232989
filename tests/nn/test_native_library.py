"""The kernels' building: where they are kept, who may have written them, and machines that cannot."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from antiphon.nn.native import library
from antiphon.nn.quantized_linear import QuantizedLinear


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Every test finds a process that has not asked for the kernels, and leaves such a one."""
    library._loaded.cache_clear()
    yield
    library._loaded.cache_clear()


@pytest.fixture(scope="module")
def built() -> Path:
    return library.build()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(library.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "native"


def some_compiler(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def quick(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that needs no time: it hands out what the real one has made before."""
    text = f'while [ "$1" != -o ] && [ $# -gt 0 ]; do shift; done; [ $# -eq 0 ] || cp "{built}" "$2"'
    monkeypatch.setenv("CXX", str(some_compiler(tmp_path / "cxx", text)))


def works() -> bool:
    layer = QuantizedLinear.of(torch.eye(64), bits=8)
    return torch.allclose(layer(torch.ones(1, 64)), torch.ones(1, 64), atol=0.01)


@pytest.mark.usefixtures("quick")
def test_what_was_built_is_kept_private_and_used_again(folder: Path) -> None:
    path = library.build()
    assert path.parent == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    before = path.stat().st_mtime_ns
    assert library.build() == path
    assert path.stat().st_mtime_ns == before
    assert [item.name for item in folder.iterdir()] == [path.name]  # nothing half made is left


@pytest.mark.usefixtures("quick")
def test_other_flags_are_another_file(folder: Path) -> None:
    assert library.build("-DANTIPHON_PLAIN") != library.build()


@pytest.mark.usefixtures("quick")
def test_a_file_that_others_can_write_is_built_anew(folder: Path) -> None:
    path = library.build()
    path.write_bytes(b"not a library")
    path.chmod(0o722)
    assert library.load(library.build())
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_F069_without_a_compiler_there_is_one_warning_and_the_same_numbers(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(folder))
    with caplog.at_level(logging.WARNING):
        assert library.native() is None
        assert library.native() is None
        assert works()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no C++ compiler" in caplog.text


@pytest.mark.parametrize("does", ["echo broken >&2; exit 1", "exit 0"])
def test_F069_a_compiler_that_fails_or_writes_rubbish_is_one_warning(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, does: str
) -> None:
    monkeypatch.setenv("CXX", str(some_compiler(tmp_path / "cxx", does)))
    with caplog.at_level(logging.WARNING):
        assert library.native() is None
        assert works()
    assert len(caplog.records) == 1


def test_the_switch_turns_the_kernels_off_without_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(library.SWITCH, "0")
    assert library.native() is None
    assert works()
    assert caplog.records == []


@pytest.mark.usefixtures("quick")
def test_F122_where_no_cache_can_be_written_a_temporary_folder_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    for name in (library.CACHE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, str(file))
    monkeypatch.setattr(library, "_temporary_folder", lambda: tmp_path)
    assert library.cache_folder() == tmp_path
    assert library.build().parent == tmp_path


def test_a_folder_that_others_can_write_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder.parent / "xdg"))
    assert library.cache_folder() == folder.parent / "xdg" / "antiphon" / "native"


def test_nothing_is_built_before_it_is_wanted(folder: Path) -> None:
    code = "import antiphon.nn.linear, antiphon.nn.quantized_linear"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {library.CACHE: str(folder.parent)}, check=True)
    assert not folder.exists()
