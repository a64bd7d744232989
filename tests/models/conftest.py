"""Checkpoints of the oracle, opened by both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import antiphon

from . import tiny_musicgen as tiny


@dataclass
class Pair:
    """One checkpoint: where it lies, the oracle's model and ours, and both processors."""

    folder: Path
    theirs: Any
    ours: Any
    their_processor: Any
    processor: Any


def opened(folder: Path, **loading: Any) -> Pair:
    """Both models of a folder."""
    return Pair(
        folder,
        transformers.MusicgenForConditionalGeneration.from_pretrained(folder, **loading).eval(),
        antiphon.MusicgenForConditionalGeneration.from_pretrained(folder, **loading),
        transformers.AutoProcessor.from_pretrained(folder),
        antiphon.AutoProcessor.from_pretrained(folder),
    )


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny models are quicker so, and sums have one order
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def mono(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Mono; the text is narrower than the decoder, so that it is projected. Tests must not change it."""
    return opened(tiny.write(tiny.musicgen(1), tmp_path_factory.mktemp("mono")))


@pytest.fixture(scope="session")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Stereo; gated text encoder of the decoder's width. Tests must not change it."""
    model = tiny.musicgen(2, seed=1, text={"d_model": 32, "feed_forward_proj": "gated-gelu"})
    return opened(tiny.write(model, tmp_path_factory.mktemp("stereo"), 2))


@pytest.fixture(scope="session")
def eager(mono: Pair) -> Pair:
    """The mono checkpoint with explicit attention."""
    return opened(mono.folder, attn_implementation="eager")


@pytest.fixture
def fresh(mono: Pair) -> Any:
    """Our mono model, for tests that change it."""
    return antiphon.MusicgenForConditionalGeneration.from_pretrained(mono.folder)


@pytest.fixture(scope="session")
def texts(mono: Pair) -> Any:
    """Two prompts of different lengths as a padded batch."""
    return mono.processor(text=tiny.TEXTS, padding=True, return_tensors="pt")
