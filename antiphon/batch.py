"""What processors hand to models: a dict of arrays that also answers to attributes and moves between devices."""

from __future__ import annotations

from collections import UserDict
from enum import StrEnum
from typing import Any

import numpy as np
import torch

from antiphon.errors import ParamError


class TensorType(StrEnum):
    """The array types a processor can return."""

    PYTORCH = "pt"
    NUMPY = "np"


def to_array_type(value: Any, kind: str | TensorType) -> Any:
    """``value`` (nested lists, arrays or tensors) as a torch tensor (``"pt"``) or a NumPy array (``"np"``)."""
    try:
        kind = TensorType(kind)
    except ValueError:
        raise ParamError(f"return_tensors={kind!r}", expected="'pt' (torch) or 'np' (NumPy)") from None
    if kind is TensorType.PYTORCH:
        if isinstance(value, torch.Tensor):
            return value
        if isinstance(value, (list, tuple)) and value and isinstance(value[0], torch.Tensor):
            return torch.stack(list(value))
        return torch.from_numpy(np.ascontiguousarray(_stacked(value)))
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().numpy()
    return _stacked(value)


def _stacked(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ParamError(
            "the items of the batch have different lengths",
            expected="equal lengths when tensors are asked for",
            fix="Pass padding=True",
        ) from error


class BatchFeature(UserDict[str, Any]):
    """A dict whose entries are also attributes, with ``to(device, dtype)``.

    ``to`` moves every tensor, and casts floating point tensors only: ids and masks keep their type.
    """

    def __init__(self, data: dict[str, Any] | None = None, tensor_type: str | TensorType | None = None) -> None:
        super().__init__(data or {})
        self.convert_to_tensors(tensor_type)

    def __getattr__(self, name: str) -> Any:
        # copy and pickle ask for attributes before `data` exists
        if name == "data" or name.startswith("__"):
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no entry {name!r}; it has {sorted(self.data)}") from None

    def convert_to_tensors(self, tensor_type: str | TensorType | None = None) -> BatchFeature:
        """Converts every entry in place; ``None`` leaves them as they are."""
        if tensor_type is not None:
            for key, value in self.data.items():
                self.data[key] = to_array_type(value, tensor_type)
        return self

    def to(self, *args: Any, **kwargs: Any) -> BatchFeature:
        """Moves the tensors in place (``device``, ``dtype`` in either order or by name) and returns itself."""
        device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
        for arg in args:
            if isinstance(arg, torch.dtype):
                dtype = arg
            else:
                device = arg
        for key, value in self.data.items():
            if isinstance(value, torch.Tensor):
                cast = dtype if dtype is not None and value.is_floating_point() else None
                self.data[key] = value.to(device=device, dtype=cast, **kwargs)
        return self


class BatchEncoding(BatchFeature):
    """What a tokenizer returns: ``input_ids`` (B, T) int64 and ``attention_mask`` (B, T) int64, 1 for real tokens."""
