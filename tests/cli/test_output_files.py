"""Names of sound files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.cli.output_files import OutputFiles, slug
from antiphon.errors import AudioError


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("80s pop track, with BASSY drums!", "80s-pop-track-with-bassy-drums"),
        ("Café – naïve", "cafe-naive"),
        ("../../etc/passwd", "etc-passwd"),
        ("<script>alert(1)</script>", "script-alert-1-script"),
        ("{{7*7}} ${x} %s", "7-7-x-s"),
        ("日本の音楽", "piece"),
        ("", "piece"),
        ("NUL", "piece-nul"),
        ("com1", "piece-com1"),
        ("\x1b[31mred", "31mred"),
        ("x" * 200, "x" * 60),
    ],
)
def test_F054_a_prompt_becomes_a_plain_file_name(prompt: str, name: str) -> None:
    assert slug(prompt) == name


@given(st.text())
def test_F054_every_prompt_becomes_a_short_plain_name(prompt: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,64}[a-z0-9])?", slug(prompt))


def test_names_hold_the_prompt_and_the_seed(tmp_path: Path) -> None:
    files = OutputFiles(str(tmp_path), force=False)
    assert files.path_for("Calm piano", 7) == tmp_path / "calm-piano-7.wav"
    assert files.path_for("Calm piano", None) == tmp_path / "calm-piano.wav"


def test_existing_files_are_kept_unless_forced(tmp_path: Path) -> None:
    wanted = tmp_path / "x.flac"
    wanted.write_bytes(b"old")
    (tmp_path / "x-2.flac").write_bytes(b"old")
    assert OutputFiles(str(wanted), force=False).path_for("a", 1) == tmp_path / "x-3.flac"
    assert OutputFiles(str(wanted), force=True).path_for("a", 1) == wanted


def test_two_sounds_of_one_call_never_share_a_name(tmp_path: Path) -> None:
    files = OutputFiles(str(tmp_path / "x.wav"), force=True)
    assert [files.path_for("a", i).name for i in range(3)] == ["x.wav", "x-2.wav", "x-3.wav"]


def test_a_dangling_link_counts_as_existing(tmp_path: Path) -> None:
    (tmp_path / "x.wav").symlink_to(tmp_path / "nowhere")
    assert OutputFiles(str(tmp_path / "x.wav"), force=False).path_for("a", 1).name == "x-2.wav"


@pytest.mark.parametrize("output", ["new/", "new", "new/deeper"])
def test_folders_are_made(output: str, tmp_path: Path) -> None:
    path = OutputFiles(f"{tmp_path}/{output}", force=False).path_for("a", 1)
    assert path == tmp_path / output / "a-1.wav"
    assert path.parent.is_dir()


def test_a_folder_with_a_dot_in_its_name_is_a_folder_if_it_exists(tmp_path: Path) -> None:
    (tmp_path / "2024.07").mkdir()
    assert OutputFiles(str(tmp_path / "2024.07"), force=False).path_for("a", 1) == tmp_path / "2024.07" / "a-1.wav"


def test_without_an_output_files_go_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert OutputFiles(None, force=False).path_for("a", 1) == Path("a-1.wav")


def test_a_format_that_cannot_be_written_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="xyz"):
        OutputFiles(str(tmp_path / "sub" / "a.xyz"), force=False)
    assert list(tmp_path.iterdir()) == []
