"""The documented base of processors: a tokenizer and a feature extractor under one roof."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from antiphon.checkpoints import hub
from antiphon.checkpoints.audiocraft_folder import Elsewhere
from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
from antiphon.checkpoints.json_files import read_json, write_json
from antiphon.errors import ParamError
from antiphon.models import registry
from antiphon.models.configuration import HUB_ACCESS
from antiphon.models.features import FEATURES_NAME, PROCESSOR_NAME, feature_settings

__all__ = ["ProcessorMixin", "feature_extractor_in", "tokenizer_in"]


class ProcessorMixin:
    """Holds the parts, and reads and writes their files.

    Args:
        feature_extractor, tokenizer: the parts.
    """

    def __init__(self, feature_extractor: Any, tokenizer: Any) -> None:
        if feature_extractor is None or tokenizer is None:
            missing = "feature_extractor" if feature_extractor is None else "tokenizer"
            raise ParamError(f"no {missing}", expected="both a feature extractor and a tokenizer")
        self.feature_extractor = feature_extractor
        self.tokenizer = tokenizer

    @property
    def sampling_rate(self) -> int:
        """Of the feature extractor, in Hz."""
        return int(self.feature_extractor.sampling_rate)

    @property
    def model_input_names(self) -> list[str]:
        """What a call can return."""
        return [*self.tokenizer.model_input_names, *self.feature_extractor.model_input_names]

    def decode(self, *args: Any, **kwargs: Any) -> str:
        """One text from token ids."""
        text: str = self.tokenizer.decode(*args, **kwargs)
        return text

    def __repr__(self) -> str:
        return f"{type(self).__name__}(feature_extractor={self.feature_extractor!r}, tokenizer={self.tokenizer!r})"

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> list[str]:
        """Writes the files of both parts, each naming this class."""
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        name = type(self).__name__
        written = list(self.tokenizer.save_pretrained(folder))
        settings = {**self.feature_extractor.to_dict(), "processor_class": name}
        write_json(folder / FEATURES_NAME, settings)
        write_json(folder / PROCESSOR_NAME, {"processor_class": name, "feature_extractor": settings})
        return [*written, str(folder / FEATURES_NAME), str(folder / PROCESSOR_NAME)]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """The processor of a checkpoint; ``kwargs`` say where it is and override the tokenizer's settings."""
        access = {name: kwargs.pop(name) for name in HUB_ACCESS if name in kwargs}
        for ignored in ("use_fast", "trust_remote_code"):
            kwargs.pop(ignored, None)
        folder = hub.described(
            pretrained_model_name_or_path, patterns=["*.json", "*.model", "*.jinja", "merges.txt"], **access
        )
        return cls.from_folder(folder, Elsewhere.taken_from(kwargs, access), **kwargs)

    @classmethod
    def from_folder(cls, folder: Path, elsewhere: Elsewhere | None = None, **kwargs: Any) -> Self:
        """The processor of a folder; ``kwargs`` override the tokenizer's settings."""
        return cls(feature_extractor_in(folder, elsewhere), tokenizer_in(folder, elsewhere, **kwargs))


def model_type_in(folder: Path) -> Any:
    """The ``model_type`` of a folder; ``None`` where it has no configuration."""
    return CheckpointFolder(folder).model_type()


def feature_extractor_in(folder: Path, elsewhere: Elsewhere | None = None, **kwargs: Any) -> Any:
    """The feature extractor of a folder, by the class its settings name or its model type implies."""
    settings = feature_settings(folder, elsewhere)
    name = settings.get("feature_extractor_type") or registry.processing_names(model_type_in(folder))[1]
    return registry.processing_class(str(name)).from_dict(settings, **kwargs)


def tokenizer_in(folder: Path, elsewhere: Elsewhere | None = None, **kwargs: Any) -> Any:
    """The tokenizer of a folder, by its model type or the class its settings name."""
    checkpoint = CheckpointFolder(folder, elsewhere)
    folder = checkpoint.tokenizer()
    name = registry.processing_names(checkpoint.model_type() if folder.is_file() else model_type_in(folder))[2]
    settings = folder / "tokenizer_config.json"
    if settings.exists():
        stated = read_json(settings).get("tokenizer_class")
        if registry.is_processing_class(stated):
            name = stated
    return registry.processing_class(name or "T5Tokenizer").from_folder(folder, **kwargs)
