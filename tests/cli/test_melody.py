"""``antiphon generate --melody``: files, pictures, rows of prompts, pipes, and making such a piece again."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon import Audio
from antiphon.audio import separation
from antiphon.cli.app import run

from ..tunes import tune

_SHORT = ("--seconds", "0.5", "--seed", "7", "--device", "cpu")
HUM, OTHER = tune([0, 4, 7, 4, 9, 5]), tune([2, 2, 11, 10])


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, melody_checkpoint: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODEL", str(melody_checkpoint))
    HUM.save("hum.wav")
    OTHER.save("other.flac")


def sounds(folder: str = ".") -> set[str]:
    return {path.name for path in Path(folder).iterdir()} - {"hum.wav", "other.flac", "prompts.jsonl"}


def test_a_melody_is_followed_and_noted(capsys: Any, follow: Any) -> None:
    assert run(["generate", "piano", *_SHORT, "--melody", "hum.wav"]) == 0
    assert capsys.readouterr().out == "piano-7.wav\n"
    piece = Audio.load("piano-7.wav")
    assert piece.parameters["melody"]["name"] == "hum.wav"
    want = follow("piano", melody="hum.wav", seconds=0.5, seed=7)
    np.testing.assert_allclose(piece.samples, want.samples, atol=2**-15)
    other = follow("piano", melody="other.flac", seconds=0.5, seed=7)
    assert np.abs(piece.samples - other.samples).max() > 0.01


def test_a_melody_without_words_is_enough(capsys: Any, follow: Any) -> None:
    assert run(["generate", *_SHORT, "--melody", "hum.wav"]) == 0
    assert capsys.readouterr().out == "piece-7.wav\n"
    want = follow(None, melody="hum.wav", seconds=0.5, seed=7)
    np.testing.assert_allclose(Audio.load("piece-7.wav").samples, want.samples, atol=2**-15)


def test_windows_rounded_weights_and_a_recording_go_with_a_melody(capsys: Any, melody_checkpoint: Path) -> None:
    import antiphon

    long = ("--seconds", "3", "--seed", "1", "--window", "1", "--stride", "0.6", "--device", "cpu")
    command = ["generate", "piano", *long, "--melody", "hum.wav", "--continue", "other.flac", "--quantize", "int8"]
    assert run([*command, "-o", "x.wav"]) == 0
    composer = antiphon.load(melody_checkpoint, device="cpu", quantize="int8")
    windows = {"window_seconds": 1.0, "stride_seconds": 0.6}
    want = composer("piano", melody="hum.wav", continue_from="other.flac", seconds=3.0, seed=1, **windows)
    np.testing.assert_allclose(Audio.load("x.wav").samples, want.samples, atol=2**-15)


def test_a_picture_lies_beside_each_sound_and_json_tells_of_it(capsys: Any, follow: Any) -> None:
    Path("piano-7.png").write_text("mine")
    assert run(["generate", "piano", *_SHORT, "--melody", "hum.wav", "--picture", "--n", "2", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["picture"] for record in records] == ["piano-7-2.png", "piano-8.png"]
    assert Path("piano-7.png").read_text() == "mine"
    for record in records:
        assert Path(record["picture"]).read_bytes()[:4] == b"\x89PNG"
        agreement = follow.agreement(Audio.load(record["path"]), "hum.wav")
        told = (record["melody_agreement"], record["melody_chance"])
        assert told == pytest.approx((agreement.share, agreement.chance), abs=1e-4)


def test_without_a_melody_the_picture_is_of_the_sound(capsys: Any) -> None:
    assert run(["generate", "piano", *_SHORT, "--picture", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["picture"] == "piano-7.png"
    assert "melody_agreement" not in record
    assert sounds() == {"piano-7.wav", "piano-7.png"}


def test_a_pipe_gets_the_piece_that_a_file_would(capfdbinary: Any, monkeypatch: Any) -> None:
    assert run(["generate", "piano", *_SHORT, "--melody", "hum.wav", "-o", "-"]) == 0
    piped = Audio.load(io.BytesIO(capfdbinary.readouterr().out))
    assert run(["generate", "piano", *_SHORT, "--melody", "hum.wav", "-o", "x.wav"]) == 0
    np.testing.assert_allclose(piped.samples, Audio.load("x.wav").samples, atol=2**-14)


def test_rows_follow_melodies_of_their_own(capsys: Any, follow: Any) -> None:
    rows = [
        {"prompt": "a", "seed": 1},
        {"prompt": "a", "seed": 1, "melody": "other.flac", "output": "second"},
        {"prompt": "a", "seed": 1, "melody": None, "output": "third"},
        {"prompt": "a", "seed": 1, "melody": "gone.wav", "output": "fourth"},
    ]
    Path("prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = ["generate", "--prompts", "prompts.jsonl", "--melody", "hum.wav", "--seconds", "0.3", "--device", "cpu"]
    assert run([*command, "-o", "out", "--picture"]) == 1
    told = capsys.readouterr()
    assert "row 4" in told.err and "gone.wav" in told.err
    for name, melody in (("a-1", "hum.wav"), ("second", "other.flac"), ("third", None)):
        want = follow("a", melody=melody, seconds=0.3, seed=1)
        np.testing.assert_allclose(Audio.load(f"out/{name}.wav").samples, want.samples, atol=2**-15)
    assert sounds("out") == {
        "antiphon-batch.jsonl",
        *(f"{name}.{suffix}" for name in ("a-1", "second", "third") for suffix in ("wav", "png")),
    }
    Path("out/second.wav").unlink()
    HUM.save("gone.wav")
    assert run([*command, "-o", "out", "--resume"]) == 0
    assert sorted(capsys.readouterr().out.split()) == ["out/fourth.wav", "out/second.wav"]
    want = follow("a", melody="other.flac", seconds=0.3, seed=1)
    np.testing.assert_allclose(Audio.load("out/second.wav").samples, want.samples, atol=2**-15)


def test_a_row_that_asks_for_another_melody_is_another_piece(capsys: Any) -> None:
    Path("prompts.jsonl").write_text('{"prompt": "a", "seed": 1, "melody": "hum.wav"}')
    command = ["generate", "--prompts", "prompts.jsonl", "-o", "out", "--seconds", "0.1", "--device", "cpu"]
    assert run(command) == 0
    assert run([*command, "--resume"]) == 0
    assert capsys.readouterr().out == "out/a-1.wav\n"
    Path("prompts.jsonl").write_text('{"prompt": "a", "seed": 1, "melody": "other.flac"}')
    assert run([*command, "--resume"]) == 0
    assert capsys.readouterr().out == "out/a-1-2.wav\n"


def test_a_melody_is_separated_once_for_a_piece_and_its_picture(capsys: Any, monkeypatch: Any) -> None:
    heard: list[int] = []

    def apart(samples: np.ndarray, rate_hz: int) -> np.ndarray:
        heard.append(rate_hz)
        return samples

    monkeypatch.setattr(separation, "separate", apart)
    monkeypatch.setattr("antiphon.cli.commission._TOGETHER", 1)  # a composition for each prompt
    assert run(["generate", "a", "b", *_SHORT, "--melody", "hum.wav", "--separate", "--picture"]) == 0
    assert heard == [22_050]
    assert Audio.load("a-7.wav").parameters["melody"]["separate"] is True


def test_a_piece_is_replayed_with_its_melody_and_with_no_other(capsys: Any) -> None:
    assert run(["generate", "a", *_SHORT, "--melody", "hum.wav", "-o", "x.flac"]) == 0
    assert run(["replay", "x.flac", "--check", "--device", "cpu"]) == 0
    assert "the same: every sample" in capsys.readouterr().out
    Path("hum.wav").rename("moved.wav")
    assert run(["replay", "x.flac", "--check", "--device", "cpu", "--melody", "moved.wav"]) == 0
    assert run(["replay", "x.flac", "-o", "y.flac", "--device", "cpu", "--melody", "moved.wav"]) == 0
    assert Audio.load("y.flac").samples.tolist() == Audio.load("x.flac").samples.tolist()
    capsys.readouterr()
    for options, said in (((), "--melody"), (("--melody", "other.flac"), "samples of this melody are others")):
        assert run(["replay", "x.flac", "--check", "--device", "cpu", *options]) == 1
        assert said in capsys.readouterr().err


def test_info_says_that_a_model_takes_melodies(melody_checkpoint: Path, checkpoint: Path, capsys: Any) -> None:
    assert run(["info", str(melody_checkpoint)]) == 0
    told = capsys.readouterr().out
    for text in ("musicgen_melody", "--melody", "12 pitch classes", "235 frames", "melody input"):
        assert text in told
    assert run(["info", str(melody_checkpoint), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["pitch_classes"], record["melody_frames"]) == (12, 235)
    assert sum(part["parameters"] for part in record["parts"]) == record["parameters"]
    assert run(["info", str(checkpoint)]) == 0
    assert "melody" not in capsys.readouterr().out
