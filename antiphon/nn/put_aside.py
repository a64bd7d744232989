"""Tensors of a module exchanged for others in place, the old ones put aside, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from antiphon.errors import AdapterError

_ASIDE = "put_aside_"


def is_exchanged(module: nn.Module) -> bool:
    """Whether tensors of a module are put aside."""
    return any(name.startswith(_ASIDE) for name in module._buffers)


def exchange(module: nn.Module, tensors: Mapping[str, Tensor], *, keep: bool = True) -> None:
    """Writes tensors over a module's own, which stay the same Parameters in the same places of memory.

    The old ones become buffers that no state dict shows: they move with the module.

    Args:
        tensors: by the names that the module has for them. keep: put the old ones aside.

    Raises:
        AdapterError: they were exchanged before.
    """
    if is_exchanged(module):
        raise AdapterError("adapters are merged into this layer already", fix="Call unmerge_adapters() first")
    with torch.no_grad():
        for name, tensor in tensors.items():
            own: Tensor = getattr(module, name)
            if keep:
                module.register_buffer(_ASIDE + name, own.detach().clone(), persistent=False)
            own.copy_(tensor)


def put_back(module: nn.Module) -> None:
    """Undoes an exchange that kept the old tensors."""
    for aside in [name for name in module._buffers if name.startswith(_ASIDE)]:
        with torch.no_grad():
            getattr(module, aside.removeprefix(_ASIDE)).copy_(getattr(module, aside))
        delattr(module, aside)
