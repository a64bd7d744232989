"""Adapters by PEFT: writes goldens/adapters, and opens with PEFT what antiphon writes.

It runs in an environment with PEFT and our own environment behind it, and compares both ways in one run.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import peft
import tiny_adapters as tiny
import torch
import transformers
from safetensors.torch import save_file

import antiphon

FOLDER = Path(__file__).parent / "goldens" / "adapters"
TOLERANCE = 1e-4


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


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    plain = tiny.logits(tiny.composite(transformers))
    answers = {"plain": plain}
    for case, settings in tiny.CASES.items():
        theirs = peft.get_peft_model(tiny.composite(transformers), peft.LoraConfig(**settings)).eval()
        fill(theirs)
        answers[case] = tiny.logits(theirs)
        theirs.save_pretrained(FOLDER / case)
        (FOLDER / case / "README.md").unlink(missing_ok=True)
        ours = tiny.composite(antiphon)
        ours.load_adapter(FOLDER / case)
        distance(f"{case}, read by antiphon", tiny.logits(ours), answers[case])
        fresh = tiny.composite(antiphon)
        fresh.add_adapter(peft.LoraConfig(**settings))
        fill(fresh)
        with tempfile.TemporaryDirectory() as folder:
            fresh.save_adapter(folder)
            back = peft.PeftModel.from_pretrained(tiny.composite(transformers), folder).eval()
            distance(f"{case}, written by antiphon", tiny.logits(back), tiny.logits(fresh))
    save_file(answers, FOLDER / "logits.safetensors", {"peft": peft.__version__})


main()
