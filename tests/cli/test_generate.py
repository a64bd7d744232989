"""``antiphon generate``: files, names, seeds, JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon import Audio, LoraConfig, MusicgenForConditionalGeneration, load
from antiphon.checkpoints import built_in
from antiphon.cli import progress
from antiphon.cli.app import run


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODEL", str(checkpoint))


def test_a_prompt_becomes_a_file_named_after_it_and_its_seed(capsys: Any, compose: Any) -> None:
    assert run(["generate", "calm piano", "--seconds", "0.3", "--seed", "7", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "calm-piano-7.wav\n"
    piece, want = Audio.load("calm-piano-7.wav"), compose("calm piano", seconds=0.3, seed=7)
    assert (piece.prompt, piece.seed, piece.parameters["guidance"], len(piece)) == ("calm piano", 7, 3.0, 9600)
    np.testing.assert_allclose(piece.samples, want.samples, atol=2**-15)


def test_several_prompts_and_variations_become_several_files(capsys: Any, compose: Any) -> None:
    command = ["generate", "piano", "guitar", "--n", "2", "--seconds", "0.2", "--seed", "3", "-o", "out/", "--json"]
    assert run([*command, "--device", "cpu"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["path"] for record in records] == [
        "out/piano-3.wav",
        "out/piano-4.wav",
        "out/guitar-5.wav",
        "out/guitar-6.wav",
    ]
    for record in records:
        assert record["seconds"] == 0.2
        assert record["realtime_factor"] > 0
        assert record["sampling_rate"] == 32_000
        want = compose(record["prompt"], seconds=0.2, seed=record["seed"])
        np.testing.assert_allclose(Audio.load(record["path"]).samples, want.samples, atol=2**-15)


def test_many_prompts_run_in_groups_without_changing_their_seeds(capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("antiphon.cli.commission._TOGETHER", 2)
    assert run(["generate", "a", "b", "c", "--seconds", "0.1", "--seed", "5", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.split() == ["a-5.wav", "b-6.wav", "c-7.wav"]


def test_without_a_seed_the_drawn_one_is_in_the_name(capsys: Any) -> None:
    assert run(["generate", "a", "--seconds", "0.1", "--device", "cpu"]) == 0
    name = capsys.readouterr().out.strip()
    assert name == f"a-{Audio.load(name).seed}.wav"


def test_without_chance_there_is_no_seed(capsys: Any) -> None:
    assert run(["generate", "a", "--seconds", "0.1", "--temperature", "0", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "a.wav\n"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_the_suffix_says_the_format_and_tags_are_in_it(suffix: str, capsys: Any) -> None:
    assert run(["generate", "a", "--seconds", "0.3", "--seed", "1", "-o", f"sub/x.{suffix}", "--device", "cpu"]) == 0
    assert Audio.load(f"sub/x.{suffix}").seed == 1


def test_a_recording_is_gone_on_from(capsys: Any, compose: Any) -> None:
    clip = Audio(np.sin(np.arange(8820) / 20) * 0.3, 22_050)
    clip.save("clip.flac")
    command = ["generate", "a", "--seconds", "0.6", "--seed", "1", "--continue", "clip.flac", "--device", "cpu"]
    assert run(command) == 0
    piece = Audio.load("a-1.wav")
    assert piece.parameters["continue_from"]["name"] == "clip.flac"
    want = compose("a", seconds=0.6, seed=1, continue_from="clip.flac")
    np.testing.assert_allclose(piece.samples, want.samples, atol=2**-15)


def test_an_option_for_the_model_wins_over_the_variable(checkpoint: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("ANTIPHON_MODEL", "nowhere/at-all")
    command = ["generate", "a", "--seconds", "0.1", "--seed", "1", "--device", "cpu"]
    assert run([*command, "--model", str(checkpoint)]) == 0
    assert run(command) == 1
    assert "nowhere/at-all" in capsys.readouterr().err


def test_without_a_model_one_line_says_how_to_name_one(capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.delenv("ANTIPHON_MODEL")
    monkeypatch.setattr(built_in, "PLACE", tmp_path)  # an installation without weights
    assert run(["generate", "a"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert all(word in told for word in ("--model", "ANTIPHON_MODEL", "facebook/musicgen-small"))


def test_the_built_in_model_is_used_where_none_is_named_and_says_so(
    checkpoint: Path, melody_checkpoint: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.delenv("ANTIPHON_MODEL")
    monkeypatch.setattr(built_in, "PLACE", tmp_path)
    for name, folder in (("musicgen-mini", checkpoint), ("musicgen-melody-mini", melody_checkpoint)):
        (tmp_path / name).symlink_to(folder)
    out = tmp_path / "a.wav"
    assert run(["generate", "a", "--seconds", "0.1", "--seed", "1", "--device", "cpu", "-o", str(out)]) == 0
    told = capsys.readouterr().err
    assert "antiphon/musicgen-mini" in told
    assert "facebook/musicgen-small" in told
    want = load(checkpoint, device="cpu")("a", seconds=0.1, seed=1)
    np.testing.assert_allclose(Audio.load(out).samples, want.samples, atol=2**-15)
    assert Audio.load(out).model == "antiphon/musicgen-mini"
    led = tmp_path / "b.wav"
    command = ["generate", "a", "--melody", str(out), "--seconds", "0.1", "--seed", "1", "--device", "cpu"]
    assert run([*command, "-o", str(led)]) == 0
    assert "antiphon/musicgen-melody-mini" in capsys.readouterr().err


def test_the_bar_shows_seconds_and_the_real_time_factor(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(progress, "is_live", lambda stream: True)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")  # so that rich takes the captured stream for a terminal
    with progress.progress_bar("[red]a\x1b[35m", pieces=2, seconds=8.0, wanted=True) as tell:
        tell(0.5, 4.0)
    shown = capsys.readouterr().err
    assert "4.0/8.0 s" in shown
    assert "x real time" in shown
    assert "[red]a\\x1b[35m" in shown
    assert "\x1b[35m" not in shown


@pytest.mark.parametrize(("live", "wanted"), [(False, True), (True, False)])
def test_there_is_no_bar_where_nobody_watches_or_wants_one(live: bool, wanted: bool, monkeypatch, capsys) -> None:
    monkeypatch.setattr(progress, "is_live", lambda stream: live)
    with progress.progress_bar("a", pieces=1, seconds=8.0, wanted=wanted) as tell:
        assert tell is None
    assert capsys.readouterr().err == ""


def test_adapters_are_put_on_the_model_with_their_scales(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    model = MusicgenForConditionalGeneration.from_pretrained(checkpoint)
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_adapter(tmp_path / "mine")
    words = ["generate", "calm piano", "--seconds", "0.1", "--seed", "7", "--device", "cpu", "-o", "out.wav"]
    assert run([*words, "--adapter", "mine:0.5", "--adapter", "mine"]) == 0
    told = Audio.load(tmp_path / "out.wav").parameters["adapters"]
    assert [(one["name"], one["scale"]) for one in told] == [("mine", 0.5), ("mine", 1.0)]
    assert run([*words, "--adapter", "yours"]) == 1
    assert "yours" in capsys.readouterr().err
