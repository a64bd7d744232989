"""Adapters by PEFT: writes goldens/adapters, and opens with PEFT what antiphon writes.

It runs in an environment with PEFT and our own environment behind it, and compares both ways in one run.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import peft
import tiny_adapters as tiny
import torch
import transformers
from safetensors.torch import save_file

import antiphon

FOLDER = Path(__file__).parent / "goldens" / "adapters"
TOLERANCE = 1e-4

Tensors = dict[str, torch.Tensor]


def fill(model: torch.nn.Module) -> None:
    """Trained numbers for adapters."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(tiny.numbers(name, tuple(parameter.shape)))
            elif "modules_to_save" in name:
                parameter += 0.3 * tiny.numbers(name, tuple(parameter.shape))


def distance(case: str, got: torch.Tensor, wanted: torch.Tensor) -> None:
    """Ends the run where the two differ."""
    found = float((got - wanted).abs().max())
    print(f"{case}: {found:.1e} of {float(wanted.abs().max()):.2f}")
    if not found < TOLERANCE * float(wanted.abs().max()):
        sys.exit(f"{case} differs")


def compare(make: Callable[[Any], Any], answer: Callable[[Any], torch.Tensor], cases: Mapping[str, Any]) -> Tensors:
    """Writes the adapters of these cases, and opens each side's with the other; gives PEFT's answers."""
    answers = {}
    for case, settings in cases.items():
        theirs = peft.get_peft_model(make(transformers), peft.LoraConfig(**settings)).eval()
        fill(theirs)
        answers[case] = answer(theirs)
        theirs.save_pretrained(FOLDER / case)
        (FOLDER / case / "README.md").unlink(missing_ok=True)
        ours = make(antiphon)
        ours.load_adapter(FOLDER / case)
        distance(f"{case}, read by antiphon", answer(ours), answers[case])
        fresh = make(antiphon)
        fresh.add_adapter(peft.LoraConfig(**settings))
        fill(fresh)
        with tempfile.TemporaryDirectory() as folder:
            fresh.save_adapter(folder)
            back = peft.PeftModel.from_pretrained(make(transformers), folder).eval()
            distance(f"{case}, written by antiphon", answer(back), answer(fresh))
    return answers


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    answers = {"plain": tiny.logits(tiny.composite(transformers))}
    answers |= compare(tiny.composite, tiny.logits, tiny.CASES)
    answers["talk_plain"] = tiny.talk_logits(tiny.talker(transformers))
    answers |= compare(tiny.talker, tiny.talk_logits, tiny.TALK_CASES)
    save_file(answers, FOLDER / "logits.safetensors", {"peft": peft.__version__})


main()
