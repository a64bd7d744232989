"""The running average of weights, which generalises better than the last step's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from antiphon.errors import CheckpointError, ConfigError
from antiphon.training.run_state import all_tensors
from antiphon.training.sharding import divided_like, piece


class WeightAverage:
    """An exponential moving average of a model's trained tensors, in float32.

    The decay grows from 0 to ``decay``, so that the random start is soon forgotten.

    Args:
        model: what is averaged: its trained parameters and its floating-point buffers.
        decay: 0 to less than 1.

    Raises:
        ConfigError: another decay.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"the decay of the average is {decay}", expected="0 to less than 1")
        self.decay = decay
        self.updates = 0
        self.tensors = {name: tensor.float().clone() for name, tensor in self._of(model).items()}

    @staticmethod
    def _of(model: nn.Module) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in all_tensors(model).items() if tensor.is_floating_point()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes in the model as it is now."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        now = self._of(model)
        torch._foreach_lerp_(
            [piece(tensor) for tensor in self.tensors.values()],
            [piece(now[name]).float() for name in self.tensors],
            weight=1 - decay,
        )

    def load(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Goes on from saved tensors, whole ones.

        Raises:
            CheckpointError: they are of another model.
        """
        if tensors.keys() != self.tensors.keys():
            odd = sorted(tensors.keys() ^ self.tensors.keys())
            raise CheckpointError(f"The average lacks or has too much: {odd[:5]}", fix="Resume with the same model")
        for name, tensor in self.tensors.items():
            tensor.copy_(divided_like(tensors[name], tensor))
        self.updates = updates


@contextmanager
def holding(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with other values in some of its tensors, for as long as the block lasts.

    Raises:
        CheckpointError: they are of another model.
    """
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    if odd := sorted(tensors.keys() - own.keys()):
        raise CheckpointError(f"tensors {odd[:5]} that the model has not", expected="tensors of the same model")
    kept = {name: own[name].detach().clone() for name in tensors}
    try:
        with torch.no_grad():
            for name, tensor in tensors.items():
                own[name].copy_(tensor)
        yield
    finally:
        with torch.no_grad():
            for name, tensor in kept.items():
                own[name].copy_(tensor)
