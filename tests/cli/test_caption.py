"""``antiphon caption``: folders described, resumed, with bad files named."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.audio.clip import Audio
from antiphon.cli import app
from antiphon.cli.caption_progress import CaptionProgress, progress_line
from antiphon.tasks.caption_file import CaptionFile
from antiphon.tasks.listener import Listener
from antiphon.training.manifest import Manifest

RATE = 16_000


@pytest.fixture
def music(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listening_checkpoint: Path, listener: Listener, ctrl_c: None
) -> Path:
    """Five recordings and a damaged one in a folder below the current one; the model is loaded already."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODEL", str(listening_checkpoint))
    monkeypatch.setattr("antiphon.tasks.load.load", lambda *args, **kwargs: listener)
    folder = Path("music")
    folder.mkdir()
    for number in range(5):
        noise = np.random.default_rng(number).standard_normal(3000 + 500 * number).astype(np.float32)
        Audio(0.1 * noise, RATE).save(folder / f"{number}.wav")
    (folder / "3b.wav").write_bytes(b"RIFF")
    return folder


def run(*arguments: str) -> int:
    return app.run(["caption", "music", "--max-tokens", "4", "--together", "2", *arguments])


def lines(path: str = "captions.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_bytes().splitlines()]


def test_a_folder_becomes_lines_and_a_bad_file_is_named(
    music: Path, listener: Listener, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--question", "Key?") == app.FAILED
    out, err = capsys.readouterr()
    assert out == "captions.jsonl\n"
    assert [line["path"] for line in lines()] == [f"music/{number}.wav" for number in range(5)]
    assert lines()[3]["text"] == listener.ask(music / "3.wav", "Key?", max_new_tokens=4).text
    assert "music/3b.wav: " in err
    assert "5 of 6 recordings described, 1 left out" in err


def test_what_is_there_is_not_described_again(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (music / "3b.wav").unlink()
    assert run() == 0
    before = Path("captions.jsonl").read_bytes()
    Audio(np.full(4000, 0.1, np.float32), RATE).save(music / "9.wav")
    with Path("captions.jsonl").open("ab") as torn:
        torn.write(b'{"path": "music/9.wav", "te')
    capsys.readouterr()
    assert run() == app.FAILED
    assert "--resume" in capsys.readouterr().err
    assert run("--resume") == 0
    assert "5 of 6 recordings have their caption already" in capsys.readouterr().err
    assert Path("captions.jsonl").read_bytes().startswith(before)
    assert [line["path"] for line in lines()][5:] == ["music/9.wav"]
    assert run("--resume") == 0
    assert len(lines()) == 6


def test_lines_of_another_question_or_model_are_not_mixed(music: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--question", "Key?")
    assert run("--resume", "--question", "Tempo?") == app.FAILED
    assert "question 'Key?'" in capsys.readouterr().err


def test_F117_ctrl_c_keeps_what_is_described(
    music: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add = CaptionFile.add

    def interrupted(self: CaptionFile, record: dict[str, Any]) -> None:
        add(self, record)
        if record["path"] == "music/1.wav":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(CaptionFile, "add", interrupted)
    assert run() == app.INTERRUPTED
    assert "--resume makes the rest" in capsys.readouterr().err
    assert [line["path"] for line in lines()] == ["music/0.wav", "music/1.wav"]
    run("--resume")
    assert [line["path"] for line in lines()] == [f"music/{number}.wav" for number in range(5)]


def test_captions_are_a_data_set_and_stand_beside_their_sounds(music: Path) -> None:
    (music / "3b.wav").unlink()
    assert run("--sidecars", "-o", "texts.jsonl", "--question", "What is it?") == 0
    told = {line["path"]: line["text"] for line in lines("texts.jsonl")}
    data = Manifest.read("texts.jsonl")
    assert {data.item(place).name: data.item(place).texts for place in range(len(data))} == {
        path: (text,) if text.strip() else () for path, text in told.items()
    }
    for path in told:
        beside = json.loads(Path(path).with_suffix(".json").read_text(encoding="utf-8"))
        assert beside["question"] == "What is it?"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (["--together", "0"], "--together"),
        (["--ray", "0"], "--ray"),
        (["--temperature", "nan"], "temperature"),
        (["--question", " "], "question"),
    ],
)
def test_misuse_is_told_before_anything_is_loaded(
    music: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changed: list[str], named: str
) -> None:
    monkeypatch.setattr("antiphon.tasks.load.load", lambda *a, **k: pytest.fail("loaded"))
    assert run(*changed) == app.MISUSED
    assert named in capsys.readouterr().err
    assert not Path("captions.jsonl").exists()


def test_an_empty_folder_needs_no_model(music: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.tasks.load.load", lambda *a, **k: pytest.fail("loaded"))
    Path("empty").mkdir()
    assert app.run(["caption", "empty"]) == 0
    assert app.run(["caption", "nowhere"]) == app.FAILED


def test_progress_tells_files_a_minute_and_the_time_that_is_left() -> None:
    assert progress_line(30, 0, 60, 60.0) == "30 of 60 described, 30.0 a minute, 1 min left"
    assert progress_line(117, 3, 4000, 600.0) == "117 of 4000 described, 3 left out, 12.0 a minute, 5 h 23 min left"
    assert progress_line(0, 0, 5, 1.0) == "0 of 5 described, 0.0 a minute, 0 min left"


def test_a_line_a_minute_where_nobody_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("antiphon.cli.caption_progress.time.monotonic", lambda: now[0])
    for wanted in (True, False):
        with CaptionProgress(100, wanted=wanted) as progress:
            for made in range(1, 10):
                now[0] += 25.0
                progress.tell(made, 0)
    assert capsys.readouterr().err.splitlines() == [
        "3 of 100 described, 2.4 a minute, 40 min left",
        "6 of 100 described, 2.4 a minute, 39 min left",
        "9 of 100 described, 2.4 a minute, 38 min left",
    ]
