"""Files that audiocraft saved, and the parts that they only name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

import antiphon

from ..models import tiny_musicgen as tiny

GOLDENS = Path(__file__).parents[2] / "oracles" / "goldens"
KINDS = ("mono", "stereo", "melody", "training")
MODEL, CODEC = "state_dict.bin", "compression_state_dict.bin"


def golden(kind: str) -> Path:
    """The folder that audiocraft wrote."""
    return GOLDENS / f"audiocraft_{kind}"


def answers(kind: str) -> dict[str, Tensor]:
    """What audiocraft's model was asked and answered."""
    found = load_file(golden(kind) / "answers.safetensors")
    return {name: tensor.long() if tensor.dtype == torch.uint8 else tensor for name, tensor in found.items()}


def write_text_encoder(folder: Path, **changes: Any) -> Path:
    """A T5 of the width that the tiny models were made for, with its tokenizer, in the documents' layout."""
    torch.manual_seed(11)
    sizes = {"vocab_size": 100, "d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, **changes}
    antiphon.T5EncoderModel(antiphon.T5Config(**sizes)).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


def write_codec(folder: Path) -> Path:
    """The tiny codec in the documents' layout."""
    antiphon.EncodecModel.from_pretrained(golden("mono")).save_pretrained(folder)
    return folder


def elsewhere(kind: str, text_encoder: Path, codec: Path) -> dict[str, Path]:
    """The arguments that open a golden."""
    named = {"stereo": {"codec": codec}, "melody": {"codec": codec}, "training": {"codec": golden("mono")}}
    return {"text_encoder": text_encoder, **named.get(kind, {})}


def copied(kind: str, folder: Path) -> Path:
    """A copy of a golden to change, without audiocraft's answers."""
    return Path(shutil.copytree(golden(kind), folder, ignore=shutil.ignore_patterns("answers*")))


def changed(path: Path, change: Callable[[dict[str, Any]], Any], **saving: Any) -> Path:
    """A file of audiocraft's with its content changed in place."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path, **saving)
    return path


def reconfigured(path: Path, old: str, new: str) -> Path:
    """A file of audiocraft's with a piece of its configuration replaced."""

    def replace(content: dict[str, Any]) -> None:
        assert old in content["xp.cfg"], old
        content["xp.cfg"] = content["xp.cfg"].replace(old, new)

    return changed(path, replace)
