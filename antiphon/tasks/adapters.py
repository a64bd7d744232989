"""Adapters of the short way: from folders and scales to a model that has them, and what its pieces say of them."""

from __future__ import annotations

import hashlib
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import AdapterError
from antiphon.models.pretrained import PreTrainedModel
from antiphon.models.quantized import rounded_layers

AdapterName = str | os.PathLike[str]


@dataclass(frozen=True)
class ScaledAdapter:
    """A folder of an adapter or its name on the Hub, and how much it counts.

    Raises:
        AdapterError: the scale is no finite number.
    """

    name: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.scale, bool) or not isinstance(self.scale, numbers.Real) or not math.isfinite(self.scale):
            raise AdapterError(f"a scale of {self.scale!r} for the adapter {self.name!r}", expected="a number")

    @classmethod
    def of(cls, given: ScaledAdapter | AdapterName | Sequence[Any] | Mapping[str, Any]) -> ScaledAdapter:
        """One of these, a name alone, a pair of a name and a scale, or the record that ``put_on`` gives."""
        if isinstance(given, cls):
            return given
        if isinstance(given, str | os.PathLike):
            return cls(os.fspath(given))
        pair: Any = (given.get("name"), given.get("scale", 1.0)) if isinstance(given, Mapping) else given
        if not isinstance(pair, Sequence) or len(pair) != 2 or not isinstance(pair[0], str | os.PathLike):
            raise AdapterError(f"an adapter given as {given!r}", expected="a folder, or a pair of a folder and a scale")
        return cls(os.fspath(pair[0]), pair[1])

    @classmethod
    def parsed(cls, text: str) -> ScaledAdapter:
        """From ``FOLDER`` or ``FOLDER:SCALE``."""
        name, mark, scale = text.rpartition(":")
        try:
            return cls(name, float(scale)) if mark and name else cls(text)
        except ValueError as error:
            if isinstance(error, AdapterError):
                raise
            return cls(text)  # a colon in the name


def put_on(model: PreTrainedModel, adapters: Sequence[ScaledAdapter], **access: Any) -> list[dict[str, Any]]:
    """Loads adapters into a model that is there to be used, and gives the record of each: name, scale and checksum.

    They are merged into the weights, so that they cost nothing, unless weights are in 4 or 8 bits.

    Args:
        access: how to reach the Hub.

    Raises:
        AdapterError: one does not fit the model. CheckpointError: one is missing or damaged.
    """
    records = []
    for number, adapter in enumerate(adapters):
        model.load_adapter(adapter.name, str(number), **access)
        checksum = checksum_of(model.get_adapter_state_dict(str(number)))
        records.append({"name": adapter.name, "scale": adapter.scale, "sha256": checksum})
    if not records:
        return records
    model.set_adapter([str(number) for number in range(len(adapters))], [adapter.scale for adapter in adapters])
    if not rounded_layers(model):
        model.merge_adapters(keep_base=False)
    return records


def checksum_of(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names and numbers."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
