"""The parts that files of audiocraft's only name."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import originals


@pytest.fixture(scope="session")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a T5 that fits the tiny models."""
    return originals.write_text_encoder(tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="session")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with their codec."""
    return originals.write_codec(tmp_path_factory.mktemp("codec"))
