"""Weight files: which files of a folder hold the weights, and which shard holds which tensor."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from antiphon.checkpoints.file_kinds import SNIFF_BYTES, kind_of
from antiphon.checkpoints.json_files import INDEX_LIMIT_BYTES, read_json
from antiphon.errors import CheckpointError, ParamError

_log = logging.getLogger(__name__)
_VARIANT = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The files that hold the weights of a folder; ``where`` maps tensors to files if there is an index."""

    paths: tuple[Path, ...]
    where: dict[str, str] | None = None
    index: Path | None = None


def weight_name(stem: str, suffix: str, variant: str | None) -> str:
    """``model.safetensors``, or ``model.fp16.safetensors`` for the variant ``fp16``."""
    return f"{stem}.{variant}{suffix}" if variant else f"{stem}{suffix}"


def index_name(stem: str, suffix: str, variant: str | None) -> str:
    """``model.safetensors.index.json``, or ``model.safetensors.index.fp16.json``."""
    return f"{stem}{suffix}.index.{variant}.json" if variant else f"{stem}{suffix}.index.json"


def check_variant(variant: str | None) -> None:
    """Refuses a variant that is not a plain word, since it becomes part of file names."""
    if variant is not None and not (isinstance(variant, str) and _VARIANT.fullmatch(variant)):
        raise ParamError(f"variant={variant!r}", expected="a word such as 'fp16'")


def find_weights(folder: Path, *, variant: str | None, use_safetensors: bool | None) -> WeightFiles:
    """The first that exists of: one safetensors file, its shards, one pickle, its shards.

    Raises:
        CheckpointError: none is there (it lists what is), or the index is damaged or points out of the folder.
    """
    check_variant(variant)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is not a folder", expected="the folder of a checkpoint")
    kinds = [("model", ".safetensors"), ("pytorch_model", ".bin")]
    if use_safetensors is not None:
        kinds = kinds[:1] if use_safetensors else kinds[::-1]
    tried = []
    for stem, suffix in kinds:
        single = folder / weight_name(stem, suffix, variant)
        index = folder / index_name(stem, suffix, variant)
        if os.path.lexists(single):  # a dangling link is a missing file with a name, and is told as such
            return WeightFiles((single,))
        if os.path.lexists(index):
            return _shards(folder, index, suffix)
        tried += [single.name, index.name]
    raise _nothing_found(folder, tried, variant)


def _shards(folder: Path, index: Path, suffix: str) -> WeightFiles:
    data = read_json(index, limit_bytes=INDEX_LIMIT_BYTES, unique_keys=True)
    where = data.get("weight_map")
    if not isinstance(where, dict) or not all(isinstance(shard, str) for shard in where.values()):
        raise CheckpointError(f"{index}: weight_map is damaged", expected="an object of tensor names and shard names")
    if not where:
        raise CheckpointError(f"{index}: weight_map is empty", fix="Fetch the file again")
    _check_total(data.get("metadata"), index)
    names = sorted(set(where.values()))
    bad = [name for name in names if not _is_plain_name(name, suffix)]
    if bad:
        raise CheckpointError(
            f"{index} names {_listed(map(repr, bad))} as shard(s)",
            expected=f"plain file names in the same folder, ending in {suffix}",
            fix="This index is damaged or hostile: do not use the checkpoint",
        )
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        raise CheckpointError(
            f"{folder} lacks {len(missing)} of {len(names)} shard(s): {_listed(missing)}", fix=how_to_fetch(folder)
        )
    for name in names:
        _check_inside(folder, name)
    return WeightFiles(tuple(folder / name for name in names), where, index)


def check_shards(files: WeightFiles, held: dict[str, Iterable[str]]) -> None:
    """Compares the index with what the shards hold (``held``: shard name to tensor names).

    Raises:
        CheckpointError: a tensor is not in its shard, or is in two.
    """
    where = files.where or {}
    holders: dict[str, list[str]] = {}
    for shard, names in held.items():
        for name in names:
            holders.setdefault(name, []).append(shard)
    absent = [f"{name} in {shard}" for name, shard in where.items() if shard not in holders.get(name, ())]
    if absent:
        raise CheckpointError(
            f"{files.index} promises {len(absent)} tensor(s) that their shard does not hold: {_listed(absent)}",
            fix="Fetch the checkpoint again",
        )
    doubled = [name for name, shards in holders.items() if len(shards) > 1]
    if doubled:
        raise CheckpointError(
            f"{files.index}: {len(doubled)} tensor(s) are in more than one shard: {_listed(doubled)}",
            fix="Remove shards of a former save, or fetch the checkpoint again",
        )
    extra = [name for name in holders if name not in where]
    if extra:
        _log.warning("%s does not list %d tensor(s) of its shards: %s", files.index, len(extra), _listed(extra))


def how_to_fetch(folder: Path) -> str:
    """What to do about missing files in ``folder``: the command, where it belongs to a Hub cache."""
    for parent in (folder, *folder.parents):
        if parent.name.startswith("models--"):
            repo = parent.name.removeprefix("models--").replace("--", "/")
            return f"Fetch them with network access: antiphon pull {repo}"
    return "Fetch the whole checkpoint again"


def _check_total(metadata: object, index: Path) -> None:
    total = metadata.get("total_size", 0) if isinstance(metadata, dict) else 0
    if isinstance(total, bool) or not isinstance(total, int | float) or not total >= 0:
        raise CheckpointError(f"{index}: total_size is {total!r}", expected="a number of bytes")


def _is_plain_name(name: str, suffix: str) -> bool:
    return not (set(name) & set('/\\:\0\n\r<>"|?*')) and not name.startswith(".") and name.endswith(suffix)


def _check_inside(folder: Path, name: str) -> None:
    """A shard may be a link only inside the folder, or into the blobs of the same Hub cache repository."""
    real, home = (folder / name).resolve(), folder.resolve()
    if real.is_relative_to(home):
        return
    for parent in home.parents:
        if parent.name.startswith("models--") and real.is_relative_to(parent / "blobs"):
            return
    raise CheckpointError(
        f"{folder / name} is a link out of its folder, to {real}",
        expected="shards inside the folder of the checkpoint",
        fix="Copy the shard into the folder",
    )


def _nothing_found(folder: Path, tried: list[str], variant: str | None) -> CheckpointError:
    present = sorted(entry.name for entry in os.scandir(folder))
    pointers = [name for name in present if _is_pointer(folder / name)]
    shown = _listed(present, 12) if present else "nothing"
    fix = how_to_fetch(folder)
    if pointers:
        fix = f"{_listed(pointers)}: Git LFS pointer(s), run `git lfs pull`"
    elif variant:
        fix = f"Leave out variant={variant!r} to use the default weights, or fetch that variant"
    return CheckpointError(f"{folder} has no weights: it holds {shown}", expected=f"one of {', '.join(tried)}", fix=fix)


def _is_pointer(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size > 1024:
        return False
    with open(path, "rb") as file:
        kind = kind_of(file.read(SNIFF_BYTES))
    return kind is not None and "LFS" in kind[0]


def _listed(names: Iterable[str], shown: int = _SHOWN) -> str:
    names = list(names)
    rest = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + rest
