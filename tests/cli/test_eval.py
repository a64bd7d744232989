"""``antiphon eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antiphon import Audio
from antiphon.cli.app import run
from antiphon.evaluation.classifier import Classifier
from antiphon.evaluation.timbre import timbre_of
from antiphon.tasks.transcoder import Transcoder
from antiphon.training.coded_format import CodedFormat, CodedItem
from antiphon.training.coded_music import CodedMusic

from ..evaluation.songs import RATE_HZ, chords, clicks

SECONDS = "2"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of four prompts with their real pieces, the last of which is to be gone on from."""
    monkeypatch.chdir(tmp_path)
    rows: list[dict[str, Any]] = []
    for number, bpm in enumerate([100, 120, 140, 150]):
        drums = number % 2 == 0
        sound = clicks(bpm, seconds=6) if drums else chords([0, 3, 4, 0, 0, 0], number, "major")
        Audio(sound, RATE_HZ).save(f"{number}.flac")
        asked = {"style": "drums", "tempo_bpm": bpm} if drums else {"style": "chords", "tonic": number, "mode": "major"}
        rows.append({"text": f"piece {number}", "reference": f"{number}.flac", **asked})
    rows[3] |= {"reference": None, "continue_from": "3.flac"}
    _write(rows)
    examples = [clicks(bpm, seconds=3) for bpm in (90, 130)] + [chords([0, 1, 4], t, "minor") for t in (0, 5)]
    features = torch.stack([timbre_of(example, RATE_HZ) for example in examples])
    Path("judges").mkdir()
    Classifier.fit(features, ["drums", "drums", "chords", "chords"]).save("judges/style.safetensors")


def _write(rows: list[dict[str, Any]]) -> None:
    Path("held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _run(*arguments: str) -> int:
    return run(["eval", *arguments, "--prompts", "held_out.jsonl", "-o", "out"])


def _figures(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {table["title"]: {row["name"]: row for row in table["rows"]} for table in report["tables"]}


def test_pieces_are_made_and_judged_beside_chance_and_real_ones(checkpoint: Path, capsys: Any) -> None:
    made = [str(checkpoint), "--seconds", SECONDS, "--prompt-seconds", "1", "--device", "cpu", "--batch", "2"]
    assert _run(*made, "--classifiers", "judges", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(Path("out/report.json").read_text())
    figures = _figures(told)
    asked = figures["What was asked for"]
    assert asked["style right"]["renders"]["value"] == 1.0
    assert asked["style right"]["pieces"]["clips"] == 3
    assert set(asked["style right"]) >= {"pieces", "by chance", "renders", "renders after the codec", "goal"}
    assert figures["Going on from a recording"]["key right"]["renders"]["value"] == 1.0
    assert figures["The codec"]["mel distance"]["all codebooks"]["clips"] == 4
    assert [sorted(path.name for path in Path("out").glob(kind)) for kind in ("*.html", "*.md")] == [
        ["index.html"],
        ["report.md"],
    ]
    seconds = [Audio.load(f"out/pieces/000{n}.wav").seconds for n in (1, 2, 3, 4)]
    assert seconds == [2.0, 2.0, 2.0, 3.0]
    assert told["clips"][0]["asked"] == {"style": "drums", "tempo_bpm": 100}


def test_sounds_that_exist_are_judged_without_a_model(capsys: Any) -> None:
    Path("sounds").mkdir()
    for number in range(4):
        Path(f"{number}.flac").rename(f"sounds/{number}.flac")
    rows = [json.loads(line) for line in Path("held_out.jsonl").read_text().splitlines()]
    _write([{name: row[name] for name in row if name not in ("reference", "continue_from")} for row in rows])
    assert _run("--sounds", "sounds", "--classifiers", "judges") == 0
    told = capsys.readouterr()
    assert "| tempo right | 100 % " in told.out
    assert "| key right | 100 % " in told.out
    assert told.out.splitlines()[-1] == "out/index.html"
    report = _figures(json.loads(Path("out/report.json").read_text()))
    assert list(report) == ["What was asked for", "What is wrong with the sound"]
    # the two pieces with tempos are wrong for each other
    assert report["What was asked for"]["tempo right"]["by chance"]["value"] == 0.0


def test_copies_of_training_pieces_are_found(checkpoint: Path, capsys: Any) -> None:
    _write([{"text": "a copy"}, {"text": "none"}])
    Path("sounds").mkdir()
    for number in range(2):
        Path(f"{number}.flac").rename(f"sounds/{number}.flac")
    codes = Transcoder.load(checkpoint, device="cpu").encode("sounds/0.flac")
    format = CodedFormat(
        codebooks=codes.codebooks,
        codebook_size=codes.codebook_size,
        sampling_rate=codes.sampling_rate,
        hop_samples=codes.hop_samples,
    )
    CodedMusic.write("coded", [CodedItem(codes.codes)], format=format)
    assert _run(str(checkpoint), "--sounds", "sounds", "--training", "coded", "--device", "cpu", "--json") == 0
    row = _figures(json.loads(capsys.readouterr().out))["The nearest training passage"]
    assert row["equal codes, most"]["pieces"]["value"] == 1.0
    assert row["equal codes, on average"]["pieces"]["value"] < 1.0


def test_a_melody_is_judged_beside_the_same_piece_without_it(melody_checkpoint: Path, capsys: Any) -> None:
    _write([{"text": f"tune {n}", "melody": f"{n}.flac"} for n in (1, 3)] + [{"text": "no tune"}])
    assert _run(str(melody_checkpoint), "--seconds", SECONDS, "--device", "cpu", "--json") == 0
    row = _figures(json.loads(capsys.readouterr().out))["Following a melody"]["chroma similarity"]
    assert {row[name]["clips"] for name in ("pieces", "the same without the melody")} == {2}
    assert sorted(path.name for path in Path("out/without-melody").iterdir()) == ["0001.wav", "0002.wav"]
    led, unled = (Audio.load(f"out/{folder}/0001.wav") for folder in ("pieces", "without-melody"))
    assert led.seed == unled.seed == 1
    assert not np.array_equal(led.samples, unled.samples)


@pytest.mark.parametrize(
    ("arguments", "hint", "status"),
    [
        ([], "nothing to judge", 2),
        (["--sounds", "nowhere"], "no folder", 2),
        (["--sounds", "judges", "--quantize", "int8"], "nothing is made", 2),
        (["--sounds", "judges", "--seed", "3"], "nothing is made", 2),
        (["--sounds", "judges"], "1 files in judges for 4 prompts", 1),
        (["--sounds", "judges", "--classifiers", "."], "neither style.safetensors nor", 2),
        (["--sounds", "judges", "--training", "nowhere"], "nowhere", 1),
        (["nowhere/at-all"], "nowhere/at-all", 1),
    ],
)
def test_what_cannot_be_judged_is_one_line(arguments: list[str], hint: str, status: int, capsys: Any) -> None:
    assert _run(*arguments) == status
    told = capsys.readouterr().err
    assert hint in told
    assert told.count("\n") == 1
