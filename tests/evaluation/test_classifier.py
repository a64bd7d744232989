"""Classifiers of sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from antiphon.errors import AudioError, CheckpointError, ParamError
from antiphon.evaluation.classifier import Classifier
from antiphon.evaluation.timbre import timbre_of

from .songs import RATE_HZ, chords, clicks


def _sounds(seed: int) -> tuple[list[np.ndarray], list[str]]:
    generator = np.random.default_rng(seed)
    sounds, labels = [], []
    for number in range(6):
        level = generator.uniform(0.1, 1)
        sounds += [level * clicks(int(generator.integers(80, 150)), seconds=3, offbeats=0.1, seed=number)]
        sounds += [level * chords([0, 3, 4], int(generator.integers(12)), "major")]
        labels += ["drums", "chords"]
    return sounds, labels


@pytest.fixture(scope="module")
def fitted() -> Classifier:
    sounds, labels = _sounds(0)
    return Classifier.fit(torch.stack([timbre_of(sound, RATE_HZ) for sound in sounds]), labels)


def test_sounds_that_it_has_not_heard_are_told_apart(fitted: Classifier) -> None:
    sounds, labels = _sounds(1)
    assert [fitted.label_of(sound, RATE_HZ) for sound in sounds] == labels


def test_a_file_of_it_judges_the_same(fitted: Classifier, tmp_path: Path) -> None:
    again = Classifier.load(fitted.save(tmp_path / "style.safetensors"))
    features = torch.stack([timbre_of(sound, RATE_HZ) for sound in _sounds(2)[0]])
    assert again.labels == ("chords", "drums")
    assert torch.equal(again.probabilities(features), fitted.probabilities(features))


def test_probabilities_of_known_classes_are_those_of_the_formula() -> None:
    # two classes at -1 and 1 that a threshold in the middle separates
    features = torch.tensor([[-1.0], [-1.0], [1.0], [1.0]])
    found = Classifier.fit(features, ["a", "a", "b", "b"], penalty=0.1)
    middle = found.probabilities(torch.zeros(1))
    assert middle.tolist() == pytest.approx([0.5, 0.5], abs=1e-3)
    assert found.predict(torch.tensor([[-0.5], [0.5]])) == ["a", "b"]


def test_a_larger_penalty_makes_it_less_sure() -> None:
    features, labels = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), ["a", "b"] * 20
    sure = [Classifier.fit(features, labels, penalty=p).probabilities(features).amax(1).mean() for p in (1e-4, 1.0)]
    assert sure[0] > sure[1]


def test_loudness_is_no_part_of_the_timbre() -> None:
    sound = clicks(110, seconds=3)
    assert torch.allclose(timbre_of(sound, RATE_HZ), timbre_of(0.2 * sound, RATE_HZ), atol=0.05)
    with pytest.raises(AudioError, match=r"0\.50 s"):
        timbre_of(sound[: RATE_HZ // 2], RATE_HZ)


def test_silence_has_a_timbre_of_numbers() -> None:
    assert bool(timbre_of(np.zeros(RATE_HZ), RATE_HZ).isfinite().all())


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (torch.zeros(3), ["a", "b", "c"]),
        (torch.zeros(3, 2), ["a", "b"]),
        (torch.zeros(3, 2), ["a", "a", "a"]),
        (torch.full((2, 2), torch.nan), ["a", "b"]),
    ],
)
def test_examples_that_nothing_can_be_learnt_from_are_refused(features: torch.Tensor, labels: list[str]) -> None:
    with pytest.raises(ParamError):
        Classifier.fit(features, labels)


def test_features_of_another_kind_are_refused(fitted: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ParamError, match="features of shape"):
        fitted.predict(torch.zeros(1, 3))
    from safetensors.torch import save_file

    save_file({"weights": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="no classifier"):
        Classifier.load(tmp_path / "other.safetensors")
