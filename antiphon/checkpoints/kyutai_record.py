"""What kyutai's files hold beyond the documents' layout, kept beside the converted weights for the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from antiphon.checkpoints import store
from antiphon.checkpoints.json_files import read_json, write_json
from antiphon.checkpoints.kyutai_folder import KyutaiFolder, state_of
from antiphon.errors import ConfigError

RECORD_FILE = "kyutai.json"


@dataclass(frozen=True)
class KyutaiRecord:
    """Configurations and spellings.

    Attributes:
        config: the values of ``config.json``; ``None`` where there was none. codec_config: of the codec's own file, if
            it had one. language_model, codec: names of the tensors in each file, in its order.
    """

    config: Mapping[str, Any] | None = None
    codec_config: Mapping[str, Any] | None = None
    language_model: list[str] = field(default_factory=list)
    codec: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, original: KyutaiFolder) -> Self:
        """The record of files that are being converted.

        Raises:
            CheckpointError: a file cannot be read.
        """
        paths = [original.language_model_path if original.has_language_model else None, original.codec_path]
        return cls(original.stated, original.codec_config, *(_names(path) for path in paths))

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The record in a folder; ``None`` where there is none.

        Raises:
            CheckpointError: it is damaged.
        """
        if not (folder / RECORD_FILE).exists():
            return None
        values = read_json(folder / RECORD_FILE)
        kinds: dict[str, Any] = {"config": dict | None, "codec_config": dict | None}
        kinds |= {"language_model": list, "codec": list}
        names = [name for key in ("language_model", "codec") for name in values.get(key) or ()]
        right = values.keys() == kinds.keys() and all(isinstance(values[key], kind) for key, kind in kinds.items())
        if not right or not all(isinstance(name, str) for name in names):
            raise ConfigError(
                f"{folder / RECORD_FILE} is damaged",
                expected="what the conversion wrote",
                fix="Remove it: the files are then written with a configuration made anew",
            )
        return cls(**values)

    def write(self, folder: Path) -> None:
        """Writes the record into a folder.

        Raises:
            CheckpointError: it cannot be written.
        """
        write_json(folder / RECORD_FILE, asdict(self))


def _names(path: Path | None) -> list[str]:
    """The names of the weights in a file, without the scales of rounded ones."""
    if path is None:
        return []
    with store.open_file(path, pick=state_of) as weights:
        return [name for name in weights.names() if not name.endswith("_scb")]
