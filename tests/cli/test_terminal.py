"""What reaches a terminal, and what reaches a program."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from antiphon.cli.terminal import is_live, printable, put, put_json, put_path, say


class Screen(io.TextIOWrapper):
    def __init__(self, encoding: str = "utf-8", *, tty: bool = True) -> None:
        self.raw_bytes = io.BytesIO()
        super().__init__(self.raw_bytes, encoding=encoding)
        self._tty = tty

    def isatty(self) -> bool:
        return self._tty


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode 日本 🎵", "plain, ünïcode 日本 🎵"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\x9b2J", "\\x9b2J"),
        ("half \ud800", "half \\ud800"),
    ],
)
def test_control_characters_are_spelt_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_paths_are_bytes_for_programs_and_printable_for_people(monkeypatch: Any) -> None:
    path = os.fsdecode(b"a\x1b[31m\xff.wav")
    pipe, screen = Screen(tty=False), Screen()
    monkeypatch.setattr("sys.stdout", pipe)
    put_path(path)
    assert pipe.raw_bytes.getvalue() == b"a\x1b[31m\xff.wav\n"
    monkeypatch.setattr("sys.stdout", screen)
    put_path(Path(path))
    assert screen.raw_bytes.getvalue() == b"a\\x1b[31m\\udcff.wav\n"


def test_characters_that_a_terminal_lacks_are_spelt_out(monkeypatch: Any) -> None:
    screen = Screen("ascii")
    monkeypatch.setattr("sys.stdout", screen)
    put("naïve 日")
    assert screen.raw_bytes.getvalue() == b"na\\xefve \\u65e5\n"


def test_json_is_one_line_of_ascii(monkeypatch: Any) -> None:
    screen = Screen("ascii")
    monkeypatch.setattr("sys.stdout", screen)
    put_json({"prompt": "é\x1b\n"})
    assert screen.raw_bytes.getvalue().isascii()
    assert json.loads(screen.raw_bytes.getvalue()) == {"prompt": "é\x1b\n"}


def test_closed_streams_are_no_error(monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    put("x")
    put_path("x")
    put_json({})
    say("x")
    assert not is_live(None)


def test_a_bar_needs_a_terminal_that_can_move_its_cursor(monkeypatch: Any) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert is_live(Screen())
    assert not is_live(Screen(tty=False))
    monkeypatch.setenv("TERM", "dumb")
    assert not is_live(Screen())
