"""A small classifier of sounds: which of a few labels the timbre of a sound speaks for."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.checkpoints.safetensors_file import SafetensorsFile
from antiphon.errors import CheckpointError, ParamError
from antiphon.evaluation.timbre import DESCRIPTION, timbre_of

_KEY = "antiphon_classifier"
_STEPS = 200
_PENALTY = 1e-3


@dataclass(frozen=True, eq=False)
class Classifier:
    """Softmax regression over numbers that were brought to mean 0 and deviation 1.

    Attributes:
        labels: what it tells apart.
        mean, scale: (D,) of the numbers it was fitted to. weights: (D, labels). bias: (labels,).
    """

    labels: tuple[str, ...]
    mean: Tensor
    scale: Tensor
    weights: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, features: Tensor, labels: Sequence[str], *, penalty: float = _PENALTY) -> Classifier:
        """The classifier that makes the labels of given examples likeliest; the same for the same examples.

        Args:
            features: (N, D), such as rows of ``timbre_of``. labels: of each row.
            penalty: times the sum of squared weights, against learning the examples by heart.

        Raises:
            ParamError: other shapes, numbers that are not finite, or fewer than two labels.
        """
        names = tuple(sorted(set(labels)))
        if features.ndim != 2 or len(features) != len(labels) or len(names) < 2 or not penalty >= 0:
            raise ParamError(
                f"features of shape {tuple(features.shape)}, {len(labels)} labels of {len(names)} kinds",
                expected="(N, D), a label for each row, and two kinds or more",
            )
        if not bool(features.isfinite().all()):
            raise ParamError("features that are not finite", fix="Leave out the sounds that they are of")
        mean, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
        wanted = torch.tensor([names.index(label) for label in labels])
        weights, bias = _fitted((features - mean) / scale, wanted, len(names), penalty)
        return cls(names, mean, scale, weights, bias)

    def probabilities(self, features: Tensor) -> Tensor:
        """How likely each label is, of features (..., D): (..., labels)."""
        if features.shape[-1:] != self.mean.shape:
            raise ParamError(f"features of shape {tuple(features.shape)}", expected=f"(..., {len(self.mean)})")
        return (((features - self.mean) / self.scale) @ self.weights + self.bias).softmax(dim=-1)

    def predict(self, features: Tensor) -> list[str]:
        """The likeliest label of each row of features (N, D)."""
        return [self.labels[place] for place in self.probabilities(features).argmax(dim=-1).tolist()]

    def label_of(self, samples: Any, rate_hz: int) -> str:
        """The label of a sound; arguments and errors as ``timbre_of``, which it must have been fitted to."""
        return self.predict(timbre_of(samples, rate_hz)[None])[0]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes it as safetensors, the labels as JSON in the header; whole or not at all.

        Raises:
            CheckpointError: the file cannot be written.
        """
        from safetensors.torch import save

        tensors = {name: getattr(self, name).contiguous() for name in _TENSORS}
        data = save(tensors, metadata={_KEY: json.dumps({"labels": self.labels, "features": DESCRIPTION})})
        with atomic_write(path, needed_bytes=len(data)) as part:
            part.write_bytes(data)
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Classifier:
        """The classifier of a file.

        Raises:
            CheckpointError: no such file, one of something else, or one fitted to other features.
        """
        file = SafetensorsFile(Path(path))
        try:
            record = json.loads(file.metadata.get(_KEY, "null"))
            tensors = {name: file.read(name) for name in _TENSORS if name in file.infos}
        except ValueError:
            record, tensors = None, {}
        finally:
            file.close()
        if not isinstance(record, dict) or record.get("features") != DESCRIPTION or len(tensors) != len(_TENSORS):
            raise CheckpointError(
                f"{os.fspath(path)[:200]!r} is no classifier of {DESCRIPTION!r}", fix="Fit it and save it again"
            )
        return cls(tuple(record["labels"]), **tensors)


_TENSORS = ("mean", "scale", "weights", "bias")


def _fitted(features: Tensor, wanted: Tensor, labels: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights and bias at the minimum, which is one: the loss is convex."""
    weights = torch.zeros(features.shape[1], labels, requires_grad=True)
    bias = torch.zeros(labels, requires_grad=True)
    descent = torch.optim.LBFGS([weights, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Any:
        descent.zero_grad()
        apart = torch.nn.functional.cross_entropy(features @ weights + bias, wanted)
        total = apart + penalty * weights.square().sum()
        total.backward()
        return total

    descent.step(loss)
    return weights.detach(), bias.detach()
