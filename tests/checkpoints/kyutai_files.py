"""Files that kyutai's package saved, and what changes them for a test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from antiphon.checkpoints.kyutai_folder import CODEC_FILE, MODEL_FILE, ROUNDED_FILE, TOKENIZER_FILE, KyutaiFolder

GOLDENS = Path(__file__).parents[2] / "oracles" / "goldens"
KINDS = ("moshi", "grouped")
CONFIG, CODEC_CONFIG, ADAPTER = "config.json", "mimi.json", "lora.safetensors"
FILES = (CONFIG, CODEC_CONFIG, MODEL_FILE, CODEC_FILE, TOKENIZER_FILE)
WITH_ADAPTER: dict[str, Any] = {"lora": True, "lora_rank": 2, "lora_scaling": 2.0, "lora_name": ADAPTER}
IN_8_BITS: dict[str, Any] = {"quantize": True, "moshi_name": ROUNDED_FILE}


def golden(kind: str) -> Path:
    """The folder that the package's files lie in."""
    return GOLDENS / f"kyutai_{kind}"


def answers(kind: str, part: str) -> dict[str, Tensor]:
    """What the package's ``"language"`` model or its ``"codec"`` was asked and answered; ids as int64."""
    found = load_file(golden(kind) / f"{part}.safetensors")
    return {name: t if t.is_floating_point() else t.long() for name, t in found.items()}


def copied(kind: str, folder: Path, **changes: Any) -> Path:
    """A copy of a golden's files with changes in its configuration."""
    folder.mkdir(exist_ok=True)
    for name in (*FILES, ADAPTER, ROUNDED_FILE):
        if (golden(kind) / name).exists():
            shutil.copy(golden(kind) / name, folder)
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8")) | changes
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    return folder


def read(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder of kyutai's, under the documents' names."""
    original = KyutaiFolder.found(folder)
    assert original is not None
    with original.open() as weights:
        return {name: weights.read(name) for name in weights.names()}
