"""Layers that take their input piece by piece, with what they remember held by the caller."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.errors import ConfigError

# Layers that treat every time step by itself.
_POINTWISE = (nn.ELU, nn.Identity)
# Fields in which states keep a layer's weights.
_WEIGHTS = ("weight", "bias")


@runtime_checkable
class Streamed(Protocol):
    """A layer over time that also runs piece by piece.

    All outputs of ``push`` in a row, the last of them with ``last=True``, are what ``forward`` gives for all inputs in
    a row, whatever the pieces. An output comes as soon as no further input can change it.
    """

    def state(self, batch: int) -> Any:
        """What the layer remembers before its first input, for ``batch`` rows: a dataclass of tensors and counts.

        Its method ``reset(rows)`` lets rows (B,) bool begin anew.
        """
        ...

    def push(self, x: Tensor, state: Any, *, last: bool, live: Tensor | None = None) -> Tensor:
        """The outputs (B, C', M) that became final with the inputs (B, C, N), N and M from 0; ``state`` is changed.

        Rows that are not ``live`` (B,) bool stand still: they remember what they did, and their outputs mean nothing.
        """
        ...

    def ready(self, seen: int) -> int:
        """How many outputs are final after ``seen`` inputs of which none was the last."""
        ...


def chain_state(layers: Iterable[nn.Module], batch: int) -> list[Any]:
    """The states of layers that follow each other, ``None`` for those that remember nothing.

    Raises:
        ConfigError: a layer that can only run on the whole.
    """
    states = []
    for layer in layers:
        if not isinstance(layer, (Streamed, *_POINTWISE)):
            raise ConfigError(f"a {type(layer).__name__} cannot run piece by piece", fix="Run it on the whole at once")
        states.append(layer.state(batch) if isinstance(layer, Streamed) else None)
    return states


def chain_push(
    layers: Iterable[nn.Module], x: Tensor, states: Sequence[Any], *, last: bool, live: Tensor | None = None
) -> Tensor:
    """``Streamed.push`` through layers that follow each other."""
    ours = False  # whether x is a tensor of our own, which may be written over
    for layer, state in zip(layers, states, strict=True):
        if isinstance(layer, nn.ELU):
            x, ours = F.elu(x, layer.alpha, inplace=ours), True
        elif state is not None:
            x, ours = cast(Streamed, layer).push(x, state, last=last, live=live), True
    return x


def chain_reset(states: Iterable[Any], rows: Tensor) -> None:
    """Lets ``rows`` (B,) bool of the states of layers that follow each other begin anew.

    Raises:
        SessionError: a layer whose rows have to go together; the states are then of no further use.
    """
    for state in states:
        if state is not None:
            state.reset(rows)


def chain_ready(layers: Iterable[nn.Module], seen: int) -> int:
    """``Streamed.ready`` of layers that follow each other."""
    for layer in layers:
        seen = layer.ready(seen) if isinstance(layer, Streamed) else seen
    return seen


def state_bytes(state: Any) -> int:
    """The memory of a state's own tensors in bytes; what a state keeps of a layer's weights is not counted."""
    if isinstance(state, Tensor):
        return state.untyped_storage().nbytes()
    if isinstance(state, (list, tuple)):
        return sum(state_bytes(inner) for inner in state)
    if dataclasses.is_dataclass(state):
        return sum(state_bytes(getattr(state, f.name)) for f in dataclasses.fields(state) if f.name not in _WEIGHTS)
    return 0
