"""``-o -``: sound to a pipe."""

from __future__ import annotations

import io
import struct
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest

from antiphon import Audio
from antiphon.cli.app import run
from antiphon.tasks.composer import Composer

_SHORT = ("--seconds", "0.5", "--seed", "7", "--device", "cpu")


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch, checkpoint: Any) -> None:
    monkeypatch.setenv("ANTIPHON_MODEL", str(checkpoint))


class Pipe(io.RawIOBase):
    """A stdout that takes bytes and cannot go back."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.flushed: list[int] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)

    def flush(self) -> None:
        self.flushed.append(len(self.data))


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


def run_into(pipe: Pipe, *arguments: str) -> int:
    with redirect_stdout(io.TextIOWrapper(pipe, write_through=True)):
        return run(["generate", *arguments, "-o", "-"])


def test_the_sound_in_the_pipe_is_the_piece(pipe: Pipe, compose: Any, capsys: Any) -> None:
    assert run_into(pipe, "calm piano", *_SHORT) == 0
    assert pipe.data[:4] == b"RIFF"
    assert struct.unpack_from("<I", pipe.data, 4) == (0xFFFFFFFF,)
    got, want = Audio.load(bytes(pipe.data)), compose("calm piano", seconds=0.5, seed=7)
    assert got.sampling_rate == want.sampling_rate
    np.testing.assert_allclose(got.samples, want.samples, atol=2**-15)
    assert capsys.readouterr().err == ""


def test_each_second_is_written_when_it_is_made(pipe: Pipe, monkeypatch: Any) -> None:
    seen: list[int] = []
    stream = Composer.stream

    def watched(self: Any, *arguments: Any, **settings: Any) -> Any:
        for chunk in stream(self, *arguments, **settings):
            seen.append(len(pipe.data))
            yield chunk

    monkeypatch.setattr(Composer, "stream", watched)
    assert run_into(pipe, "a", "--seconds", "3", "--seed", "1", "--device", "cpu") == 0
    assert len(seen) == 3
    assert seen[1] > 60_000  # a second of 32 kHz, less what a limiter holds back
    assert seen[2] > 120_000


def test_a_drawn_seed_is_told(pipe: Pipe, compose: Any, capsys: Any) -> None:
    assert run_into(pipe, "a", "--seconds", "0.2", "--device", "cpu") == 0
    seed = int(capsys.readouterr().err.removeprefix("seed "))
    want = compose("a", seconds=0.2, seed=seed)
    np.testing.assert_allclose(Audio.load(bytes(pipe.data)).samples, want.samples, atol=2**-15)


@pytest.mark.parametrize(
    "options", [("--json",), ("--n", "2"), ("another",), ("--loudness", "peak"), ("--format", "flac")]
)
def test_what_a_pipe_cannot_take_is_a_usage_error(options: tuple[str, ...], pipe: Pipe, capsys: Any) -> None:
    assert run_into(pipe, "a", *_SHORT, *options) == 2
    assert pipe.data == b""
    assert capsys.readouterr().err.count("\n") == 1


def test_F116_sound_is_not_written_to_a_terminal(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(["generate", "a", *_SHORT, "-o", "-"]) == 2
    told = capsys.readouterr()
    assert "terminal" in told.err
    assert told.out == ""
