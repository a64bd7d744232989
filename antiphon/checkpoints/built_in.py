"""The small checkpoints that come with the package, under names of their own."""

from __future__ import annotations

from pathlib import Path

from antiphon.checkpoints.json_files import CONFIG_NAME

MUSIC = "antiphon/musicgen-mini"
MELODY = "antiphon/musicgen-melody-mini"
LISTENER = "antiphon/music-flamingo-mini"
NAMES = (MUSIC, MELODY, LISTENER)

PLACE = Path(__file__).parents[1] / "built_in"


def built_in(name: str) -> Path | None:
    """The folder of a checkpoint that came with the package; ``None``: it is none of these, or was left out."""
    if name not in NAMES:
        return None
    folder = PLACE / name.rpartition("/")[2]
    return folder if (folder / CONFIG_NAME).is_file() else None
