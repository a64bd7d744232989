"""Our models with audiocraft's weights, made once for each kind."""

from __future__ import annotations

from typing import Any

import pytest

from .given_text import GivenText
from .goldens import golden, musicgen, musicgen_melody

_CHANNELS = {"mono": 1, "stereo": 2}


@pytest.fixture(scope="session", params=_CHANNELS)
def language_model(request: pytest.FixtureRequest) -> Any:
    """A golden of windows, and our model with its weights and its texts."""
    source = golden(f"windows_{request.param}")
    model = musicgen(source, _CHANNELS[request.param])
    states = dict(zip(("one", "other"), source["text_states"], strict=True)) | {"brief": source["brief_states"]}
    model.text_encoder = GivenText(states, model.config.text_encoder)
    return source, model


@pytest.fixture(scope="session", params=_CHANNELS)
def melody_model(request: pytest.FixtureRequest) -> Any:
    """A golden of melodies, and our model with its weights and its texts."""
    source = golden(f"melody_{request.param}")
    model = musicgen_melody(source, _CHANNELS[request.param])
    states = {name.removeprefix("text."): own for name, own in source.weights("text.").items()}
    model.text_encoder = GivenText(states, model.config.text_encoder)
    return source, model
