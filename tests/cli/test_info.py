"""``antiphon info``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from antiphon.cli.app import run
from antiphon.models.musicgen import MusicgenForConditionalGeneration
from antiphon.tasks.adapter_summary import AdapterSummary
from antiphon.tasks.summary import summarise


def test_a_checkpoint_is_told_in_lines(checkpoint: Path, capsys: Any) -> None:
    assert run(["info", str(checkpoint)]) == 0
    told = capsys.readouterr().out
    summary = summarise(checkpoint)
    for part in summary.parts:
        assert part.name in told
        assert f"{part.parameters:,}" in told
    for text in ("musicgen", "apache-2.0", "float32", "model.safetensors", "32000 Hz, mono", "4 codebooks"):
        assert text in told
    for text in ("50 frames a second", "200 tokens a second", "fp32", "bf16", "int8", "int4", "cache of 30 s"):
        assert text in told


def test_a_rounded_checkpoint_is_told_as_such(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    MusicgenForConditionalGeneration.from_pretrained(checkpoint, quantize="int8").save_pretrained(tmp_path)
    assert run(["info", str(checkpoint)]) == 0
    assert "rounded" not in capsys.readouterr().out
    assert run(["info", str(tmp_path)]) == 0
    assert "rounded       int8, groups of 64" in capsys.readouterr().out


def test_a_checkpoint_is_told_in_json(checkpoint: Path, capsys: Any) -> None:
    assert run(["info", str(checkpoint), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(summarise(checkpoint).to_dict()))


def test_a_licence_cannot_steer_the_terminal(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "README.md").unlink()
    (tmp_path / "README.md").write_text('---\nlicense: "mit\\e[2J"\n---\n')
    assert run(["info", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "mit\\x1b[2J" in told
    assert "\x1b" not in told


def test_a_folder_that_is_no_checkpoint_is_one_line(tmp_path: Path, capsys: Any) -> None:
    assert run(["info", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1


def test_an_adapter_is_told_in_lines_and_in_json(checkpoint: Path, tmp_path: Path, capsys: Any) -> None:
    model = MusicgenForConditionalGeneration.from_pretrained(checkpoint)
    model.add_adapter({"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_heads.0"]})
    model.save_adapter(tmp_path)
    assert run(["info", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    for text in ("LoRA of rank 4, alpha 8", str(checkpoint), "q_proj", "decoder.lm_heads.0", "--adapter"):
        assert text in told
    assert run(["info", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == asdict(AdapterSummary.of(tmp_path))
