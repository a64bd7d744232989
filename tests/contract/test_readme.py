"""The README keeps its word: its Python runs, its commands and targets exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
_PUBLISHED = ("facebook/musicgen-small", "facebook/musicgen-melody")
# What is too long for a test, and what stands in for it.
_SHORTER = {"seconds=12": "seconds=0.3", "max_new_tokens=256": "max_new_tokens=9", "duration=8": "duration=0.3"}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def _commands(program: str) -> list[list[str]]:
    lines = [line for block in _blocks("sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{program} ")]


@pytest.fixture(scope="module")
def checkpoints(make_checkpoint: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small random checkpoint of each kind that the page names."""
    folder = tmp_path_factory.mktemp("readme")
    return {name: make_checkpoint(folder / name[9:], melody="melody" in name) for name in _PUBLISHED}


@pytest.mark.parametrize("number", range(len(_blocks("python"))))
def test_a_python_block_runs(
    number: int,
    checkpoints: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = _blocks("python")[number]
    assert any(name in code for name in _PUBLISHED) or "antiphon.load()" in code
    for name, folder in checkpoints.items():
        code = code.replace(f'"{name}"', repr(str(folder)))
    for long, short in _SHORTER.items():
        code = code.replace(long, short)
    monkeypatch.chdir(tmp_path)
    soundfile.write("hum.wav", np.sin(np.arange(16000) * 0.1), 16000)
    names: dict[str, Any] = {}
    with warnings.catch_warnings():
        if "audiocraft" in code:  # which says that nothing separates stems here, where nothing does
            warnings.simplefilter("ignore")
        exec(compile(code, f"README block {number}", "exec"), names)
    if "audio" in names:  # the short way: what it says it wrote is there, and says what made it
        (written,) = set(tmp_path.glob("*.wav")) - {tmp_path / "hum.wav"}
        sound = type(names["audio"]).load(written)
        assert sound.seed == 7
        assert sound.seconds == pytest.approx(0.3, abs=0.1)
        assert ("melody" in sound.parameters) == ("melody=" in code)
        assert capsys.readouterr().out.split()[-1:] == ([] if "melody=" in code else ["7"])
    elif "chunk" in names:  # the stream
        assert capsys.readouterr().out == "0.3 s more to hear\n"
    elif "wav" in names:  # audiocraft's interface
        assert names["wav"].shape == (1, 1, 15 * 640)
        assert soundfile.info("track.wav").frames == 15 * 640
    else:
        assert names["audio_values"].shape[:2] == (1, 1)
        assert names["sampling_rate"] == 32000


def test_every_door_the_stream_and_the_melody_have_a_python_block() -> None:
    assert len(_blocks("python")) == 5


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
