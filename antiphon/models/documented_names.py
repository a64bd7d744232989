"""The documents' names of what a model is made of: of modules, and of the tensors that its files hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from antiphon.checkpoints.keys import KeyTable


@dataclass(frozen=True)
class Place:
    """Where a stored tensor goes.

    Attributes:
        tensors: the Parameter or buffer; for a stack those that it is of, in order. is_stack: whether it is one.
    """

    tensors: list[Tensor]
    is_stack: bool

    def pieces(self, stored: Tensor) -> list[Tensor]:
        """What of the stored tensor each of ``tensors`` gets."""
        return list(stored.unbind(0)) if self.is_stack else [stored]


def key_tables(model: nn.Module) -> dict[str, KeyTable]:
    """The tables of the documented models in a model, by the path of each, innermost first."""
    found = {path: getattr(module, "key_table", None) for path, module in model.named_modules()}
    innermost = sorted(found, key=len, reverse=True)
    return {path: table for path in innermost if isinstance(table := found[path], KeyTable)}


def documented_name(path: str, tables: Mapping[str, KeyTable]) -> str:
    """The documented name of what lies at ``path``: the innermost model's names first, as in a state dict."""
    name = path
    for owner, table in tables.items():
        prefix = f"{owner}." if owner else ""
        if name.startswith(prefix) and path != owner:
            name = prefix + table.theirs(name[len(prefix) :])
    return name


def places(model: nn.Module) -> dict[str, Place]:
    """The Parameters and buffers behind each tensor that files of a model hold, by its (first) documented name."""
    tables = key_tables(model)
    found: dict[str, dict[int | None, Tensor]] = {}
    for path, tensor in _own_tensors(model):
        if not any(table.repeats(_inner(path, owner) or "") for owner, table in tables.items()):
            name, number = in_its_stack(documented_name(path, tables), tables)
            found.setdefault(name, {})[number] = tensor
    return {
        name: Place([parts[number] for number in sorted(parts, key=lambda n: n or 0)], None not in parts)
        for name, parts in found.items()
    }


def in_its_stack(name: str, tables: Mapping[str, KeyTable]) -> tuple[str, int | None]:
    """The documented name of the stack that a tensor is a piece of, and its place there; else its own and ``None``."""
    for owner, table in tables.items():
        inner = _inner(name, owner)
        piece = None if inner is None else table.piece(inner)
        if piece is not None:
            return f"{owner}.{piece[0]}" if owner else piece[0], piece[1]
    return name, None


def _inner(path: str, owner: str) -> str | None:
    prefix = f"{owner}." if owner else ""
    return path[len(prefix) :] if path.startswith(prefix) else None


def _own_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for path, module in model.named_modules(remove_duplicate=False):
        kept = {n: b for n, b in module._buffers.items() if n not in module._non_persistent_buffers_set}
        for name, tensor in [*module._parameters.items(), *kept.items()]:
            if tensor is not None:
                yield f"{path}.{name}" if path else name, tensor
