"""The page for those who want to talk keeps its word: its commands and its Python run in order."""

from __future__ import annotations

import re
import shlex
import signal
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from antiphon import Audio
from antiphon.cli import app
from antiphon.generation.duplex_settings import DuplexSettings

PAGE = (Path(__file__).parents[2] / "docs" / "talking.md").read_text(encoding="utf-8")
PUBLISHED = "kyutai/moshiko-pytorch-bf16"

# What sets up a machine or needs the network, and what other tests run.
_NOT_RUN = ("python3 -m venv", ". .venv", "pip install", "export ", "antiphon pull", "python examples/")
_SHORTER = 20  # times shorter than on the page


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def _lines() -> list[str]:
    return [line for block in _blocks("sh") for line in block.splitlines()]


def _short(code: str) -> str:
    return re.sub(r"((?:--)?seconds[= ])(\d+)", lambda m: f"{m[1]}{int(m[2]) / _SHORTER}", code)


class _Microphone:
    """Somebody who says nothing for three frames, and presses Ctrl-C."""

    def __init__(self, callback: Any, blocksize: int, **asked: Any) -> None:
        self._callback, self._block = callback, np.zeros((blocksize, 1), np.float32)

    def start(self) -> None:
        device, said = self._callback.__self__, [self._block] * 3

        def take(timeout_s: float) -> np.ndarray | None:
            if not said:
                signal.raise_signal(signal.SIGINT)
                return None
            self._callback(said.pop(), np.empty_like(self._block), len(self._block), None, None)
            return np.zeros(len(self._block), np.float32)

        device.take = take

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def table(talking_checkpoint: Path, ctrl_c: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a question, after all commands of the page."""
    folder = tmp_path_factory.mktemp("table")
    module = ModuleType("sounddevice")
    module.Stream, module.PortAudioError = _Microphone, OSError  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTIPHON_MODEL", str(talking_checkpoint))
        patch.setitem(sys.modules, "sounddevice", module)
        patch.chdir(folder)
        Audio(0.1 * np.random.default_rng(0).standard_normal(16_000 // 4).astype(np.float32), 16_000).save(
            "question.wav"
        )
        for line in _lines():
            if not line.startswith(_NOT_RUN):
                assert app.run(shlex.split(_short(line))[1:]) == 0, line
        yield folder


def test_every_file_that_the_page_says_its_commands_make_is_there(table: Path) -> None:
    made = {word for line in _lines() for word in re.findall(r"(?:-o|--transcript) (\S+)", line)}
    assert len(made) == 7
    assert {name for name in made if not (table / name).exists()} == set()
    assert (table / "again.png").exists()
    assert Audio.load(table / "conversation.wav").channels == 2
    assert Audio.load(table / "evening.wav").seconds == pytest.approx(4 * 0.08)


def test_the_python_of_the_page_runs_in_its_order(table: Path, talking_checkpoint: Path) -> None:
    names: dict[str, Any] = {}
    for number, block in enumerate(_blocks("python")):
        code = _short(block.replace(f'"{PUBLISHED}"', repr(str(talking_checkpoint))))
        code = code.replace("np.zeros((12, talker.sampling_rate)", "np.zeros((3, talker.sampling_rate // 5)")
        exec(compile(code, f"talking.md, Python block {number}", "exec"), names)
    assert Audio.load("python.wav").seed == 7
    assert names["session"].seeds == [1, 9, 3]
    written = Audio.load("again.flac")
    np.testing.assert_allclose(names["reply"].stereo.samples, written.samples, atol=1e-4)


def test_every_option_and_verb_of_the_page_exists(capsys: pytest.CaptureFixture[str]) -> None:
    spans = [*re.findall(r"`([^`\n]+)`", PAGE), *(line for line in _lines() if "antiphon" in line)]
    verbs = {words[1] for span in spans if (words := span.split())[:1] == ["antiphon"] and words[1:]}
    for verb in sorted(verbs):
        assert app.run([verb, "--help"]) == 0
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out))
    assert {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span)} <= known


def test_the_table_has_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `--([\w-]+)` \|.*\| (\S+) \|$", PAGE, flags=re.MULTILINE))
    assert {name.replace("-", "_"): float(value) for name, value in rows.items()} == {
        field.name: float(field.default)  # type: ignore[arg-type]
        for field in fields(DuplexSettings)
    }
