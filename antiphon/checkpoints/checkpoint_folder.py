"""A checkpoint's folder as the documents see it, whoever wrote it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from antiphon.checkpoints import store
from antiphon.checkpoints.audiocraft_folder import AudiocraftFolder, Elsewhere
from antiphon.checkpoints.json_files import CONFIG_NAME, read_json
from antiphon.checkpoints.kyutai_folder import KyutaiFolder
from antiphon.errors import ParamError


class OriginalFolder(Protocol):
    """The files of the program that a model was made with, as if they were of the documents' layout."""

    def model_type(self) -> str: ...

    def config(self) -> dict[str, Any]: ...

    def generation(self) -> dict[str, Any]: ...

    def features(self) -> dict[str, Any]: ...

    def tokenizer(self) -> Path: ...

    def open(self, part: str = "") -> store.Weights: ...

    def open_own(self) -> store.Weights: ...


class CheckpointFolder:
    """The files of the documents' layout, or what audiocraft's or kyutai's own files mean in it.

    Args:
        path: the folder. elsewhere: where the parts are that audiocraft's files only name.
    """

    def __init__(self, path: Path, elsewhere: Elsewhere | None = None) -> None:
        self.path = path
        audiocraft = AudiocraftFolder.found(path, elsewhere)
        self.original: OriginalFolder | None = audiocraft or KyutaiFolder.found(path)
        if audiocraft is None and elsewhere is not None and (given := elsewhere.given()):
            raise ParamError(
                f"{' and '.join(given)} for {path}, which is no folder of audiocraft's files",
                expected="no such argument: a checkpoint of this layout holds its own",
            )

    @property
    def has_values(self) -> bool:
        """Whether there is a configuration."""
        return self.original is not None or (self.path / CONFIG_NAME).exists()

    def model_type(self) -> Any:
        """What the configuration says it is of; ``None`` where there is none."""
        if self.original is not None:
            return self.original.model_type()
        return read_json(self.path / CONFIG_NAME).get("model_type") if self.has_values else None

    def values(self) -> dict[str, Any]:
        """The values of ``config.json``.

        Raises:
            CheckpointError, ConfigError: there is none, or it cannot be read.
        """
        return read_json(self.path / CONFIG_NAME) if self.original is None else self.original.config()

    def weights(
        self, part: str = "", *, variant: str | None = None, use_safetensors: bool | None = None
    ) -> store.Weights:
        """The weights, opened and checked, nothing read yet.

        Args:
            part: the prefix of those that are wanted; more may come. variant, use_safetensors: as ``open_weights``.

        Raises:
            CheckpointError: there are none, or a file is missing, damaged or unsafe.
        """
        if self.original is not None:
            return self.original.open(part)
        return store.open_weights(self.path, variant=variant, use_safetensors=use_safetensors)

    def own_weights(self) -> store.Weights:
        """The weights that lie in this folder's files, without those that they only name.

        Raises:
            CheckpointError: as ``weights``.
        """
        return store.open_weights(self.path) if self.original is None else self.original.open_own()

    def tokenizer(self) -> Path:
        """The folder with the tokenizer's files, or its one file."""
        return self.path if self.original is None else self.original.tokenizer()
