"""Starting up: what is imported when, and what it costs.

Costs are processor seconds of a fresh process, best of three: on a quiet machine they are the seconds a person waits,
and neighbours who share the machine do not change them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

_LIMIT_S = 0.3
_HEAVY = ["torch", "numpy"]
_NOT_FOR_CLASSES = {
    "transformers",
    "torchaudio",
    "scipy",
    "av",
    "sphn",
    "huggingface_hub",
    "soundfile",
    "matplotlib",
    "librosa",
    "pytest",
}

_REPORT = """
import json, sys, time
print(json.dumps({{"seconds": time.process_time(), "modules": [n for n in {names!r} if n in sys.modules]}}))
"""
_HELP = """
import contextlib, io, sys
sys.argv = ["antiphon", "--help"]
shown = io.StringIO()
with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
    from antiphon.cli.app import main
    main()
if "generate" not in shown.getvalue():
    raise RuntimeError("no help: " + shown.getvalue())
"""
_CLASSES = """
import time
import torch
started = time.process_time()
import antiphon
antiphon.MusicgenForConditionalGeneration, antiphon.AutoProcessor
print(time.process_time() - started)
"""


def _run(code: str, *arguments: str) -> str:
    # away from the repository, so that the installed package is what is found
    command = [sys.executable, *arguments, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(sys.executable).parent, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _measured(code: str, names: list[str]) -> tuple[float, list[str]]:
    report = json.loads(_run(code + _REPORT.format(names=names)).splitlines()[-1])
    return report["seconds"], report["modules"]


def _own_seconds(code: str) -> float:
    """What ``code`` costs beyond an interpreter that does nothing."""
    nothing = min(_measured("", [])[0] for _ in range(3))
    return min(_measured(code, [])[0] for _ in range(3)) - nothing


@pytest.mark.parametrize(
    "code", ["import antiphon", "import antiphon\ndir(antiphon)", _HELP], ids=["import", "dir", "help"]
)
def test_neither_importing_antiphon_nor_its_help_imports_torch(code: str) -> None:
    assert _measured(code, [*_HEAVY, *sorted(_NOT_FOR_CLASSES)])[1] == []


@pytest.mark.parametrize("code", ["import antiphon", _HELP], ids=["import", "help"])
def test_importing_antiphon_and_its_help_answer_at_once(code: str) -> None:
    assert _own_seconds(code) < _LIMIT_S


def test_the_classes_cost_little_beyond_torch() -> None:
    assert min(float(_run(_CLASSES)) for _ in range(3)) < _LIMIT_S


def test_the_classes_bring_only_what_they_need() -> None:
    assert _measured(_CLASSES, [*_HEAVY, *sorted(_NOT_FOR_CLASSES)])[1] == _HEAVY


def test_every_public_name_can_be_had_and_is_listed() -> None:
    check = partial(_run, "import antiphon; print(sorted(n for n in antiphon.__all__ if getattr(antiphon, n) is None))")
    assert check().strip() == "[]"
    assert _run("from antiphon import *; print(load.__name__, Audio.__name__)").split() == ["load", "Audio"]


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    code = "import antiphon\ntry:\n    antiphon.Musicgem\nexcept AttributeError as error:\n    print(error)"
    assert "Musicgem" in _run(code)


def test_validation_does_not_vanish_under_optimisation() -> None:
    code = (
        "from antiphon import MusicgenDecoderConfig\n"
        "try:\n    MusicgenDecoderConfig(hidden_size=30, num_attention_heads=4).validate()\n"
        "except ValueError as error:\n    print('refused', __debug__)"
    )
    assert _run(code, "-O").split() == ["refused", "False"]
