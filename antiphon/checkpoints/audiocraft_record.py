"""What audiocraft's files hold beyond the documents' layout, kept beside the converted weights for the way back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import torch

from antiphon.checkpoints import store
from antiphon.checkpoints.audiocraft_file import AudiocraftFile
from antiphon.checkpoints.audiocraft_folder import AudiocraftFolder
from antiphon.checkpoints.audiocraft_names import LANGUAGE_MODEL, left_over, pieces_of
from antiphon.checkpoints.destinations import memory_of
from antiphon.checkpoints.json_files import read_json, write_json
from antiphon.checkpoints.weight_writer import write_tensors
from antiphon.errors import ConfigError

RECORD_FILE, TENSORS_FILE = "audiocraft.json", "audiocraft.safetensors"


@dataclass(frozen=True)
class FileRecord:
    """One file of audiocraft's.

    Attributes:
        config: its ``xp.cfg`` as text; empty for a pointer. version: as it states it. names: of its tensors, in order.
        pretrained: the codec that a pointer names. digest: of that codec's tensors, as they were when it was followed.
    """

    config: str = ""
    version: str = ""
    names: list[str] = field(default_factory=list)
    pretrained: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class AudiocraftRecord:
    """Both files, and the tensors that the documents have no place for."""

    language_model: FileRecord
    codec: FileRecord | None
    tensors: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, original: AudiocraftFolder, codec: Mapping[str, torch.Tensor]) -> Self:
        """The record of files that are being converted; ``codec`` are the codec's tensors after it.

        Raises:
            CheckpointError, ConfigError: a file cannot be read.
        """
        codec_record = None
        if original.codec is not None:
            with closing(AudiocraftFile(original.codec)) as file:
                codec_record = (
                    FileRecord(version=file.version, pretrained=file.pretrained, digest=digest_of(codec))
                    if file.pretrained is not None
                    else FileRecord(file.config.text, file.version, file.stored)
                )
        if original.language_model is None:
            raise ConfigError(f"{original.codec} is a codec alone", expected="a language model beside it")
        with closing(AudiocraftFile(original.language_model)) as file:
            left = left_over(file.infos, pieces_of(file.infos, LANGUAGE_MODEL))
            record = FileRecord(file.config.text, file.version, file.stored)
            return cls(record, codec_record, {name: file.read(name) for name in left})

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The record in a folder; ``None`` where there is none.

        Raises:
            CheckpointError: it is damaged.
        """
        if not (folder / RECORD_FILE).exists():
            return None
        values = read_json(folder / RECORD_FILE)
        tensors: dict[str, torch.Tensor] = {}
        if (folder / TENSORS_FILE).exists():
            with store.open_file(folder / TENSORS_FILE) as weights:
                tensors = {name: weights.read(name) for name in weights.names()}
        codec = values.get("codec")
        return cls(
            _file_record(values.get("language_model"), folder),
            None if codec is None else _file_record(codec, folder),
            tensors,
        )

    def write(self, folder: Path) -> None:
        """Writes the record into a folder.

        Raises:
            CheckpointError: it cannot be written.
        """
        codec = None if self.codec is None else asdict(self.codec)
        write_json(folder / RECORD_FILE, {"language_model": asdict(self.language_model), "codec": codec})
        if self.tensors:
            write_tensors(folder / TENSORS_FILE, self.tensors)


def digest_of(tensors: Mapping[str, torch.Tensor]) -> str:
    """A number for names, dtypes, shapes and bytes of tensors, in any order."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        found.update(memory_of(tensor))
    return found.hexdigest()


def _file_record(values: Any, folder: Path) -> FileRecord:
    kinds: dict[str, Any] = {"config": str, "version": str, "names": list}
    kinds |= dict.fromkeys(("pretrained", "digest"), str | None)
    right = (
        isinstance(values, dict)
        and values.keys() <= kinds.keys()
        and all(isinstance(value, kinds[key]) for key, value in values.items())
        and _all_text(values.get("names", []))
    )
    if not right:
        raise ConfigError(
            f"{folder / RECORD_FILE} is damaged",
            expected="what the conversion wrote",
            fix="Remove it: the files are then written with a configuration made anew",
        )
    return FileRecord(**values)


def _all_text(names: Iterable[Any]) -> bool:
    return all(isinstance(name, str) for name in names)
