"""``antiphon bench``."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from antiphon.cli.app import run
from antiphon.tasks import comparison as module
from antiphon.tasks.machine import Machine


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little memory to read, and a second of codes."""
    monkeypatch.setattr(module, "CODEC_SECONDS", 1.0)
    here = Machine.here
    monkeypatch.setattr(module.Machine, "here", lambda threads: here(threads, read_bytes=1 << 20))


def test_a_checkpoint_is_measured_beside_another_library(checkpoint: Path, capsys: Any) -> None:
    call = ["bench", str(checkpoint), "--steps", "8", "--kinds", "fp32", "--beside", "transformers", "--threads", "1"]
    assert run([*call, "--json"]) == 0
    told = capsys.readouterr()
    record = json.loads(told.out)
    assert [(row["library"], row["kind"]) for row in record["figures"]] == [
        ("antiphon", "fp32"),
        ("transformers", "fp32"),
    ]
    for row in record["figures"]:
        assert all(row[name] > 0 for name in ("ms_per_step", "limit_ms", "share_of_limit", "whole_s", "first_sound_s"))
    assert [row["library"] for row in record["codecs"]] == ["antiphon", "transformers"]
    assert record["machine"]["read_gb_s"] > 0
    assert record["versions"].keys() == {"antiphon", "torch", "transformers"}
    assert "transformers fp32, round 1 of 1" in told.err


def test_the_table_shows_every_figure_and_the_ratio(
    checkpoint: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(library: str, request: Any) -> dict[str, Any]:
        figures = {"load_s": 1.0, "ms_per_step": 80.0, "generate_s": 9.0, "sound_s": 2.0, "first_sound_s": 0.5}
        if request.kind == "int4":
            figures |= {"ms_per_step": 16.0, "generate_s": 2.0}
        codec = {"decode_s": 0.25, "decode_mib": None if library == "antiphon" else 7.2} if request.codec_s else {}
        return {**figures, "peak_mib": 321.4, **codec}

    monkeypatch.setattr(module, "measure", measured)
    assert run(["bench", str(checkpoint), "--kinds", "fp32, int4", "--beside", "transformers"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "transformers" in told[0]
    assert "GB/s" in told[1]
    rows = [line.split() for line in told if line.startswith(("fp32", "int4"))]
    assert [row[:4] for row in rows] == [
        ["fp32", "antiphon", "80.0", "ms"],
        ["fp32", "transformers", "80.0", "ms"],
        ["int4", "antiphon", "16.0", "ms"],
    ]
    assert rows[2][5:] == ["1.00", "s", "0.50", "s", "321", "MiB", "5.00x"]
    assert told[-2:] == [
        "codec, antiphon: 1 s decoded in 0.25 s",
        "codec, transformers: 1 s decoded in 0.25 s, 7 MiB beside the model",
    ]


def test_another_library_that_is_not_there_is_one_line(
    checkpoint: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run(["bench", str(checkpoint), "--beside", "transformers"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: transformers is not installed here.")
    assert told.count("\n") == 1
