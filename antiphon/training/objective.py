"""What a training loop asks of the thing that is trained, and of its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

Batch = dict[str, Any]
"""Examples put together: tensors whose first axis is the row, and lists of one thing a row."""


@dataclass(frozen=True)
class Losses:
    """The losses of a batch, summed over what its weight counts.

    Attributes:
        total: scalar; the loop follows its gradient.
        parts: detached scalars by name, summed in the same way, for reports.
    """

    total: Tensor
    parts: dict[str, Tensor]


class Objective(Protocol):
    """A model with what it is trained for.

    Attributes:
        model: everything that is trained.
    """

    model: nn.Module

    def weight(self, batch: Batch) -> float:
        """How much of the mean this batch is, in rows or labels; known before any forward pass.

        The loop divides by the weight of a whole step, over accumulated batches and all processes: the loss of a step
        is the same however it was divided.
        """

    def losses(self, batch: Batch) -> Losses:
        """The summed losses of a batch, with gradients where they are enabled.

        Every process computes with the same parts of the model.
        """

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Groups for AdamW: ``params``, and optionally ``weight_decay`` and ``lr_scale``."""

    def before_training(self, batch: Batch) -> None:
        """Sees the run's first examples before the first step, the same ones in every process."""

    def after_step(self, step: int) -> None:
        """Is told that step ``step`` (from 0) has been taken."""

    def extra_state(self) -> dict[str, Tensor]:
        """What a resumed run needs beyond the tensors of ``model``; the same in every process."""

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what ``extra_state`` gave."""

    def is_whole(self) -> bool:
        """Whether what is trained is already what will be used, so that its weights may be the best of the run."""

    def save(self, folder: Path, tensors: Mapping[str, Tensor] | None) -> None:
        """Writes a checkpoint that opens as any other does.

        Args:
            tensors: by their names in ``model``, to be written instead of the model's own (their running average).
        """


class Examples(Protocol):
    """Data that examples are drawn from. Drawing is a pure function of item and generator, so that a run can go on."""

    def __len__(self) -> int:
        """Items, at least 1."""

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """One example of item ``index``; what is random in it (a crop, a text of several) comes from the generator."""

    def collate(self, examples: Sequence[dict[str, Any]]) -> Batch:
        """Examples as the rows of a batch."""
