"""Faults of the command line and of files: wrong calls, hostile names, poor surroundings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import antiphon
from antiphon import Audio
from antiphon.audio import media
from antiphon.cli.app import run

_ROOT = Path(antiphon.__file__).parents[1]
_SHORT = ("--seconds", "0.1", "--seed", "1", "--device", "cpu")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODEL", str(checkpoint))
    monkeypatch.delenv("ANTIPHON_DEBUG", raising=False)


def command(*arguments: str | bytes, flags: tuple[str, ...] = (), **options: Any) -> subprocess.CompletedProcess[bytes]:
    """``python -m antiphon`` in a process of its own that inherits nothing."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"HF_HUB_OFFLINE": "1"} | options.pop("env", {})
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    line = [sys.executable, *flags, "-m", "antiphon", *arguments]
    return subprocess.run(line, env=environment, timeout=60, check=False, **options)


def one_line(capsys: Any) -> str:
    caught = capsys.readouterr()
    assert caught.out == ""
    assert caught.err.startswith("error: ")
    assert caught.err.count("\n") == 1
    assert "Traceback" not in caught.err
    return caught.err


def test_F115_no_arguments_show_the_usage_on_stderr(capsys: Any) -> None:
    assert run([]) == 2
    caught = capsys.readouterr()
    assert caught.out == ""
    assert "Usage: antiphon" in caught.err
    assert "generate" in caught.err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["generat", "x"], "generate"),
        (["generate"], "PROMPT"),
        (["generate", "x", "--secnds", "3"], "--seconds"),
        (["generate", "x", "--duration", "-1"], "--duration"),
        (["generate", "x", "--seconds", "abc"], "--seconds"),
        (["generate", "x", "--seconds", "-1"], "seconds=-1"),
        (["generate", "x", "--seconds", "nan"], "seconds=nan"),
        (["generate", "x", "--seconds", "1e9"], "seconds=1000000000"),
        (["generate", "x", "--temperature", "inf"], "temperature=inf"),
        (["generate", "x", "--top-p", "2"], "top_p=2"),
        (["generate", "x", "--top-k", "1.5"], "--top-k"),
        (["generate", "x", "--n", "0"], "n=0"),
        (["generate", "x", "--seed", "-1"], "seed=-1"),
        (["generate", "x" * 5000], "5000 characters"),
        (["info"], "CHECKPOINT"),
        (["pull"], "REPO"),
    ],
)
def test_F115_a_wrong_call_is_one_line_with_a_hint_and_status_2(arguments: list[str], hint: str, capsys: Any) -> None:
    assert run(arguments) == 2
    assert hint in one_line(capsys)
    assert list(Path().iterdir()) == []


def test_F115_missing_folders_are_made_and_existing_files_kept_unless_forced(capsys: Any) -> None:
    assert run(["generate", "x", *_SHORT, "-o", "a/b/x.wav"]) == 0
    Path("a/b/x.wav").write_bytes(b"mine")
    assert run(["generate", "x", *_SHORT, "-o", "a/b/x.wav"]) == 0
    assert Path("a/b/x.wav").read_bytes() == b"mine"
    assert run(["generate", "x", *_SHORT, "-o", "a/b/x.wav", "--force"]) == 0
    assert capsys.readouterr().out.split() == ["a/b/x.wav", "a/b/x-2.wav", "a/b/x.wav"]
    assert Path("a/b/x.wav").read_bytes() == Path("a/b/x-2.wav").read_bytes()


def test_F116_a_reader_that_went_away_ends_the_command_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = command("--help", stdout=writer, stdin=subprocess.DEVNULL)
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == b""


def test_F116_closed_standard_streams_are_no_error(tmp_path: Path, checkpoint: Path) -> None:
    line = f'exec "{sys.executable}" -m antiphon generate x {" ".join(_SHORT)} -o x.wav <&- >&- 2>&-'
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(_ROOT), "ANTIPHON_MODEL": str(checkpoint)}
    done = subprocess.run(["/bin/sh", "-c", line], env=environment, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 0
    assert len(Audio.load(tmp_path / "x.wav")) == 3200


@pytest.mark.parametrize("output", ["taken/x.wav", "taken/", "taken/deeper/x.wav", "/proc/antiphon/x.wav", "y" * 300])
def test_F119_a_place_that_cannot_be_written_is_told_before_anything_is_loaded(output, capsys, monkeypatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("the model was loaded")

    monkeypatch.setattr("antiphon.tasks.load.load", refuse)
    Path("taken").write_text("a file")
    assert run(["generate", "x", *_SHORT, "-o", output]) == 1
    assert "cannot be written" in one_line(capsys)


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_F119_a_pipe_is_written_and_not_replaced(options: tuple[str, ...], capsys: Any) -> None:
    os.mkfifo("pipe.flac")
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(Path("pipe.flac").read_bytes()), daemon=True)
    reader.start()
    assert run(["generate", "x", *_SHORT, "-o", "pipe.flac", *options]) == 0
    reader.join(timeout=20)
    assert Audio.load(heard[0]).seed == 1
    assert Path("pipe.flac").is_fifo()
    assert capsys.readouterr().out == "pipe.flac\n"


def test_F119_a_device_is_written_and_not_replaced(capsys: Any) -> None:
    assert run(["generate", "x", *_SHORT, "-o", "/dev/null", "--format", "ogg"]) == 0
    assert capsys.readouterr().out == "/dev/null\n"
    assert Path("/dev/null").is_char_device()


_SURROUNDINGS = [
    {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"TERM": "dumb", "COLUMNS": "1", "NO_COLOR": "1"},
]


@pytest.mark.parametrize("surroundings", _SURROUNDINGS, ids=["C", "narrow"])
def test_F121_poor_surroundings_change_nothing(surroundings: dict[str, str], checkpoint: Path, tmp_path: Path) -> None:
    # no HOME, no terminal
    env = {**surroundings, "ANTIPHON_MODEL": str(checkpoint)}
    done = command("generate", "Café 日本".encode(), *_SHORT, "-o", "ü.wav".encode(), "--json", env=env, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\x1b" not in done.stdout
    assert json.loads(done.stdout)["seed"] == 1
    assert os.listdir(os.fsencode(tmp_path)) == ["ü.wav".encode()]
    assert Audio.load(tmp_path / "ü.wav").seed == 1


@pytest.mark.parametrize("surroundings", _SURROUNDINGS, ids=["C", "narrow"])
def test_F121_help_and_errors_stand_poor_surroundings(surroundings: dict[str, str]) -> None:
    told = command("--help", env=surroundings)
    assert (told.returncode, told.stderr) == (0, b"")
    wrong = command("generate", "x", "--secönds".encode(), env=surroundings)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(b"error: ")
    assert b"\x1b" not in told.stdout + wrong.stderr


def test_F124_a_missing_extra_is_one_line_with_the_command_that_installs_it(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(media, "available", lambda: False)
    Path("clip.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    assert run(["generate", "x", *_SHORT, "--continue", "clip.m4a"]) == 1
    assert "pip install 'antiphon[media]'" in one_line(capsys)


@pytest.mark.parametrize(
    "flags", [(), ("-O",), ("-W", "error"), ("-P",)], ids=["plain", "optimised", "warnings", "safe"]
)
def test_F125_the_module_runs_from_any_folder_beside_files_with_names_of_others(flags, checkpoint, tmp_path) -> None:
    for name in ("token", "torch", "rich", "typer", "json"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')\n")
    done = command("info", str(checkpoint), "--json", flags=flags, cwd=tmp_path)
    assert done.stderr == b""
    assert done.returncode == 0
    assert json.loads(done.stdout)["model_type"] == "musicgen"


def test_F125_values_are_checked_when_asserts_are_off(checkpoint: Path) -> None:
    done = command("generate", "x", "--seconds", "nan", flags=("-O",), env={"ANTIPHON_MODEL": str(checkpoint)})
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: Invalid value: seconds=nan")


@pytest.mark.parametrize(
    "name",
    [
        b"a b.wav",
        b"quo'te\".wav",
        b"new\nline.wav",
        b"-dash.wav",
        "🎵.wav".encode(),
        b"\xff\xfe.wav",
        b"nul",
        b"x;ls.wav",
    ],
)
def test_F041_a_recording_of_any_name_is_opened_as_data(name: bytes, capsys: Any) -> None:
    Audio(np.zeros(1600, np.float32), 32_000).save("plain.wav")
    os.rename(b"plain.wav", name)
    assert run(["generate", "x", *_SHORT, "-o", "out.wav", f"--continue={os.fsdecode(name)}"]) == 0
    assert capsys.readouterr().out == "out.wav\n"
    assert sorted(os.listdir(b".")) == sorted([name, b"out.wav"])


def test_F041_a_name_longer_than_any_file_has_is_one_line(capsys: Any) -> None:
    assert run(["generate", "x", *_SHORT, "--continue", "x" * 4096]) == 1
    assert len(one_line(capsys)) < 400


_PROMPTS = ["<script>alert(1)</script>", "{{7*7}}", "${x}", "%s", "../../x", "$(touch pwned)", "a`id`", "[red]x[/red]"]


@pytest.mark.parametrize("prompt", _PROMPTS)
def test_F054_a_prompt_is_literal_in_names_and_tags(prompt: str, capsys: Any, tmp_path: Path) -> None:
    assert run(["generate", prompt, *_SHORT]) == 0
    name = capsys.readouterr().out.strip()
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert Audio.load(name).prompt == prompt


@pytest.mark.parametrize("prompt", ["\x1b[31mred\x1b]0;title\x07", "a\u202eb", "\x9b2J", "line\nbreak"])
def test_F054_escape_codes_of_a_prompt_never_reach_the_terminal(prompt: str, capsys: Any, monkeypatch: Any) -> None:
    from antiphon.cli import progress

    monkeypatch.setattr(progress, "is_live", lambda stream: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run(["generate", prompt, *_SHORT, "--json"]) == 0
    caught = capsys.readouterr()
    assert json.loads(caught.out)["prompt"] == prompt
    for raw in ("\x1b[31mred", "\x1b]0;", "\x07", "\u202e", "\x9b", "line\nbreak"):
        assert raw not in caught.out + caught.err


def test_F054_broken_characters_of_a_prompt_are_one_line(checkpoint: Path) -> None:
    done = command("generate", b"half \xff", *_SHORT, env={"ANTIPHON_MODEL": str(checkpoint)})
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(b"error: ")
    assert done.stderr.count(b"\n") == 1
    assert b"\xff" not in done.stderr
