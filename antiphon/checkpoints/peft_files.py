"""Adapter folders in PEFT's format: ``adapter_config.json`` and ``adapter_model.safetensors``, read and written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antiphon.checkpoints import hub
from antiphon.checkpoints.json_files import read_json, write_json
from antiphon.checkpoints.lora_config import LoraConfig
from antiphon.checkpoints.store import Weights, open_file
from antiphon.checkpoints.weight_writer import write_tensors
from antiphon.errors import AdapterError, CheckpointError

ADAPTER_CONFIG_NAME = "adapter_config.json"
ADAPTER_NAME = "adapter_model.safetensors"
PICKLED_ADAPTER_NAME = "adapter_model.bin"
_PREFIX = "base_model.model."
# the names that tensors have in memory, where the adapter's own name is a part of them, are found in some files
_PART = re.compile(r"(.+)\.(lora_A|lora_B)(?:\.[^.]+)?\.weight")
_WHOLE = re.compile(r"(.+?)(?:\.modules_to_save\.[^.]+)?\.(weight|bias)")
_OTHER_KINDS = ("lora_magnitude_vector", "lora_embedding_", "lora_A.bias", "lora_B.bias", "token_adapter")


@dataclass(frozen=True)
class AdapterFile:
    """What an adapter folder holds.

    Attributes:
        config: of the adapter. low_rank: A (r, I) and B (O, r) by the documented name of a layer; for a stack of K
            layers' weights A (K r, I), layer by layer, and B (O, r K), in which the layers take turns.
        whole: tensors by the documented name of a module that was trained whole, and by their names in it.
    """

    config: LoraConfig
    low_rank: dict[str, tuple[Tensor, Tensor]]
    whole: dict[str, dict[str, Tensor]]

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, by the names that PEFT has for them in a model."""
        named: dict[str, Tensor] = {}
        for name, (down, up) in self.low_rank.items():
            named |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
        for name, own in self.whole.items():
            named |= {f"{name}.{key}": tensor for key, tensor in own.items()}
        return named

    @property
    def parameters(self) -> int:
        """How many numbers the adapter holds."""
        return sum(tensor.numel() for tensor in self.tensors().values())


def is_adapter(name: str | os.PathLike[str]) -> bool:
    """Whether a name is that of a folder on this machine with an adapter in it."""
    return (Path(name).expanduser() / ADAPTER_CONFIG_NAME).is_file()


def read_adapter(name: str | os.PathLike[str], **access: Any) -> AdapterFile:
    """The adapter in a folder, or on the Hub.

    Args:
        access: ``revision, token, cache_dir, local_files_only, subfolder, force_download`` for the Hub.

    Raises:
        AdapterError: of another kind than LoRA, or with tensors that are not finite or not of a LoRA.
        CheckpointError: there is none, or its files are damaged or unsafe.
    """
    folder = hub.locate(name, patterns=[ADAPTER_CONFIG_NAME, ADAPTER_NAME], **access)
    if not (folder / ADAPTER_NAME).exists():
        folder = hub.locate(name, patterns=[ADAPTER_CONFIG_NAME, PICKLED_ADAPTER_NAME], **access)
    path = folder / (ADAPTER_NAME if (folder / ADAPTER_NAME).exists() else PICKLED_ADAPTER_NAME)
    if not (folder / ADAPTER_CONFIG_NAME).exists():
        raise CheckpointError(
            f"{folder} holds no {ADAPTER_CONFIG_NAME}", expected="the folder of an adapter", fix="Check the name"
        )
    config = LoraConfig.of(read_json(folder / ADAPTER_CONFIG_NAME), where=str(folder / ADAPTER_CONFIG_NAME))
    if not path.exists():
        raise CheckpointError(f"{folder} holds neither {ADAPTER_NAME} nor {PICKLED_ADAPTER_NAME}")
    with open_file(path) as weights:
        return _sorted(config, weights, path)


def write_adapter(folder: str | os.PathLike[str], adapter: AdapterFile) -> None:
    """Writes an adapter so that PEFT opens it: the tensors first, then the configuration, each complete or not at all.

    Raises:
        CheckpointError: the folder cannot be written.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"the folder {str(place)[:200]!r} cannot be made: {error.strerror}") from error
    write_tensors(place / ADAPTER_NAME, {_PREFIX + name: tensor for name, tensor in adapter.tensors().items()})
    saved = replace(adapter.config, modules_to_save=sorted(adapter.whole) or None)
    write_json(place / ADAPTER_CONFIG_NAME, saved.to_dict())


def _sorted(config: LoraConfig, weights: Weights, path: Path) -> AdapterFile:
    halves: dict[str, dict[str, Tensor]] = {}
    whole: dict[str, dict[str, Tensor]] = {}
    for name in weights.names():
        inner = name.removeprefix(_PREFIX)
        if other := next((kind for kind in _OTHER_KINDS if kind in inner), None):
            raise AdapterError(f"{path} holds {name}: {other} belongs to another kind of adapter", expected="a LoRA")
        part, own = _PART.fullmatch(inner), _WHOLE.fullmatch(inner)
        found = part or own
        if found is None:
            raise AdapterError(f"{path} holds a tensor {name!r}", expected="lora_A, lora_B and whole modules")
        held = (halves if part else whole).setdefault(found[1], {})
        if found[2] in held:
            raise AdapterError(f"{path} holds {found[2]} of {found[1]} twice", expected="one adapter in a file")
        held[found[2]] = _finite(weights, name, path)
    low_rank = {}
    for layer, half in halves.items():
        down, up = half.get("lora_A"), half.get("lora_B")
        if down is None or up is None:
            raise AdapterError(f"{path} holds one of lora_A and lora_B of {layer}", expected="both")
        _check_rank(config, layer, down, up, path)
        low_rank[layer] = down, up
    if not low_rank and not whole:
        raise AdapterError(f"{path} holds no tensor", expected="an adapter")
    return AdapterFile(config, low_rank, whole)


def _check_rank(config: LoraConfig, layer: str, down: Tensor, up: Tensor, path: Path) -> None:
    rank, many = config.rank_of(layer), config.targets_stack(layer)
    fits = down.dim() == up.dim() == 2 and 0 < down.shape[0] == up.shape[1]
    if not fits or (down.shape[0] % rank if many else down.shape[0] != rank):
        raise AdapterError(
            f"{path}: lora_A and lora_B of {layer} have the shapes {tuple(down.shape)} and {tuple(up.shape)}",
            expected=f"(r, inputs) and (outputs, r) with the rank r={rank} that {ADAPTER_CONFIG_NAME} says"
            + (", times the layers of the stack" if many else ""),
        )


def _finite(weights: Weights, name: str, path: Path) -> Tensor:
    tensor = weights.read(name)
    if not tensor.is_floating_point():
        raise AdapterError(f"{path}: {name} is stored as {tensor.dtype}", expected="floating point numbers")
    if not bool(torch.isfinite(tensor.float()).all()):
        raise AdapterError(f"{path}: {name} holds NaN or infinity", fix="Train it again, with a lower learning rate")
    return tensor
