"""The documented base of feature extractors: named settings, files, and padding of batches."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from antiphon.batch import BatchFeature
from antiphon.checkpoints import hub
from antiphon.checkpoints.audiocraft_folder import Elsewhere
from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
from antiphon.checkpoints.json_files import read_json, write_json
from antiphon.errors import AudioError, CheckpointError, ParamError, ParamTypeError
from antiphon.models.configuration import HUB_ACCESS

FEATURES_NAME = "preprocessor_config.json"
PROCESSOR_NAME = "processor_config.json"

# how one says which padding one wants
_STRATEGIES: dict[Any, str] = {True: "longest", "longest": "longest", "max_length": "max_length"}
_STRATEGIES |= {False: "no", None: "no", "do_not_pad": "no"}


class SequenceFeatureExtractor:
    """Turns sounds of different lengths into one array.

    Args:
        feature_size: values a sample has. sampling_rate: Hz. padding_value: what fills up shorter sounds.
        kwargs: ``padding_side`` (``"right"`` or ``"left"``), ``return_attention_mask``; others are kept.
    """

    model_input_names: ClassVar[list[str]] = ["input_values", "attention_mask"]

    def __init__(self, feature_size: int, sampling_rate: int, padding_value: float, **kwargs: Any) -> None:
        self.feature_size = feature_size
        self.sampling_rate = sampling_rate
        self.padding_value = padding_value
        self.padding_side = kwargs.pop("padding_side", "right")
        self.return_attention_mask = kwargs.pop("return_attention_mask", True)
        if self.padding_side not in ("right", "left"):
            raise ParamError(f"padding_side={self.padding_side!r}", expected="'right' or 'left'")
        for name in ("feature_extractor_type", "processor_class"):
            kwargs.pop(name, None)
        for name, value in kwargs.items():
            setattr(self, name, value)

    def pad(
        self,
        processed_features: Any,
        padding: bool | str | None = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: Any = None,
    ) -> BatchFeature:
        """Brings the items of a batch to one length.

        Args:
            processed_features: a dict whose first model input is a list of arrays (N_i,) or (N_i, C); or a list of
                dicts with one item each.
            padding: ``True`` or ``"longest"``, ``"max_length"``, or ``False``, ``"do_not_pad"``.
            truncation: cut what is longer than ``max_length``.

        Returns:
            The batch, with ``attention_mask`` (B, N) int32 where asked for: 1 for samples, 0 for padding.

        Raises:
            ParamError: no such padding, or lengths that contradict it.
        """
        batch = _as_batch(processed_features)
        name = self.model_input_names[0]
        if name not in batch:
            raise ParamError(f"a batch of {sorted(batch)}", expected=f"an entry {name!r}")
        how = strategy(padding)
        if (how == "max_length" or truncation) and max_length is None:
            raise ParamError("padding='max_length' or truncation=True without max_length", fix="Pass max_length")
        items = [np.asarray(item, dtype=np.float32) for item in batch[name]]
        if truncation:
            items = [item[: padded_length(max_length, pad_to_multiple_of)] for item in items]
        wanted = self.return_attention_mask if return_attention_mask is None else return_attention_mask
        length = None
        if how != "no":
            longest = max((len(item) for item in items), default=0)
            length = padded_length(longest if how == "longest" else max_length, pad_to_multiple_of)
        batch[name] = [self._filled(item, length, self.padding_value) for item in items]
        if wanted:
            ones = [np.ones(len(item), dtype=np.int32) for item in items]
            batch["attention_mask"] = [self._filled(mask, length, 0) for mask in ones]
        return BatchFeature(batch, tensor_type=return_tensors)

    def _filled(self, item: np.ndarray, length: int | None, value: float) -> np.ndarray:
        if length is None or len(item) >= length:
            return item
        gap = (0, length - len(item)) if self.padding_side == "right" else (length - len(item), 0)
        return np.pad(item, [gap, *[(0, 0)] * (item.ndim - 1)], constant_values=value)

    # files

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values."""
        values = {name: copy.deepcopy(value) for name, value in vars(self).items() if not name.startswith("_")}
        return {**values, "feature_extractor_type": type(self).__name__}

    def to_json_string(self) -> str:
        """The JSON text of ``to_dict``."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> list[str]:
        """Writes ``preprocessor_config.json``."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / FEATURES_NAME, self.to_dict())
        return [str(folder / FEATURES_NAME)]

    @classmethod
    def from_dict(cls, values: dict[str, Any], **kwargs: Any) -> Self:
        """An extractor from plain values; ``kwargs`` win over them."""
        return cls(**{**values, **kwargs})

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """The extractor of a checkpoint.

        Raises:
            CheckpointError: the checkpoint has none.
        """
        access = {name: kwargs.pop(name) for name in HUB_ACCESS if name in kwargs}
        folder = hub.locate(pretrained_model_name_or_path, patterns=["*.json"], **access)
        return cls.from_dict(feature_settings(folder), **kwargs)


def feature_settings(folder: Path, elsewhere: Elsewhere | None = None) -> dict[str, Any]:
    """The settings a folder holds: a file of their own, a section of the processor's, or what audiocraft's files say.

    Raises:
        CheckpointError: it holds none.
    """
    if (folder / PROCESSOR_NAME).exists():
        section = read_json(folder / PROCESSOR_NAME).get("feature_extractor")
        if isinstance(section, dict):
            return section
    original = CheckpointFolder(folder, elsewhere).original
    if original is not None:
        return original.features()
    if not (folder / FEATURES_NAME).exists():
        raise CheckpointError(f"{folder} has no {FEATURES_NAME}", expected="the settings of a feature extractor")
    return read_json(folder / FEATURES_NAME)


def as_list(audio: Any, name: str) -> list[Any]:
    """The sounds of a batch; a single sound, ``name`` to messages, is a batch of one.

    Raises:
        AudioError: a list of nothing.
    """
    if isinstance(audio, (list, tuple)):
        if not audio:
            raise AudioError(f"{name} is empty", expected="at least one sound")
        if isinstance(audio[0], (np.ndarray, torch.Tensor, list, tuple)):
            return list(audio)
    return [audio]


def _as_batch(features: Any) -> dict[str, Any]:
    if isinstance(features, (list, tuple)) and features and hasattr(features[0], "keys"):
        return {name: [item[name] for item in features] for name in features[0]}
    if hasattr(features, "keys"):
        return dict(features)
    raise ParamTypeError(f"features of type {type(features).__name__}", expected="a dict, or a list of dicts")


def strategy(padding: Any) -> str:
    """``"longest"``, ``"max_length"`` or ``"no"``, from any of the ways to say so; ``ParamError`` for others."""
    if not isinstance(padding, (str, bool, type(None))) or padding not in _STRATEGIES:
        raise ParamError(f"padding={padding!r}", expected="True, 'longest', 'max_length' or False")
    return _STRATEGIES[padding]


def padded_length(length: int | None, of: int | None) -> int:
    """``length`` as a multiple ``of`` so many samples, rounded up; ``ParamError`` where there is none."""
    if length is None:
        raise ParamError("max_length=None", expected="a number of samples")
    return length if not of else -(-length // of) * of
