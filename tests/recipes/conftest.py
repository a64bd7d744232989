"""Rendered pieces that are quick to make, and a listener that has learnt nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from recipes.builtin.asked import write_conversations
from recipes.builtin.listener import begin_listener
from recipes.builtin.pieces import facts_of
from recipes.builtin.songs.composer import compose

SAMPLES = 12 * 32_000


@pytest.fixture(scope="session")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of pieces as ``render_shards`` writes them, with a tone in the place of each render."""
    folder = tmp_path_factory.mktemp("runs") / "pieces"
    folder.mkdir()
    for shard, seeds in enumerate((range(3), range(3, 5))):
        tones = [np.full(SAMPLES, 1000 * (seed + 1), "<i2") for seed in seeds]
        (folder / f"mix-{shard:05d}.bin").write_bytes(b"".join(tone.tobytes() for tone in tones))
        facts = [{**facts_of(compose(seed, seconds=12.0)), "texts": ["a piece"]} for seed in seeds]
        (folder / f"facts-{shard:05d}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in facts))
    return folder


@pytest.fixture(scope="session")
def begun(pieces: Path) -> Path:
    """A listener that has learnt nothing."""
    asked, folder = pieces.parent / "asked", pieces.parent / "begin"
    write_conversations(pieces, asked)
    begin_listener(folder, asked)
    return folder
