"""How coded music lies in a folder: codes, texts, their states and melodies of many sounds in a few files.

``coded.json`` says what the codes are. Beside it lie numbered shards of some 32 MB, each of them four files that only
grow: ``codes`` (packed), ``chroma`` (a byte a frame), ``states`` (float16) and ``items.jsonl``, a line a sound with the
lengths of its parts in the other three. A line is written when what it speaks of is on the disk, so a writer that was
killed leaves at worst bytes without a line, and the next one writes over them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.checkpoints.json_files import read_json
from antiphon.errors import AntiphonError, DataError
from antiphon.training.code_packing import CodePacking

FORMAT_FILE = "coded.json"
VERSION = 1
PARTS = ("codes", "chroma", "states")


@dataclass(frozen=True, kw_only=True)
class CodedFormat:
    """What the codes of a folder are.

    Args:
        codebooks: K, of all channels. codebook_size: V. sampling_rate: Hz. hop_samples: of a frame of codes.
        chroma_classes: of the melodies, 0 where there are none. chroma_hop_samples: of a frame of them.
        text_width: of the states of texts, 0 where there are only texts. text_padding: on which side short ones are
            filled up, as the model's tokenizer does it.
        made_by: what identifies the codec, text encoder and settings.

    Raises:
        DataError: numbers that cannot be.
    """

    codebooks: int
    codebook_size: int
    sampling_rate: int
    hop_samples: int
    chroma_classes: int = 0
    chroma_hop_samples: int = 4096
    text_width: int = 0
    text_padding: str = "right"
    made_by: str = ""

    def __post_init__(self) -> None:
        least = {"chroma_classes": 0, "text_width": 0}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.type == "str":
                good = isinstance(value, str)
            else:
                good = isinstance(value, int) and not isinstance(value, bool) and value >= least.get(item.name, 1)
            if not good:
                raise DataError(
                    f"a format of codes with {item.name}={value!r}", expected="a number or text that can be"
                )
        if self.text_padding not in ("left", "right"):
            raise DataError(f"text_padding={self.text_padding!r}", expected="'left' or 'right'")
        CodePacking(self.codebooks, self.codebook_size)

    @property
    def frame_rate_hz(self) -> float:
        return self.sampling_rate / self.hop_samples


@dataclass(frozen=True, eq=False)
class CodedItem:
    """A sound as a model learns it.

    Args:
        codes: (K, T) integers. texts: of which each says all. states: of each text its states (M, D), where texts are
            cached as such. chroma: (F,) integers, the strongest pitch class of each frame; ``None`` without a melody.
        key: what it was made from, by which it is found again. name: what reports call it.
    """

    codes: np.ndarray
    texts: tuple[str, ...] = ()
    states: tuple[np.ndarray, ...] = ()
    chroma: np.ndarray | None = None
    key: str = ""
    name: str = ""


def row_bytes(format: CodedFormat) -> dict[str, int]:
    """Gives the bytes of a row of each part: of a frame of codes or melody, of a place of a text."""
    packing = CodePacking(format.codebooks, format.codebook_size)
    return {"codes": packing.frame_bytes, "chroma": 1, "states": 2 * max(1, format.text_width)}


def shard_file(folder: Path, shard: int, part: str) -> Path:
    """Gives the file of a part of a shard."""
    return folder / f"{part}-{shard:05d}.{'jsonl' if part == 'items' else 'bin'}"


def shards_of(folder: Path) -> list[int]:
    """Gives the numbers of the shards in a folder, from 0 without a gap.

    Raises:
        DataError: there is a gap.
    """
    found = sorted(int(path.stem.split("-")[1]) for path in folder.glob("items-" + "[0-9]" * 5 + ".jsonl"))
    if found != list(range(len(found))):
        raise DataError(f"{folder} has the shards {found[:20]}", expected="all of them from 0 on", fix="Copy the rest")
    return found


def whole_lines(folder: Path, shard: int) -> Iterator[tuple[bytes, dict[str, int]]]:
    """Gives the lines of a shard with the rows of each part; one that was not finished ends them.

    Raises:
        DataError: a line that no writer has written.
    """
    path = shard_file(folder, shard, "items")
    if not path.exists():
        return
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                counts = json.loads(line)["counts"]
                yield line[:-1], {part: int(count) for part, count in zip(PARTS, counts, strict=True)}
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path} has a damaged line", fix="Make it again") from error


def is_coded(folder: Path) -> bool:
    """Whether a folder holds coded music."""
    return (folder / FORMAT_FILE).is_file()


def read_format(folder: Path) -> CodedFormat:
    try:
        values: dict[str, Any] = read_json(folder / FORMAT_FILE)
        if values.pop("version", None) != VERSION:
            raise DataError("it has another version", expected=str(VERSION))
        return CodedFormat(**values)
    except (AntiphonError, TypeError) as error:
        raise DataError(f"{folder} holds no coded music: {error}", fix="Make it again") from error
