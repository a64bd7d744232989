"""Held-out prompts and classifiers for the evaluation of the built-in models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.evaluation.asked import read_asked
from antiphon.evaluation.classifier import Classifier
from recipes.builtin import judging
from recipes.builtin.pieces import Rendered
from recipes.builtin.songs.piece import Piece
from recipes.builtin.songs.split import held_out


class _Renderer:
    """A tone for each piece; the lead alone is an octave higher."""

    def render(self, piece: Piece, *, seconds: float, roles: Any = None) -> np.ndarray:
        time = np.arange(round(seconds * 32_000)) / 32_000
        hertz = 220 * 2 ** (piece.tonic / 12) * (1 if roles is None else 2)
        return (0.1 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def test_prompts_ask_for_held_out_pieces_in_three_ways(tmp_path: Path) -> None:
    judging.write_prompts(tmp_path, 3, renderer=_Renderer())
    asked = {name: read_asked(tmp_path / f"{name}.jsonl") for name in ("texts", "continuations", "melodies")}
    assert {name: len(rows) for name, rows in asked.items()} == {"texts": 3, "continuations": 3, "melodies": 3}
    for one in asked["texts"]:
        assert held_out(one.style, one.tempo_bpm, one.tonic, one.mode, one.lead)
        assert one.style in one.text
        assert str(one.tempo_bpm) in one.text
        assert (one.melody, one.continue_from) == (None, None)
    assert all(one.continue_from == one.reference for one in asked["continuations"])
    assert all(one.melody != one.reference for one in asked["melodies"])


class _Dull:
    """A codec that makes everything dull, and counts."""

    def __init__(self) -> None:
        self.coded = 0

    def encode(self, sound: Any) -> Any:
        self.coded += 1
        return sound

    def decode(self, sound: Any) -> Any:
        return type(sound)(np.convolve(sound.samples[0], np.ones(8) / 8, mode="same"), sound.sampling_rate)


def _rendered(number: int) -> Rendered:
    generator = np.random.default_rng(number)
    noisy = number % 2 == 0
    sound = (
        generator.normal(0, 0.1, 32_000) if noisy else 0.1 * np.sin(np.arange(32_000) * generator.uniform(0.02, 0.2))
    )
    facts = {"style": "noise" if noisy else "tone", "lead": "wind" if noisy else "flute"}
    return Rendered((sound * 32767).astype("<i2"), np.zeros(1, np.uint8), facts, [])


@pytest.mark.parametrize("coded", [True, False])
def test_classifiers_hear_pieces_before_and_after_the_codec(coded: bool, tmp_path: Path) -> None:
    codec = _Dull() if coded else None
    pieces = (_rendered(number) for number in range(1000))
    found = judging.write_classifiers(tmp_path, pieces, transcoder=codec, pieces=21)
    assert found == {"style": 1.0, "lead": 1.0}
    assert Classifier.load(tmp_path / "style.safetensors").labels == ("noise", "tone")
    assert Classifier.load(tmp_path / "lead.safetensors").labels == ("flute", "wind")
    assert codec is None or codec.coded == 21
