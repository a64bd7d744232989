"""The README keeps its word: its Python runs, its commands and targets exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
_PUBLISHED = "facebook/musicgen-small"
# What is too long for a test, and what stands in for it.
_SHORTER = {"seconds=12": "seconds=0.3", "max_new_tokens=256": "max_new_tokens=9"}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def _commands(program: str) -> list[list[str]]:
    lines = [line for block in _blocks("sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{program} ")]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme") / "checkpoint"
    made = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "random_checkpoint.py"), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_a_python_block_runs(
    number: int, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = _blocks("python")[number]
    assert _PUBLISHED in code
    code = code.replace(f'"{_PUBLISHED}"', repr(str(checkpoint)))
    for long, short in _SHORTER.items():
        code = code.replace(long, short)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, f"README block {number}", "exec"), names)
    if "audio" in names:  # the short way: what it says it wrote is there, and says what made it
        sound = type(names["audio"]).load(tmp_path / "track.wav")
        assert sound.seed == 7
        assert sound.seconds == pytest.approx(0.3, abs=0.1)
        assert capsys.readouterr().out.split()[-1] == "7"
    elif "chunk" in names:  # the stream
        assert capsys.readouterr().out == "0.3 s more to hear\n"
    else:
        assert names["audio_values"].shape[:2] == (1, 1)
        assert names["sampling_rate"] == 32000


def test_both_doors_and_the_stream_have_a_python_block() -> None:
    assert len(_blocks("python")) == 3


@pytest.mark.parametrize("command", _commands("antiphon"), ids=lambda words: words[0])
def test_a_command_names_a_verb_and_options_that_exist(command: list[str]) -> None:
    verb, *rest = command
    shown = subprocess.run(
        [sys.executable, "-m", "antiphon", verb, "--help"],
        capture_output=True,
        text=True,
        env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "PYTHONUTF8": "1"},
        cwd=ROOT,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    options = {word for word in rest if re.fullmatch(r"--?[a-z][a-z-]*", word)}
    assert options <= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", shown.stdout))


def test_the_readme_shows_the_verbs_a_newcomer_needs() -> None:
    assert {words[0] for words in _commands("antiphon")} >= {"generate", "info"}


def test_the_make_targets_exist_and_the_first_screen_names_the_two_that_matter() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {words[0] for words in _commands("make")} | set(re.findall(r"`make ([a-z]+)", TEXT))
    assert named <= targets
    screen = "\n".join(TEXT.splitlines()[:24])
    assert "make demo" in screen
    assert "make test" in screen
