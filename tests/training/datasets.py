"""Small data sets of tones, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.audio import files


def tone(path: Path, seconds: float = 1.0, *, pitch_hz: float = 440, rate_hz: int = 16_000, channels: int = 1) -> Path:
    """A file with a tone in each channel, an octave apart, that is never twice the same."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    sound = [0.3 * np.sin(2 * np.pi * pitch_hz * 2**k * time) + 0.1 * np.sin(time**2) for k in range(channels)]
    path.parent.mkdir(parents=True, exist_ok=True)
    return files.save(path, np.stack(sound).astype(np.float32), rate_hz)


def manifest(folder: Path, rows: Sequence[dict[str, Any] | str], name: str = "data.jsonl") -> Path:
    """A manifest with these rows, of which texts stand for themselves."""
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
