"""Chroma is what transformers' extractor hears, and resampling what torchaudio does, see docs/oracles.md."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch

import antiphon
from antiphon.audio.sinc import sinc_resample

from .goldens import FOLDER, golden

SOURCE = golden("chroma")
CASES: dict[str, Any] = SOURCE.about["cases"]
RATES_HZ = [int(name.split(".")[1]) for name in SOURCE.tensors if name.startswith("resampled.")]


@pytest.fixture(scope="module")
def sounds() -> Any:
    """The formulas that the oracle's sounds come from."""
    spec = importlib.util.spec_from_file_location("sounds", FOLDER.parent / "sounds.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def heard(sounds: Any, name: str) -> tuple[np.ndarray, dict[str, Any]]:
    """The sound of a case, another tune in each row, and how it was passed."""
    rate_hz, shape, settings = CASES[name]
    rows = int(np.prod(shape[:-1]))
    tunes = [sounds.melody(shape[-1], rate_hz, first=8 * row) for row in range(rows)]
    return np.reshape(tunes, shape), {"sampling_rate": rate_hz, **settings}


@pytest.mark.parametrize("name", CASES)
def test_every_frame_is_of_the_class_that_the_reference_hears(sounds: Any, name: str) -> None:
    sound, settings = heard(sounds, name)
    features = antiphon.MusicgenMelodyFeatureExtractor()(sound, **settings)
    classes = SOURCE[f"classes.{name}"]
    assert torch.equal(features["input_features"], torch.nn.functional.one_hot(classes, 12).float())
    assert ("attention_mask" in features) == (f"mask.{name}" in SOURCE.tensors)
    if "attention_mask" in features:
        assert torch.equal(features["attention_mask"].long(), SOURCE[f"mask.{name}"])


def test_no_frame_was_a_near_tie_and_the_tunes_use_all_classes() -> None:
    assert SOURCE.about["closest"] > 1e-3
    assert len(torch.cat([SOURCE[f"classes.{name}"].flatten() for name in CASES]).unique()) == 12


@pytest.mark.row("R53")
def test_the_settings_of_a_new_extractor_are_the_references() -> None:
    ours = antiphon.MusicgenMelodyFeatureExtractor().to_dict()
    assert ours == {**SOURCE.about["settings"], "num_chroma": 12}


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_resampled_noise_is_that_of_torchaudio(sounds: Any, rate_hz: int) -> None:
    ours = sinc_resample(torch.from_numpy(sounds.noise(2, rate_hz // 5)), rate_hz, 32000)
    theirs = SOURCE[f"resampled.{rate_hz}"]
    excerpt = theirs.shape[1] // 2
    torch.testing.assert_close(torch.cat([ours[:, :excerpt], ours[:, -excerpt:]], 1), theirs, rtol=0, atol=1e-6)
