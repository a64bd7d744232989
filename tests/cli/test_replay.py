"""``antiphon replay``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon import Audio
from antiphon.cli.app import run

_SHORT = ("--seconds", "0.5", "--seed", "7", "--device", "cpu")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODEL", str(checkpoint))


def test_a_replayed_file_is_the_same_byte_for_byte(capsys: Any) -> None:
    command = ["generate", "calm piano", *_SHORT, "--guidance", "2", "--top-k", "20", "-o", "x.flac"]
    assert run(command) == 0
    assert run(["replay", "x.flac", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "x.flac\nx-replay.flac\n"
    assert Path("x-replay.flac").read_bytes() == Path("x.flac").read_bytes()


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3"])
def test_a_check_says_the_same_and_writes_nothing(suffix: str, capsys: Any) -> None:
    assert run(["generate", "calm piano", *_SHORT, "-o", f"x.{suffix}"]) == 0
    capsys.readouterr()
    assert run(["replay", f"x.{suffix}", "--check", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith("the same")
    assert len(list(Path().iterdir())) == 1


def test_a_check_finds_another_sound(capsys: Any) -> None:
    assert run(["generate", "calm piano", *_SHORT, "-o", "x.wav"]) == 0
    piece = Audio.load("x.wav")
    Audio(np.roll(piece.samples, 1, axis=1), 32_000, piece.prompt, piece.seed, piece.model, piece.parameters).save(
        "y.wav"
    )
    Audio(piece.samples, 32_000, piece.prompt, 8, piece.model, piece.parameters).save("z.mp3")
    capsys.readouterr()
    for name in ("y.wav", "z.mp3"):
        assert run(["replay", name, "--check", "--device", "cpu"]) == 1
        assert capsys.readouterr().out.startswith("different")
        assert run(["replay", name, "--check", "--device", "cpu", "--json"]) == 1
        record = json.loads(capsys.readouterr().out)
        assert (record["same"], record["verdict"], record["path"]) == (False, "different", None)


def test_a_level_is_part_of_how_a_file_was_made(capsys: Any) -> None:
    assert run(["generate", "calm piano", *_SHORT, "-o", "x.wav", "--loudness", "rms"]) == 0
    assert Audio.load("x.wav").parameters["loudness"] == "rms"
    assert run(["replay", "x.wav", "--check", "-o", "y.wav", "--device", "cpu"]) == 0
    assert "equal" in capsys.readouterr().err
    assert Path("x.wav").read_bytes() == Path("y.wav").read_bytes()


def test_a_recording_is_found_beside_the_file_or_by_its_option(capsys: Any) -> None:
    clip = Audio(np.sin(np.arange(6400) / 20) * 0.3, 32_000)
    clip.save("clip.wav")
    assert run(["generate", "a", *_SHORT, "--continue", "clip.wav", "-o", "x.wav"]) == 0
    assert run(["replay", "x.wav", "--check", "--device", "cpu"]) == 0
    Path("clip.wav").rename("moved.wav")
    assert run(["replay", "x.wav", "--check", "--device", "cpu", "--continue", "moved.wav"]) == 0
    capsys.readouterr()
    assert run(["replay", "x.wav", "--check", "--device", "cpu"]) == 1
    assert "--continue" in capsys.readouterr().err
    Audio(clip.samples * 0.5, 32_000).save("clip.wav")
    assert run(["replay", "x.wav", "--check", "--device", "cpu"]) == 1
    assert "samples of this recording are others" in capsys.readouterr().err


def test_a_model_that_moved_is_named(checkpoint: Path, capsys: Any) -> None:
    assert run(["generate", "a", *_SHORT, "-o", "x.wav"]) == 0
    piece = Audio.load("x.wav")
    Audio(piece.samples, 32_000, piece.prompt, piece.seed, "gone/away", piece.parameters).save("y.wav")
    capsys.readouterr()
    assert run(["replay", "y.wav", "--check"]) == 1
    told = capsys.readouterr().err
    assert "gone/away" in told
    assert "--model" in told
    assert run(["replay", "y.wav", "--check", "--model", str(checkpoint), "--device", "cpu"]) == 0


def test_what_cannot_be_replayed_is_one_line(capsys: Any) -> None:
    Audio(np.zeros(100, np.float32), 32_000).save("plain.wav")
    for name in ("plain.wav", "nowhere.wav"):
        assert run(["replay", name]) == 1
        told = capsys.readouterr().err
        assert name in told
        assert told.count("\n") == 1
