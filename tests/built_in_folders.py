"""Where the models lie that come with the package."""

from __future__ import annotations

from pathlib import Path

from antiphon.checkpoints.built_in import built_in


def folder_of(name: str) -> Path:
    """The folder of a built-in model, which has to be there."""
    folder = built_in(name)
    assert folder is not None, name
    return folder
