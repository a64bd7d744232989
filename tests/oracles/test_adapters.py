"""Adapters that PEFT wrote give the logits that PEFT gave, see docs/oracles.md."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import antiphon

from .goldens import FOLDER

ADAPTERS = FOLDER / "adapters"
CASES = ["names", "pattern", "ranks", "whole", "all"]
TALK_CASES = ["stacks", "stacks_whole"]


def _formulas() -> Any:
    spec = importlib.util.spec_from_file_location("tiny_adapters", FOLDER.parent / "tiny_adapters.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


tiny = _formulas()
ANSWERS = load_file(ADAPTERS / "logits.safetensors")


def near(got: torch.Tensor, wanted: torch.Tensor) -> bool:
    return float((got - wanted).abs().max()) < 1e-4 * float(wanted.abs().max())


def plain(case: str) -> tuple[Any, Any]:
    """The model that a case's adapter is for, and what gives its logits."""
    talks = case in TALK_CASES
    return (tiny.talker(antiphon), tiny.talk_logits) if talks else (tiny.composite(antiphon), tiny.logits)


def test_every_case_has_its_golden_and_is_felt() -> None:
    assert set(tiny.CASES) == set(CASES)
    assert set(tiny.TALK_CASES) == set(TALK_CASES)
    assert set(ANSWERS) == {*CASES, *TALK_CASES, "plain", "talk_plain"}
    for cases, without in ((CASES, "plain"), (TALK_CASES, "talk_plain")):
        model, logits = plain(cases[0])
        assert near(logits(model), ANSWERS[without])
        assert all(float((ANSWERS[case] - ANSWERS[without]).abs().max()) > 0.05 for case in cases)


@pytest.mark.parametrize("case", [*CASES, *TALK_CASES])
def test_what_peft_wrote_gives_the_logits_that_peft_gave(case: str, tmp_path: Path) -> None:
    model, logits = plain(case)
    model.load_adapter(ADAPTERS / case)
    assert near(logits(model), ANSWERS[case])
    model.save_adapter(tmp_path)
    theirs, ours = (load_file(place / "adapter_model.safetensors") for place in (ADAPTERS / case, tmp_path))
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.items())
    model.merge_adapters()
    assert near(logits(model), ANSWERS[case])
    stated = json.loads((tmp_path / "adapter_config.json").read_text())
    settings = json.loads((ADAPTERS / case / "adapter_config.json").read_text())
    assert stated.keys() <= settings.keys()
