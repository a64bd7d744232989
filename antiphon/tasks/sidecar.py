"""Captions beside their recordings: ``song.json`` next to ``song.mp3``, where players and data sets look for them."""

from __future__ import annotations

import json
from pathlib import Path

from antiphon import __version__
from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.errors import ParamError
from antiphon.tasks.captioner import Caption

_WRITER = "captioned_by"


def write_sidecar(caption: Caption) -> Path:
    """Writes a caption beside its recording, whole or not at all, and gives the path.

    Raises:
        ParamError: another file of that name is there, which is kept. CheckpointError: it cannot be written.
    """
    path = caption.path.with_suffix(".json")
    if path.exists() and not _is_ours(path):
        raise ParamError(f"{path} is there and was written by another", fix="Move it away, or leave out the sidecars")
    record = {**caption.told, _WRITER: f"antiphon {__version__}"}
    with atomic_write(path) as part:
        part.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8", errors="replace")
    return path


def _is_ours(path: Path) -> bool:
    try:
        return _WRITER in json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError, TypeError):
        return False
