"""A checkpoint in 8 or 4 bits beside the one it was made from, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from antiphon.checkpoints import hub, store
from antiphon.errors import CheckpointError
from antiphon.models.auto import AutoModel
from antiphon.models.configuration import CONFIG_NAME
from antiphon.models.loading import fetched
from antiphon.models.quantization import Quantization

# What belongs to a checkpoint besides its weights: tokenizer, processor, settings of the generation, licence.
_BESIDE = ("*.json", "*.model", "*.jinja", "*.txt", "*.md", "LICENSE*")


@dataclass(frozen=True)
class Sizes:
    """Bytes of a checkpoint's weights, before and after."""

    before: int
    after: int


def write_rounded(
    name_or_dir: str | os.PathLike[str], folder: str | os.PathLike[str], plan: Quantization, *, force: bool = False
) -> Sizes:
    """Writes a checkpoint rounded by ``plan``, with all that belongs to it, for the loaders to open as any other.

    Args:
        name_or_dir: a folder, or a name on the Hub. folder: where to; made if missing.
        force: write into a folder that holds something already. Its other files stay.

    Raises:
        CheckpointError: no such checkpoint, files that are in the way, or a folder that cannot be written; nothing is
            left there then. ParamError: it is rounded already, otherwise.
    """
    source, target = fetched(name_or_dir), Path(folder)
    occupied = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if occupied and not (force and target.is_dir()):
        raise CheckpointError(
            f"{target} holds something already", expected="an empty folder, or none", fix="Choose another, or use force"
        )
    hub.locate(name_or_dir, patterns=list(_BESIDE))
    model = AutoModel.from_pretrained(source, dtype="auto", quantization_config=plan)
    if occupied:
        model.save_pretrained(target)
        _copy_beside(source, target)
    else:
        with _appearing(target) as new:
            model.save_pretrained(new)
            _copy_beside(source, new)
    return Sizes(_weights_bytes(source), _weights_bytes(target))


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes the name ``target`` once it is complete; it is gone after an error."""
    new = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.", dir=target.parent))
        yield new
        new.chmod(0o755)  # it was made for its owner alone
        new.rename(target)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"the folder {str(target)[:200]!r} cannot be written: {error.strerror}") from error
    finally:
        if new is not None:
            shutil.rmtree(new, ignore_errors=True)


def _copy_beside(source: Path, target: Path) -> None:
    for pattern in _BESIDE:
        for file in source.glob(pattern):
            own = file.name == CONFIG_NAME or file.name.endswith(".index.json")
            place = target / file.name
            if file.is_file() and not own and not (place.exists() and place.samefile(file)):
                with store.atomic_write(place) as part:
                    part.write_bytes(file.read_bytes())


def _weights_bytes(folder: Path) -> int:
    with store.open_weights(folder) as weights:
        return sum(weights.info(name).nbytes for name in weights.names())
