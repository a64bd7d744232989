"""The pages for people keep their word: commands and Python run in order, pictures and defaults are real."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from antiphon import (
    Audio,
    EncodecConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    T5Config,
)
from antiphon.cli import app
from antiphon.tasks import summary
from antiphon.tasks.settings import Settings

ROOT = Path(__file__).parents[2]
MUSIC = (ROOT / "docs" / "making-music.md").read_text(encoding="utf-8")
KNOBS = (ROOT / "docs" / "knobs.md").read_text(encoding="utf-8")
PUBLISHED, MELODY = "facebook/musicgen-small", "facebook/musicgen-melody"

# What sets up a machine or needs the network (those verbs are held to their help), and what other tests run.
_NOT_RUN = ("python3 -m venv", ". .venv", "pip install", "export ", "antiphon pull", "python examples/")
_SHORTER = 100  # times shorter than on the page


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def _lines(text: str) -> list[str]:
    return [line for block in _blocks(text, "sh") for line in block.splitlines()]


def _short(code: str) -> str:
    """The same with its seconds divided."""
    return re.sub(r'((?:--|"?\b)seconds(?:=|"?: | ))(\d+)', lambda m: f"{m[1]}{int(m[2]) / _SHORTER}", code)


def _runnable(line: str, checkpoint: Path, melody_checkpoint: Path) -> str:
    line = _short(line.replace(PUBLISHED, str(checkpoint)).replace(MELODY, str(melody_checkpoint)))
    if line.startswith("antiphon generate") and "--seconds" not in line:
        return line.replace("antiphon generate", "antiphon generate --seconds 0.2", 1)
    return line


@pytest.fixture(scope="module")
def studio(checkpoint: Path, melody_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a player that keeps what it hears, after all commands of the page."""
    folder = tmp_path_factory.mktemp("studio")
    programs = folder / "programs"
    programs.mkdir()
    for name, does in (
        ("antiphon", f'exec "{sys.executable}" -m antiphon "$@"'),
        ("ffplay", "cat > played.wav"),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{does}\n")
        (programs / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTIPHON_MODEL", str(checkpoint))
        patch.setenv("PATH", str(programs), prepend=os.pathsep)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.chdir(folder)
        for line in _lines(MUSIC):
            if not line.startswith(_NOT_RUN):
                _run(_runnable(line, checkpoint, melody_checkpoint))
        yield folder


def _run(line: str) -> None:
    words = shlex.split(line)
    if words[0] == "antiphon" and "|" not in words:
        assert app.run(words[1:]) == 0, line
        return
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stderr}"


def test_every_file_that_the_page_says_its_commands_make_is_there(studio: Path) -> None:
    made = [re.search(r" -o (\S+)", line) for line in _lines(MUSIC)]
    names = {found[1] for found in made if found} - {"-"}
    assert len(names) > 8
    assert {name for name in names if not (studio / name).exists()} == set()
    assert {p.name for p in (studio / "pieces").iterdir()} == {
        *("calm-piano-1.wav", "calm-piano-2.wav", "loud-guitars-3.wav", "loud-guitars-4.wav")
    }


def test_the_player_hears_what_is_kept_beside_it(studio: Path) -> None:
    assert (studio / "played.wav").read_bytes() == (studio / "live.wav").read_bytes()
    assert Audio.load(studio / "live.wav").seconds == pytest.approx(180 / _SHORTER)


def test_a_batch_that_is_resumed_makes_nothing_twice(studio: Path) -> None:
    assert len(list((studio / "batch").glob("*.wav"))) == 3


def test_the_python_of_the_page_runs_in_its_order(studio: Path, checkpoint: Path, melody_checkpoint: Path) -> None:
    names: dict[str, Any] = {}
    for number, block in enumerate(_blocks(MUSIC, "python")):
        block = block.replace(f'"{MELODY}"', repr(str(melody_checkpoint)))
        code = _short(block.replace(f'"{PUBLISHED}"', repr(str(checkpoint))))
        exec(compile(code, f"making-music.md, Python block {number}", "exec"), names)
    assert names["again"].samples.tolist() == names["audio"].samples.tolist()
    assert names["track"].seed == 7
    assert len(names["pieces"]) == 4
    assert names["quartet"].parameters["melody"]["name"] == "track.wav"
    assert Audio.load("rain.flac").seconds == Audio.load("streamed.flac").seconds == 180 / _SHORTER


def test_the_rows_of_the_page_are_a_file_of_prompts(studio: Path) -> None:
    (block,) = _blocks(MUSIC, "json")
    (studio / "rows.jsonl").write_text(_short(block))
    assert app.run(["generate", "--prompts", "rows.jsonl", "-o", "rows/"]) == 0
    assert Audio.load(studio / "rows" / "opening.flac").seed == 4


@pytest.mark.parametrize("text", [MUSIC, KNOBS], ids=["making-music", "knobs"])
def test_every_option_and_verb_that_a_page_names_exists(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    spans = [*re.findall(r"`([^`\n]+)`", text), *(line for line in _lines(text) if "antiphon" in line)]
    verbs = {words[1] for span in spans if (words := span.split())[:1] == ["antiphon"] and words[1:]} - {"--version"}
    for verb in sorted(verbs | {"generate"}):
        assert app.run([verb, "--help"]) == 0
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", capsys.readouterr().out)) | {"--version"}
    assert {option for span in spans for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", span)} <= known


@pytest.mark.parametrize(
    ("name", "layers", "width"),
    [
        ("small", 24, 1024),
        ("medium", 48, 1536),
        ("large", 48, 2048),
        ("melody", 48, 1536),
        ("melody-large", 48, 2048),
    ],
)
def test_the_table_of_models_says_what_info_says(
    name: str, layers: int, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = (MusicgenConfig, MusicgenDecoderConfig)
    kind, decoder = (MusicgenMelodyConfig, MusicgenMelodyDecoderConfig) if "melody" in name else kinds
    kind(
        text_encoder=T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12),
        audio_encoder=EncodecConfig(
            sampling_rate=32_000,
            target_bandwidths=[2.2],
            upsampling_ratios=[8, 5, 4, 4],
            codebook_size=2048,
            num_filters=64,
            use_causal_conv=False,
            use_conv_shortcut=False,
        ),
        decoder=decoder(
            num_hidden_layers=layers, hidden_size=width, ffn_dim=4 * width, num_attention_heads=width // 64
        ),
    ).save_pretrained(tmp_path)
    monkeypatch.setattr(summary, "_stored", lambda folder, must_exist: ([], {}))  # the weights are not here
    told = summary.summarise(tmp_path)
    sizes = [*(told.weights_bytes[kind] for kind in ("fp32", "bf16", "int8", "int4")), told.cache_bytes["fp32"]]
    row = f"| `facebook/musicgen-{name}` | {float(f'{told.parameters / 1e9:.2g}')} billion | "
    assert row + " | ".join(f"{size / 2**30:.1f} GiB" for size in sizes) + " |" in MUSIC


def test_the_table_of_knobs_has_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]\(\S+\) \| (\S+) \|", KNOBS, flags=re.MULTILINE)
    told, words = dict(rows), {"off": False, "model's": None}
    for field in fields(Settings):
        value = told[field.name]
        assert field.default == (words[value] if value in words else float(value)), field.name


def test_every_picture_is_shown_once_with_a_description_and_they_stay_small() -> None:
    shown = re.findall(r"!\[([^\]]+)\]\(pictures/([\w-]+\.png)\)", KNOBS + MUSIC)
    files = sorted((ROOT / "docs" / "pictures").iterdir())
    assert sorted(name for _, name in shown) == [file.name for file in files]
    assert all(len(description) > 80 for description, _ in shown)
    assert sum(file.stat().st_size for file in files) < 600_000
