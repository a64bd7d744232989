"""How much of a piece a model sees at once, where nobody says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import antiphon
from antiphon.errors import ParamError


@pytest.fixture
def short_sighted(checkpoint: Path, tmp_path: Path) -> Any:
    """The composer of a model that was trained on half a second and says so."""
    model = antiphon.MusicgenForConditionalGeneration.from_pretrained(checkpoint)
    model.generation_config.window_seconds = 0.5
    model.save_pretrained(tmp_path / "short")
    antiphon.AutoProcessor.from_pretrained(checkpoint).save_pretrained(tmp_path / "short")
    return antiphon.load(tmp_path / "short", device="cpu")


def test_a_model_that_does_not_say_is_taken_to_know_30_seconds(compose: Any) -> None:
    piece = compose("a", seconds=0.2, seed=1)
    assert (piece.parameters["window_seconds"], piece.parameters["stride_seconds"]) == (30.0, 18.0)


def test_a_model_that_says_what_it_was_trained_on_composes_in_windows_of_that_length(
    short_sighted: Any, compose: Any
) -> None:
    piece = short_sighted("a", seconds=1.2, seed=1)
    assert (piece.parameters["window_seconds"], piece.parameters["stride_seconds"]) == (0.5, pytest.approx(0.3))
    same = compose("a", seconds=1.2, seed=1, window_seconds=0.5, stride_seconds=0.3)
    np.testing.assert_array_equal(piece.samples, same.samples)
    assert not np.array_equal(piece.samples, compose("a", seconds=1.2, seed=1).samples)


def test_a_window_alone_brings_its_stride_along(compose: Any) -> None:
    piece = compose("a", seconds=0.6, seed=1, window_seconds=0.4)
    assert piece.parameters["stride_seconds"] == pytest.approx(0.24)


def test_a_stride_that_does_not_fit_the_models_own_window_is_refused(short_sighted: Any) -> None:
    with pytest.raises(ParamError, match="stride"):
        short_sighted("a", seconds=1.2, seed=1, stride_seconds=0.5)
