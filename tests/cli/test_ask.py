"""``antiphon ask``: answers, conversations and facts, from the command line."""

from __future__ import annotations

import io
import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.audio.clip import Audio
from antiphon.cli import app, ask
from antiphon.tasks.listener import Listener

RATE = 16_000
SHORT = ["--max-tokens", "8"]


@pytest.fixture
def song(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening_checkpoint: Path, listener: Listener, ctrl_c: None
) -> Path:
    """A recording in an otherwise empty folder, which is the current one; the model is loaded already."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODEL", str(listening_checkpoint))
    monkeypatch.setattr("antiphon.tasks.load.load", lambda *args, **kwargs: listener)
    noise = np.random.default_rng(0).standard_normal((2, 7000)).astype(np.float32)
    return Audio(0.1 * noise, 22_050).save("song.flac")


def typed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_question_is_answered_on_stdout(song: Path, listener: Listener, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["ask", str(song), "What tempo?", *SHORT]) == 0
    out, err = capsys.readouterr()
    answer = listener.ask(song, "What tempo?", max_new_tokens=8)
    shown = "\n".join(
        "".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in answer.text.split("\n")
    )
    assert out.rstrip("\n") == shown.rstrip("\n")
    assert ("--max-tokens" in err) == (answer.finish == "length")


def test_without_a_question_there_is_a_conversation(
    song: Path, listener: Listener, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Any]] = []
    stream = Listener.stream

    def watched(self: Listener, audio: Any, question: str, *, history: Any = (), **told: Any) -> Any:
        asked.append((question, history))
        return stream(self, audio, question, history=history, **told)

    monkeypatch.setattr(Listener, "stream", watched)
    typed(monkeypatch, "What key?\n\n  And the tempo?  \n")
    assert app.run(["ask", str(song), *SHORT]) == 0
    first = listener.ask(song, "What key?", max_new_tokens=8)
    assert [question for question, _ in asked[:2]] == ["What key?", "And the tempo?"]
    assert asked[1][1] == first.history
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_json_has_a_fixed_form_with_a_source_for_each_field(song: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["ask", str(song), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["genre", "tempo_bpm", "key", "instruments", "mood", "structure"]
    assert {field["source"] for field in told.values()} <= {"said", "measured", "disagreement"}
    assert isinstance(told["instruments"]["value"], list)
    assert told["structure"]["value"][0]["start_s"] == 0


def test_a_long_recording_is_answered_in_parts(
    song: Path, listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    long = Audio(0.1 * np.random.default_rng(1).standard_normal(9 * RATE).astype(np.float32), RATE).save("long.wav")
    assert app.run(["ask", str(long), "Key?", "--long", "map", "--part-seconds", "3", *SHORT]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:9] for line in lines if line[:2] == "0:"] == ["0:00-0:03", "0:03-0:06", "0:06-0:09"]
    assert app.run(["ask", str(long), "Key?", *SHORT]) == 0
    assert "not heard" in capsys.readouterr().err
    assert app.run(["ask", str(long), "Key?", "--strict", *SHORT]) == app.FAILED
    assert "long.wav lasts 9.0 s" in capsys.readouterr().err


def test_chance_has_a_seed_that_is_told(song: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = ["ask", str(song), "Key?", "--temperature", "1.5", *SHORT]
    assert app.run(chance) == 0
    out, err = capsys.readouterr()
    seed = err.split("seed: ")[1].splitlines()[0]
    assert app.run([*chance, "--seed", seed]) == 0
    assert capsys.readouterr().out == out


def test_F117_ctrl_c_ends_an_answer(
    song: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Listener.stream

    def interrupted(self: Listener, *args: Any, **told: Any) -> Any:
        answer = stream(self, *args, **told)
        signal.raise_signal(signal.SIGINT)
        return answer

    monkeypatch.setattr(Listener, "stream", interrupted)
    assert app.run(["ask", str(song), "Key?", "--max-tokens", "400"]) == app.INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["Key?", "--json"], "--json"),
        (["--json", "--temperature", "1"], "temperature"),
        (["--json", "--long", "map"], "long"),
        (["Key?", "--temperature", "nan"], "temperature"),
        (["Key?", "--max-tokens", "0"], "max_new_tokens"),
        (["Key?", "--seed", "3"], "seed"),
        (["Key?", "--part-seconds", "3"], "part_seconds"),
        (["Key?", "--long", "map", "--strict"], "strict"),
        ([" "], "question"),
    ],
)
def test_misuse_is_told_before_anything_is_loaded(
    song: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], named: str
) -> None:
    monkeypatch.setattr("antiphon.tasks.load.load", lambda *a, **k: pytest.fail("loaded"))
    assert app.run(["ask", str(song), *arguments]) == app.MISUSED
    assert named in capsys.readouterr().err


def test_what_is_not_there_or_does_not_listen_is_told_before_anything_is_loaded(
    song: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], checkpoint: Path
) -> None:
    monkeypatch.setattr("antiphon.tasks.load.load", lambda *a, **k: pytest.fail("loaded"))
    assert app.run(["ask", "none.wav", "Key?"]) == app.FAILED
    assert "none.wav" in capsys.readouterr().err
    assert app.run(["ask", str(song), "Key?", "--model", str(checkpoint)]) == app.FAILED
    assert "musicflamingo" in capsys.readouterr().err
    monkeypatch.delenv("ANTIPHON_MODEL")
    monkeypatch.setattr("antiphon.cli.ask.built_in", lambda name: None)
    assert app.run(["ask", str(song), "Key?"]) == app.MISUSED
    assert "no model was named" in capsys.readouterr().err


def test_the_model_that_came_with_the_package_answers_where_none_is_named(
    song: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ANTIPHON_MODEL")
    monkeypatch.setattr("antiphon.cli.ask.built_in", lambda name: song.parent)
    assert ask.model_name(None) == "antiphon/music-flamingo-mini"
    assert "antiphon/music-flamingo-mini" in capsys.readouterr().err
    assert ask.model_name("other") == "other"
    assert not capsys.readouterr().err
