"""Checkpoints of the oracle, opened by both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import antiphon

from . import tiny_melody
from . import tiny_musicgen as tiny

EITHER = ["mono", "melody"]
ALL = ["mono", "stereo", "melody", "melody_stereo"]


@dataclass
class Pair:
    """One checkpoint: where it lies, the oracle's model and ours."""

    folder: Path
    theirs: Any
    ours: Any

    @cached_property
    def their_processor(self) -> Any:
        """The oracle's; that of a Melody checkpoint needs torchaudio, which is not here."""
        return transformers.AutoProcessor.from_pretrained(self.folder)

    @cached_property
    def processor(self) -> Any:
        """Ours."""
        return antiphon.AutoProcessor.from_pretrained(self.folder)

    @property
    def kind(self) -> Any:
        """Our class of the composite."""
        return type(self.ours)

    @property
    def their_kind(self) -> Any:
        """The oracle's class of the composite."""
        return type(self.theirs)

    @property
    def decoder_kind(self) -> Any:
        """Our class of the decoder with its heads."""
        return type(self.ours.decoder)

    @property
    def books(self) -> int:
        """Codebooks of all channels."""
        return int(self.ours.decoder.num_codebooks)

    @property
    def has_melody(self) -> bool:
        """Whether the conditions stand in front of the columns."""
        return hasattr(self.ours.config, "chroma_length")

    def codes_of(self, sounds: torch.Tensor) -> torch.Tensor:
        """What our codec makes of sounds (B, C, N): codes (B, K, T), the channels of a codebook in turn."""
        with torch.no_grad():
            channels = [self.ours.audio_encoder.encode(one[:, None]).audio_codes[0] for one in sounds.unbind(1)]
        return torch.stack(channels, dim=2).flatten(1, 2)

    def prefix(self, texts: Any) -> int:
        """Places of the conditions among the logits of a call with these texts."""
        return int(self.ours.config.chroma_length + texts["input_ids"].shape[1]) if self.has_melody else 0


def opened(folder: Path, **loading: Any) -> Pair:
    """Both models of a folder."""
    kind = json.loads((folder / "config.json").read_text())["architectures"][0]
    return Pair(
        folder,
        getattr(transformers, kind).from_pretrained(folder, **loading).eval(),
        getattr(antiphon, kind).from_pretrained(folder, **loading),
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
def melody(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Mono with nine frames of melody; text and melody are projected. Tests must not change it."""
    return opened(tiny_melody.write(tiny_melody.melody(1), tmp_path_factory.mktemp("melody")))


@pytest.fixture(scope="session")
def melody_stereo(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Stereo with 235 frames of melody; gated text encoder of the decoder's width. Tests must not change it."""
    text = {"d_model": 32, "feed_forward_proj": "gated-gelu"}
    model = tiny_melody.melody(2, seed=1, chroma_length=235, text=text)
    return opened(tiny_melody.write(model, tmp_path_factory.mktemp("melody_stereo")))


@pytest.fixture(scope="session")
def melody_narrow(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """As wide as a melody's frame, which is not projected then. Tests must not change it."""
    model = tiny_melody.melody(1, seed=2, hidden_size=12, num_attention_heads=2)
    return opened(tiny_melody.write(model, tmp_path_factory.mktemp("melody_narrow")))


@pytest.fixture(params=EITHER)
def either(request: pytest.FixtureRequest) -> Any:
    """The mono checkpoint of each family. Tests must not change it."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=ALL)
def each(request: pytest.FixtureRequest) -> Any:
    """The mono and the stereo checkpoint of each family. Tests must not change it."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def mono_eager(mono: Pair) -> Pair:
    """The mono checkpoint with explicit attention."""
    return opened(mono.folder, attn_implementation="eager")


@pytest.fixture(scope="session")
def melody_eager(melody: Pair) -> Pair:
    """The melody checkpoint with explicit attention."""
    return opened(melody.folder, attn_implementation="eager")


@pytest.fixture
def eager(either: Pair, request: pytest.FixtureRequest) -> Any:
    """The checkpoint of ``either`` with explicit attention."""
    return request.getfixturevalue("melody_eager" if either.has_melody else "mono_eager")


@pytest.fixture
def fresh(either: Pair) -> Any:
    """Our model of ``either``, for tests that change it."""
    return either.kind.from_pretrained(either.folder)


@pytest.fixture(scope="session")
def texts(mono: Pair) -> Any:
    """Two prompts of different lengths as a padded batch."""
    return mono.processor(text=tiny.TEXTS, padding=True, return_tensors="pt")
