"""Modules for which another of their kind may stand in: what an adapter trains whole instead of adding to it."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from antiphon.errors import AdapterError
from antiphon.nn.linear import Embedding, Linear
from antiphon.nn.norms import RMSNorm
from antiphon.nn.put_aside import exchange


class _StoodInFor(nn.Module):
    """Computes what the chosen copy computes."""

    def forward(self, x: Tensor) -> Tensor:
        module: Any = self
        out: Tensor = module.modules_to_save[module.stand_in](x)
        return out


class StoodInLinear(_StoodInFor, Linear):
    """A linear layer whose copy computes."""


class StoodInEmbedding(_StoodInFor, Embedding):
    """An embedding whose copy computes."""


class StoodInLayerNorm(_StoodInFor, nn.LayerNorm):
    """A normalisation whose copy computes."""


class StoodInRMSNorm(_StoodInFor, RMSNorm):
    """A normalisation by the root mean square whose copy computes."""


_STOOD_IN: dict[type[nn.Module], type[nn.Module]] = {
    Linear: StoodInLinear,
    Embedding: StoodInEmbedding,
    nn.LayerNorm: StoodInLayerNorm,
    RMSNorm: StoodInRMSNorm,
}
_OWN = {stood: own for own, stood in _STOOD_IN.items()}


def can_be_stood_in_for(module: nn.Module) -> bool:
    """Whether a copy can stand in for a module."""
    return type(module) in _STOOD_IN or type(module) in _OWN


def stand_in_of(module: nn.Module, name: str) -> nn.Module:
    """The copy of that name."""
    held: Any = module
    copied: nn.Module = held.modules_to_save[name]
    return copied


def add_stand_in(module: nn.Module, name: str) -> None:
    """Makes a copy that can stand in for a module, not chosen yet; ``modules_to_save`` holds it.

    Raises:
        AdapterError: the module is of another kind, or has a copy of that name.
    """
    held: Any = module
    if not can_be_stood_in_for(module):
        raise AdapterError(
            f"a copy of a {type(module).__name__}",
            expected="a linear layer, an embedding or a normalisation, in floating point",
        )
    if hasattr(module, "lora") or name in getattr(module, "modules_to_save", {}):
        raise AdapterError(
            f"the module has an adapter or a copy {name!r} already", fix="Delete that adapter, or choose another name"
        )
    copied: Any = copy.deepcopy(module)
    copied.__class__, copied._modules = _OWN.get(type(module), type(module)), {}  # without the copies it has
    if not hasattr(module, "modules_to_save"):
        held.modules_to_save = nn.ModuleDict()
    held.modules_to_save[name] = copied


def remove_stand_in(module: nn.Module, name: str) -> None:
    """Drops a copy; without any the module is as it was."""
    held: Any = module
    if getattr(module, "stand_in", None) == name:
        use_stand_in(module, None)
    del held.modules_to_save[name]
    if not held.modules_to_save:
        del held.modules_to_save


def use_stand_in(module: nn.Module, name: str | None) -> None:
    """Chooses the copy that computes; ``None`` is the module itself."""
    held: Any = module
    own = _OWN.get(type(module), type(module))
    held.stand_in = name
    held.__class__ = own if name is None else _STOOD_IN[own]


def merge_stand_in(module: nn.Module, *, keep: bool = True) -> None:
    """Writes the chosen copy's tensors over the module's own, in place; ``put_back`` undoes it where they are kept."""
    held: Any = module
    exchange(module, dict(stand_in_of(module, held.stand_in).named_parameters()), keep=keep)
    use_stand_in(module, None)
