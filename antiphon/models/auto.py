"""The documented ``Auto`` names: a checkpoint's own files say which class it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from antiphon.checkpoints import hub
from antiphon.checkpoints.audiocraft_folder import Elsewhere
from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
from antiphon.checkpoints.json_files import read_json
from antiphon.errors import CheckpointError, ParamError
from antiphon.models import registry
from antiphon.models.configuration import HUB_ACCESS, PreTrainedConfig
from antiphon.models.features import FEATURES_NAME, PROCESSOR_NAME
from antiphon.models.processing import feature_extractor_in, model_type_in, tokenizer_in

_SMALL_FILES = ["*.json", "*.model", "*.jinja", "merges.txt"]


def _folder(name: Any, kwargs: dict[str, Any], patterns: list[str]) -> tuple[Path, Elsewhere]:
    access = {key: kwargs.pop(key) for key in HUB_ACCESS if key in kwargs}
    for ignored in ("use_fast", "trust_remote_code"):
        kwargs.pop(ignored, None)
    return hub.described(name, patterns=patterns, **access), Elsewhere.taken_from(kwargs, access)


def _model_type(name: Any, kwargs: dict[str, Any]) -> Any:
    access = {key: kwargs[key] for key in HUB_ACCESS if key in kwargs}
    folder = CheckpointFolder(hub.described(name, **access))
    # without a configuration its error is the one to see, and not that nothing is a type
    return folder.model_type() if folder.has_values else folder.values().get("model_type")


class _Auto:
    """Not constructed; ``from_pretrained`` hands back an object of the fitting class."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise ParamError(
            f"{type(self).__name__} was constructed", fix=f"Use {type(self).__name__}.from_pretrained(folder_or_name)"
        )


class AutoConfig(_Auto):
    """The configuration of any checkpoint."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """The configuration; arguments as ``PreTrainedConfig.from_pretrained``.

        Raises:
            ConfigError: an unknown ``model_type``.
        """
        chosen = registry.model_class(_model_type(pretrained_model_name_or_path, kwargs), "config")
        return chosen.from_pretrained(pretrained_model_name_or_path, **kwargs)

    @staticmethod
    def for_model(model_type: str, *args: Any, **kwargs: Any) -> Any:
        """A configuration of that type."""
        return registry.model_class(model_type, "config")(*args, **kwargs)


class _AutoModel(_Auto):
    role: ClassVar[str] = "model"

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """The model of a checkpoint; arguments as ``PreTrainedModel.from_pretrained``.

        Raises:
            ConfigError: no class for the checkpoint's ``model_type`` in this role.
        """
        given = kwargs.get("config")
        if isinstance(given, PreTrainedConfig):
            model_type: Any = given.model_type
        else:
            model_type = _model_type(pretrained_model_name_or_path, kwargs)
        return registry.model_class(model_type, cls.role).from_pretrained(pretrained_model_name_or_path, **kwargs)

    @classmethod
    def from_config(cls, config: PreTrainedConfig, **kwargs: Any) -> Any:
        """A new model with random weights."""
        return registry.model_class(config.model_type, cls.role).from_config(config, **kwargs)


class AutoModel(_AutoModel):
    """The model of any checkpoint; a MusicGen checkpoint's is the composite, which makes music."""


class AutoModelForCausalLM(_AutoModel):
    """The decoder of a checkpoint, with its heads."""

    role = "causal_lm"


class AutoModelForTextEncoding(_AutoModel):
    """The text encoder of a checkpoint."""

    role = "text_encoding"


class AutoModelForTextToWaveform(_AutoModel):
    """The model that makes sound from text."""

    role = "text_to_waveform"


class AutoModelForMultimodalLM(_AutoModel):
    """The model that answers in text to what it hears."""

    role = "multimodal_lm"


class AutoFeatureExtractor(_Auto):
    """The feature extractor of any checkpoint."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """The feature extractor; ``kwargs`` say where it is and override its settings."""
        folder, elsewhere = _folder(pretrained_model_name_or_path, kwargs, ["*.json"])
        return feature_extractor_in(folder, elsewhere, **kwargs)


class AutoTokenizer(_Auto):
    """The tokenizer of any checkpoint."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """The tokenizer; ``kwargs`` say where it is and override its settings."""
        folder, elsewhere = _folder(pretrained_model_name_or_path, kwargs, _SMALL_FILES)
        return tokenizer_in(folder, elsewhere, **kwargs)


class AutoProcessor(_Auto):
    """The processor of any checkpoint; where it has none, its tokenizer or feature extractor."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """The processor; ``kwargs`` say where it is and override its settings.

        Raises:
            CheckpointError: the checkpoint has nothing to process inputs with.
        """
        folder, elsewhere = _folder(pretrained_model_name_or_path, kwargs, _SMALL_FILES)
        name = _stated_processor(folder) or registry.processing_names(model_type_in(folder))[0]
        if name is not None:
            return registry.processing_class(name).from_folder(folder, elsewhere, **kwargs)
        if (folder / FEATURES_NAME).exists():
            return feature_extractor_in(folder, elsewhere, **kwargs)
        if any((folder / file).exists() for file in ("tokenizer.json", "spiece.model")):
            return tokenizer_in(folder, elsewhere, **kwargs)
        raise CheckpointError(f"{folder} has no processor, feature extractor or tokenizer")


def _stated_processor(folder: Path) -> str | None:
    for file in (PROCESSOR_NAME, FEATURES_NAME, "tokenizer_config.json"):
        if (folder / file).exists():
            name = read_json(folder / file).get("processor_class")
            if registry.is_processing_class(name):
                return str(name)
    return None
