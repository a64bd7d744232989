"""The examples run on a fresh clone, and what the pages say of their results is what they give."""

from __future__ import annotations

import importlib.util
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon import Audio
from antiphon.tasks.composer import Composer

ROOT = Path(__file__).parents[2]
KNOBS = (ROOT / "docs" / "knobs.md").read_text(encoding="utf-8").replace("\n", " ")


def _example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def knobs() -> Any:
    """The example, its pictures drawn once for all tests."""
    module = _example("knobs")
    drawn = {name: draw() for name, draw in module.PICTURES.items()}
    module.PICTURES = {name: (lambda figure=figure: figure) for name, figure in drawn.items()}
    return module


def _pixels(file: Path) -> tuple[int, ...]:
    return struct.unpack(">II", file.read_bytes()[16:24])


def test_the_pictures_of_the_page_are_those_that_are_drawn(
    knobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["knobs.py", str(tmp_path)])
    knobs.main()
    kept = ROOT / "docs" / "pictures"
    assert {p.name: _pixels(p) for p in tmp_path.iterdir()} == {p.name: _pixels(p) for p in kept.iterdir()}


def _titles(figure: Any) -> str:
    return " | ".join(axes.get_title(loc="left") for axes in figure.axes)


@pytest.mark.parametrize(
    ("picture", "pattern", "told"),
    [
        ("cuts", r"(\d+) tokens left", "leaves {1} tokens of the sure step and {3} of the unsure one"),
        ("streaming", r"after (\d\.\d) s", "heard after {0} seconds. At 20 milliseconds"),
        ("streaming", r"after (\d\.\d) s", "just as it is heard, after {1} seconds."),
        ("rounding", r"error (\d\.\d) %", "an error of {0} per cent. With 16 levels"),
        ("rounding", r"error (\d\.\d) %", "a little beside, with an error of {1} per cent"),
        ("loudness", r"(−[\d.]+) LUFS", "{4} LUFS come out"),
    ],
)
def test_the_page_tells_the_numbers_that_its_pictures_show(knobs: Any, picture: str, pattern: str, told: str) -> None:
    numbers = re.findall(pattern, _titles(knobs.PICTURES[picture]()))
    assert told.format(*numbers) in KNOBS


@pytest.mark.parametrize(("chunk_seconds", "steps"), [(1.0, 57), (0.1, 12)])
def test_the_first_chunk_comes_after_as_many_steps_as_the_page_says(
    compose: Composer, chunk_seconds: float, steps: int
) -> None:
    done: list[float] = []
    chunks = compose.stream(
        "calm piano",
        seconds=3,
        seed=1,
        chunk_seconds=chunk_seconds,
        on_progress=lambda fraction, _: done.append(fraction),
    )
    next(iter(chunks))
    assert len(done) == steps
    assert re.search(rf"\b{steps} steps\b", KNOBS)


@pytest.fixture
def growing(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the long piece is asked to go: two seconds of it."""
    file = tmp_path / "growing.wav"
    asked = [str(file), "--model", str(checkpoint), "--seconds", "2", "--prompt", "calm piano", "--seed", "5"]
    monkeypatch.setattr("sys.argv", ["long_piece.py", *asked])
    return file


def test_a_long_piece_written_while_it_is_made_is_the_piece_of_compose(growing: Path, compose: Composer) -> None:
    _example("long_piece").main()
    piece = compose("calm piano", seconds=2, seed=5)
    assert np.abs(Audio.load(growing).samples - piece.samples).max() < 1 / 32_000


def test_the_growing_file_holds_what_was_made_when_ctrl_c_comes(
    growing: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Composer.stream

    def interrupted(self: Composer, *args: Any, **kwargs: Any) -> Iterator[Audio]:
        yield next(iter(whole(self, *args, **kwargs)))
        raise KeyboardInterrupt

    monkeypatch.setattr(Composer, "stream", interrupted)
    _example("long_piece").main()
    assert Audio.load(growing).seconds == 1.0
    assert capsys.readouterr().out.splitlines()[-2:] == ["stopped", f"{growing}: 1.0 s, seed 5"]


def test_a_long_piece_makes_its_own_model_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["long_piece.py", str(tmp_path / "own.wav"), "--seconds", "0.1"])
    _example("long_piece").main()
    assert Audio.load(tmp_path / "own.wav").seconds == pytest.approx(0.1)
