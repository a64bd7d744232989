"""The page for those who want to listen keeps its word: its commands and its Python run in order."""

from __future__ import annotations

import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon import Audio
from antiphon.cli import app

PAGE = (Path(__file__).parents[2] / "docs" / "listening.md").read_text(encoding="utf-8")
PUBLISHED = "nvidia/music-flamingo-2601-hf"
RATE = 16_000

# What sets up a machine or needs the network, and what other tests run.
_NOT_RUN = ("python3 -m venv", ". .venv", "pip install", "export ", "antiphon pull", "python examples/")
_SHORT = {"ask": "--max-tokens 6", "caption": "--max-tokens 6"}


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def _lines() -> list[str]:
    return [line for block in _blocks("sh") for line in block.splitlines()]


def _shortened(line: str) -> list[str]:
    words = shlex.split(line)[1:]
    return words if "--json" in words else [*words, *_SHORT[words[0]].split()]


@pytest.fixture(scope="module")
def shelf(
    listening_checkpoint: Path, ctrl_c: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with recordings, and what each command of the page has written to stdout."""
    folder = tmp_path_factory.mktemp("shelf")
    told: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTIPHON_MODEL", str(listening_checkpoint))
        patch.chdir(folder)
        Path("music").mkdir()
        for name, seconds in (("song.flac", 2), ("concert.wav", 9), ("music/one.wav", 1), ("music/two.ogg", 0.5)):
            noise = np.random.default_rng(len(name)).standard_normal(round(seconds * RATE)).astype(np.float32)
            Audio(0.1 * noise, RATE).save(name)
        for line in _lines():
            if line.startswith(_NOT_RUN):
                continue
            patch.setattr(sys, "stdin", io.StringIO("What is it?\nAnd why?\n"))
            out = io.StringIO()
            patch.setattr(sys, "stdout", out)
            assert app.run(_shortened(line)) == 0, line
            told[line] = out.getvalue()
            patch.setattr(sys, "stdout", sys.__stdout__)
        yield folder, told


def test_the_commands_do_what_the_page_says(shelf: tuple[Path, dict[str, str]]) -> None:
    folder, told = shelf
    facts = json.loads(told["antiphon ask song.flac --json"])
    assert set(re.findall(r"`(genre|tempo_bpm|key|instruments|mood|structure)`", PAGE)) == set(facts)
    parts = told['antiphon ask concert.wav "What happens?" --long map --part-seconds 4']
    assert "0:00-0:04: " in parts and "0:08-0:09: " in parts
    for name in ("captions.jsonl", "moods.jsonl"):
        lines = [json.loads(line) for line in (folder / name).read_bytes().splitlines()]
        assert [line["path"] for line in lines] == ["music/one.wav", "music/two.ogg"]
    beside = json.loads((folder / "music" / "one.json").read_text(encoding="utf-8"))
    assert beside["question"] == "In which mood is it?"


def test_the_python_of_the_page_runs_in_its_order(
    shelf: tuple[Path, dict[str, str]],
    listening_checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(shelf[0])
    names: dict[str, Any] = {}
    for number, block in enumerate(_blocks("python")):
        code = block.replace(f'"{PUBLISHED}"', repr(str(listening_checkpoint)))
        code = re.sub(r'((?:ask|stream|ask_each)\(.*")', r"\1, max_new_tokens=6", code)
        exec(compile(code, f"listening.md, Python block {number}", "exec"), names)
    assert names["second"].history[0] == ("What are the tempo and the key?", names["first"].text)
    assert len(names["answers"]) == 2
    assert names["fields"]["genre"].source == "said"


def test_every_option_and_verb_of_the_page_exists(capsys: pytest.CaptureFixture[str]) -> None:
    spans = [*re.findall(r"`([^`\n]+)`", PAGE), *(line for line in _lines() if "antiphon" in line)]
    verbs = {words[1] for span in spans if (words := span.split())[:1] == ["antiphon"] and words[1:]}
    for verb in sorted(verbs):
        assert app.run([verb, "--help"]) == 0
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out))
    assert {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span)} <= known
