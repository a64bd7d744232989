"""The Fréchet distance."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon import Audio
from antiphon.errors import NumericError, ParamError
from antiphon.evaluation.frechet import frechet_audio_distance, frechet_distance


def _drawn(rows: int, mean: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """Rows whose mean and covariance are exactly the given ones."""
    raw = np.random.default_rng(seed).normal(size=(rows, len(mean)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_the_distance_of_known_gaussians_is_that_of_the_formula() -> None:
    one, other = np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 1.0, 16.0])
    means = np.array([0.0, 1.0, 2.0]), np.array([1.0, 1.0, 0.0])
    sets = _drawn(50, means[0], one, 0), _drawn(70, means[1], other, 1)
    # commuting covariances: the sum of squared differences of deviations, and of means
    assert frechet_distance(*sets) == pytest.approx(1 + 1 + 1 + (1 + 0 + 4), rel=1e-9)


def test_it_is_symmetric_where_covariances_do_not_commute() -> None:
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    one, other = np.diag([1.0, 9.0]), turn @ np.diag([1.0, 9.0]) @ turn.T
    sets = _drawn(40, np.zeros(2), one, 0), _drawn(40, np.zeros(2), other, 1)
    # the root of a 2 x 2 product has the trace sqrt(trace + 2 sqrt(determinant))
    product = one @ other
    shared = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
    assert frechet_distance(*sets) == pytest.approx(20 - 2 * shared, rel=1e-9)
    assert frechet_distance(*sets) == pytest.approx(frechet_distance(*sets[::-1]), rel=1e-9)


def test_equal_sets_are_no_distance_apart_even_with_fewer_rows_than_dimensions() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 30)) * 100
    assert frechet_distance(rows, rows) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("shape", [(1, 3), (4, 2), (4,), (4, 0)])
def test_embeddings_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ParamError, match="2 or more"):
        frechet_distance(np.zeros(shape), np.zeros((4, 3)))


def test_embeddings_that_are_not_finite_are_refused() -> None:
    with pytest.raises(NumericError, match="not finite"):
        frechet_distance(np.full((3, 2), np.nan), np.zeros((3, 2)))


def test_any_function_of_a_sound_can_be_the_embedding() -> None:
    sounds = [Audio(np.full(10, level, np.float32), 8000) for level in (0.1, 0.2, 0.4)]
    louder = [Audio(sound.samples + 0.1, 8000) for sound in sounds]
    distance = frechet_audio_distance(sounds, louder, lambda audio: [audio.peak, 1.0])
    assert distance == pytest.approx(0.01, abs=1e-6)
    with pytest.raises(ParamError, match="one width"):
        frechet_audio_distance(sounds, louder, lambda audio: [1.0] * round(10 * audio.peak))
