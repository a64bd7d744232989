"""A part of a model that lies in a checkpoint of its own, or inside another model's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from antiphon.checkpoints import hub, store
from antiphon.checkpoints.json_files import CONFIG_NAME, read_json
from antiphon.checkpoints.renamed_file import Piece, RenamedFile
from antiphon.errors import CheckpointError, ConfigError, ParamError

_SMALL_FILES = ("*.json", "*.model")


class BorrowedPart:
    """A text encoder or a codec of the documents' layout, to be used under a prefix.

    Args:
        name_or_dir: a folder, or a name on the Hub. section: what composites call the part, such as ``"text_encoder"``.
        model_type: of the part itself. access: how to reach the Hub. needed_by: what asks for it, for errors.
        remedy: what the reader can do when it cannot be reached.
    """

    def __init__(
        self,
        name_or_dir: str | os.PathLike[str],
        *,
        section: str,
        model_type: str,
        access: Mapping[str, Any],
        needed_by: str,
        remedy: str,
    ) -> None:
        self.name = os.fspath(name_or_dir)
        self._given = name_or_dir
        self._section = section
        self._model_type = model_type
        self._access = dict(access)
        self._needed_by = needed_by
        self._remedy = remedy

    def values(self) -> dict[str, Any]:
        """The values of its configuration."""
        return self._placed(read_json(self.folder() / CONFIG_NAME))[0]

    def folder(self) -> Path:
        """The folder with its small files.

        Raises:
            CheckpointError: it cannot be reached.
        """
        try:
            return hub.locate(self._given, patterns=list(_SMALL_FILES), **self._access)
        except (CheckpointError, ParamError) as error:
            raise self._unreachable(error) from error

    def open(self, *, without: Sequence[str] = ()) -> list[RenamedFile]:
        """Its files, their tensors under ``section.``; names that begin with one of ``without`` are left out.

        Raises:
            CheckpointError: it cannot be reached, or has no such weights.
        """
        try:
            folder = hub.fetched(self._given, **self._access)
        except (CheckpointError, ParamError) as error:
            raise self._unreachable(error) from error
        prefix = self._placed(read_json(folder / CONFIG_NAME))[1]
        with_weights = store.open_weights(folder)
        opened = []
        for file in with_weights.files:
            inner = {name.removeprefix(prefix): name for name in file.infos if name.startswith(prefix)}
            kept = {name: stored for name, stored in inner.items() if not name.startswith(tuple(without))}
            opened.append(RenamedFile(file, {f"{self._section}.{name}": Piece(at) for name, at in kept.items()}))
        return opened

    def _placed(self, values: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The part's own values and the prefix of its tensors in the checkpoint."""
        if values.get("model_type") == self._model_type:
            return values, ""
        inner = values.get(self._section)
        if isinstance(inner, dict) and inner.get("model_type") == self._model_type:
            return inner, f"{self._section}."
        raise ConfigError(
            f"{self.name} holds a model of type {values.get('model_type')!r}",
            expected=f"a {self._model_type}, or a model with one as its {self._section}",
        )

    def _unreachable(self, error: CheckpointError | ParamError) -> CheckpointError:
        return CheckpointError(
            f"{self._needed_by} needs {self.name!r}, which its files do not hold: {error.what}", fix=self._remedy
        )
