"""Writing weights: one file or shards with an index, every file complete before the first takes its name."""

from __future__ import annotations

import contextlib
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch

from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.checkpoints.destinations import memory_of
from antiphon.checkpoints.json_files import to_text
from antiphon.checkpoints.weight_files import check_variant, index_name, weight_name
from antiphon.errors import CheckpointError, ParamError, ParamTypeError

_UNITS = {"": 1, "B": 1} | {
    f"{letter}{tail}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for tail, base in (("B", 1000), ("IB", 1024), ("", 1000))
}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")

Shard = dict[str, torch.Tensor]


def write_weights(
    folder: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    *,
    max_shard_size: int | str = "5GB",
    safe_serialization: bool = True,
    variant: str | None = None,
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> list[Path]:
    """Writes weights into ``folder`` under the usual names and gives the paths, the index last.

    All files are written beside the old ones first and renamed together at the end; then the files of a former save
    that would be read instead of these, or that are no longer part, are removed. Writing over the folder the tensors
    came from is therefore safe. Not on the CPU, not contiguous or part of a larger storage: copied as needed. Tensors
    that share memory are each written in full.

    Args:
        folder: made if it does not exist.
        tensors: names and tensors, any dtype that safetensors knows.
        max_shard_size: bytes, or text such as ``"5GB"`` (10**9) or ``"5GiB"`` (2**30); a larger tensor gets a shard
            of its own.
        safe_serialization: safetensors; ``False`` writes pickles (``pytorch_model.bin``).
        variant: a word that becomes part of the names, such as ``"fp16"``.
        metadata: text entries for the safetensors header, besides ``format``.
        dtype: floating point tensors are cast to it, a shard at a time.

    Raises:
        CheckpointError: a file cannot be written (disk full, permission, a folder in its place); the old files stand.
        ParamError, ParamTypeError: a tensor has no data to write, or an argument is wrong.
    """
    folder = Path(folder)
    check_variant(variant)
    limit_bytes = parse_size(max_shard_size)
    _check_tensors(tensors)
    stem, suffix = ("model", ".safetensors") if safe_serialization else ("pytorch_model", ".bin")
    shards = split_shards(tensors, limit_bytes, dtype)
    whole = weight_name(stem, "", variant)
    names = [f"{whole}-{i:05d}-of-{len(shards):05d}{suffix}" for i in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = [f"{whole}{suffix}"]
    _make_folder(folder)
    paths = [folder / name for name in names]
    with contextlib.ExitStack() as files:
        # Closed in reverse: the index, opened first, takes its name last.
        if len(shards) > 1:
            index = folder / index_name(stem, suffix, variant)
            files.enter_context(atomic_write(index)).write_bytes(_index_text(shards, names, index, dtype))
            paths.append(index)
        free_for = total_bytes(tensors, dtype)
        for name, shard in zip(names, shards, strict=True):
            part = files.enter_context(atomic_write(folder / name, needed_bytes=free_for))
            free_for -= total_bytes(shard, dtype)
            shard = {key: cast(tensor, dtype) for key, tensor in shard.items()}
            if safe_serialization:
                _write_safetensors(part, shard, {"format": "pt", **(metadata or {})})
            else:
                _write_pickle(part, shard)
    _remove_former(folder, {path.name for path in paths}, variant, safe_serialization)
    return paths


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes one safetensors file of any name.

    Raises:
        CheckpointError: it cannot be written. ParamError: a tensor has no data to write.
    """
    _check_tensors(tensors)
    with atomic_write(path, needed_bytes=total_bytes(tensors)) as part:
        _write_safetensors(part, dict(tensors), {"format": "pt"})


def parse_size(size: int | str) -> int:
    """Bytes of ``5_000_000_000``, ``"5GB"``, ``"5GiB"`` or ``"500MB"``.

    Raises:
        ParamError: it is not such a size, or not positive.
    """
    expected = "a positive number of bytes, or text such as '5GB'"
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise ParamTypeError(f"max_shard_size={size!r}", expected=expected)
    if isinstance(size, int):
        value = size
    else:
        match = _SIZE.fullmatch(size)
        if match is None or match[2].upper() not in _UNITS:
            raise ParamError(f"max_shard_size={size!r}", expected=expected)
        value = int(float(match[1]) * _UNITS[match[2].upper()])
    if value <= 0:
        raise ParamError(f"max_shard_size={size!r}", expected=expected)
    return value


def total_bytes(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | None = None) -> int:
    """What the tensors take, floating point ones as ``dtype`` where it is given."""
    return sum(_nbytes(tensor, dtype) for tensor in tensors.values())


def cast(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """A floating point tensor as ``dtype``, where it is given."""
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def split_shards(
    tensors: Mapping[str, torch.Tensor], limit_bytes: int, dtype: torch.dtype | None = None
) -> list[Shard]:
    """Fills shards in the given order, each up to the limit; a tensor above the limit stands alone.

    Source: the splitting of huggingface_hub, whose shard names and contents are matched.
    """
    shards: list[Shard] = []
    current: Shard = {}
    size_bytes = 0
    for name, tensor in tensors.items():
        nbytes = _nbytes(tensor, dtype)
        if nbytes > limit_bytes:
            shards.append({name: tensor})
            continue
        if current and size_bytes + nbytes > limit_bytes:
            shards.append(current)
            current, size_bytes = {}, 0
        current[name] = tensor
        size_bytes += nbytes
    if current or not shards:
        shards.append(current)
    return shards


def _write_safetensors(part: Path, shard: Shard, metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError, TensorSpec, serialize_file

    held = {name: tensor.detach().cpu().resolve_conj().resolve_neg().contiguous() for name, tensor in shard.items()}
    try:
        specs = {
            name: TensorSpec(
                dtype=str(tensor.dtype).removeprefix("torch."),
                shape=list(tensor.shape),
                data_ptr=tensor.data_ptr(),
                data_len=_nbytes(tensor),
            )
            for name, tensor in held.items()
        }
        serialize_file(specs, os.fspath(part), metadata=metadata)
    except SafetensorError as error:
        if "os error" in str(error):
            raise OSError(_errno_in(str(error)), str(error), os.fspath(part)) from error
        raise ParamError(f"these tensors cannot be written as safetensors: {error}") from error


def _write_pickle(part: Path, shard: Shard) -> None:
    torch.save(stored_alone(shard), os.fspath(part))


def stored_alone(tensors: Mapping[str, torch.Tensor]) -> OrderedDict[str, torch.Tensor]:
    """The tensors on the CPU, each with a storage of its own size: a pickle holds whole storages, however small a view.

    What is in main memory is not copied, and must live as long as what is returned.
    """
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return OrderedDict(
        (name, tensor if tensor.untyped_storage().nbytes() == _nbytes(tensor) else _ending(tensor))
        for name, tensor in held.items()
    )


def _ending(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor on the same memory whose storage ends where it does."""
    if not tensor.numel():
        return torch.empty(tensor.shape, dtype=tensor.dtype)
    return torch.frombuffer(memory_of(tensor), dtype=tensor.dtype).view(tensor.shape)


def _index_text(shards: list[Shard], names: list[str], index: Path, dtype: torch.dtype | None) -> bytes:
    weight_map = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
    total = sum(total_bytes(shard, dtype) for shard in shards)
    return to_text({"metadata": {"total_size": total}, "weight_map": weight_map}, where=os.fspath(index))


def _remove_former(folder: Path, kept: set[str], variant: str | None, safe_serialization: bool) -> None:
    """Pickles stay beside new safetensors, which are read first; safetensors beside new pickles would win."""
    kinds = (
        [("model", ".safetensors")] if safe_serialization else [("model", ".safetensors"), ("pytorch_model", ".bin")]
    )
    for stem, suffix in kinds:
        whole = re.escape(weight_name(stem, "", variant))
        pattern = re.compile(
            rf"{whole}(-\d{{5}}-of-\d{{5}})?{re.escape(suffix)}|{re.escape(index_name(stem, suffix, variant))}"
        )
        for entry in list(os.scandir(folder)):
            if entry.name not in kept and pattern.fullmatch(entry.name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)


def _check_tensors(tensors: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ParamTypeError(
                f"the entry {name!r} is a {type(tensor).__name__}", expected="names (text) and torch tensors"
            )
        if tensor.is_meta or tensor.layout != torch.strided or tensor.is_quantized:
            raise ParamError(f"the tensor {name!r} holds no plain data to write (it is meta, sparse or quantised)")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"The folder {folder} cannot be made: {error.strerror}", fix="Choose another folder"
        ) from error


def _nbytes(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> int:
    kind = tensor.dtype if dtype is None or not tensor.is_floating_point() else dtype
    return tensor.numel() * kind.itemsize


def _errno_in(text: str) -> int:
    match = re.search(r"os error (\d+)", text)
    return int(match[1]) if match else 5
