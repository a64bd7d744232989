"""A checkpoint in 8 or 4 bits beside the one it was made from, whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from antiphon.checkpoints import hub, store
from antiphon.checkpoints.new_folder import copy_beside, new_folder
from antiphon.models.auto import AutoModel
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
    source, target = hub.fetched(name_or_dir), Path(folder)
    with new_folder(target, force=force) as new:
        hub.locate(name_or_dir, patterns=list(_BESIDE))
        model = AutoModel.from_pretrained(source, dtype="auto", quantization_config=plan)
        model.save_pretrained(new)
        copy_beside(source, new, _BESIDE)
    return Sizes(_weights_bytes(source), _weights_bytes(target))


def _weights_bytes(folder: Path) -> int:
    with store.open_weights(folder) as weights:
        return sum(weights.info(name).nbytes for name in weights.names())
