"""The Fréchet distance: how far two heaps of embeddings lie apart, each taken as a Gaussian."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from antiphon.audio.clip import Audio
from antiphon.errors import NumericError, ParamError

Embedding = Callable[[Audio], Any]


def frechet_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The squared distance between the Gaussians that fit two sets of embeddings; 0 for equal ones.

    Args:
        ours, theirs: (M, D) and (N, D) finite numbers, at least two of each; computed in float64. Where there are fewer
            embeddings than dimensions the covariances are singular, and the distance is biased upwards but defined.

    Raises:
        ParamError: other shapes. NumericError: numbers that are not finite.

    Source: D. C. Dowson, B. V. Landau, "The Fréchet distance between multivariate normal distributions" (1982). The
        trace of the root of a product is that of the root of ``A C A`` with ``A A`` the first covariance, which is
        symmetric, so that eigenvalues are real and rounding cannot make them complex.
    """
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    fits = ours.ndim == theirs.ndim == 2 and ours.shape[1] == theirs.shape[1] and min(len(ours), len(theirs)) >= 2
    if not fits or not ours.shape[1]:
        raise ParamError(
            f"embeddings of shapes {ours.shape} and {theirs.shape}", expected="(M, D) and (N, D), 2 or more"
        )
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise NumericError("embeddings that are not finite", fix="Look for silence in the sounds")
    one, other = _covariance(ours), _covariance(theirs)
    between = float(((ours.mean(axis=0) - theirs.mean(axis=0)) ** 2).sum())
    root = _root(one)
    shared = float(np.sqrt(np.linalg.eigvalsh(_symmetric(root @ other @ root)).clip(0)).sum())
    return max(0.0, between + float(np.trace(one) + np.trace(other)) - 2 * shared)


def frechet_audio_distance(ours: Iterable[Audio], theirs: Iterable[Audio], embed: Embedding) -> float:
    """The Fréchet distance between two sets of sounds under an embedding.

    Args:
        embed: a sound to its embedding (D,) or embeddings (F, D), which all count.

    Raises:
        ParamError: too few sounds, or embeddings of different widths. NumericError: some are not finite.
    """
    return frechet_distance(_embedded(ours, embed), _embedded(theirs, embed))


def _embedded(sounds: Iterable[Audio], embed: Embedding) -> np.ndarray:
    rows = [np.atleast_2d(np.asarray(embed(sound), np.float64)) for sound in sounds]
    if not rows or len({row.shape[1:] for row in rows}) != 1:
        raise ParamError(f"embeddings of shapes {sorted({row.shape for row in rows})}", expected="one width for all")
    return np.concatenate(rows)


def _covariance(rows: np.ndarray) -> np.ndarray:
    return np.atleast_2d(np.cov(rows, rowvar=False))


def _root(matrix: np.ndarray) -> np.ndarray:
    """The symmetric root of a covariance; what rounding made negative counts as 0."""
    values, vectors = np.linalg.eigh(_symmetric(matrix))
    root: np.ndarray = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    halved: np.ndarray = (matrix + matrix.T) / 2
    return halved
