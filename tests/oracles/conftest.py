"""Our models with audiocraft's weights, made once for each kind."""

from __future__ import annotations

from typing import Any

import pytest

from .goldens import golden, musicgen

_CHANNELS = {"mono": 1, "stereo": 2}


@pytest.fixture(scope="session", params=_CHANNELS)
def language_model(request: pytest.FixtureRequest) -> Any:
    """A golden of windows, and our model with its weights."""
    source = golden(f"windows_{request.param}")
    return source, musicgen(source, _CHANNELS[request.param])
