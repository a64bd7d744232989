"""Configurations that omegaconf pickled, read without omegaconf: inert stand-ins for its classes, and their values.

A training run keeps its configuration as objects. Nothing but the classes below is rebuilt, none of them does anything,
and of what they hold only the plain values are taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEEPEST = 64


class _Inert:
    """Stands for a type or a record that is not looked at."""

    def __new__(cls, *args: Any) -> _Inert:
        """An empty one, whatever it is given."""
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Node:
    """A value or a container of values."""

    content: Any = None

    def __setstate__(self, state: Any) -> None:
        values = state if isinstance(state, Mapping) else {}
        self.content = values.get("_content", values.get("_val"))


_NODES = (
    "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig",
    *(
        f"omegaconf.nodes.{kind}Node"
        for kind in ("Any", "Boolean", "Bytes", "Float", "Integer", "Interpolation", "Path", "String")
    ),
)
_RECORDS = (
    "builtins.bool",
    "builtins.dict",
    "builtins.float",
    "builtins.int",
    "builtins.list",
    "builtins.str",
    "collections.defaultdict",
    "omegaconf.base.ContainerMetadata",
    "omegaconf.base.Metadata",
    "typing.Any",
)

# what `PickleFile` takes as `allow`
ALLOWED: tuple[tuple[type, str], ...] = (
    *((type(name, (_Node,), {}), name) for name in _NODES),
    *((type(name, (_Inert,), {}), name) for name in _RECORDS),
)


def is_node(value: Any) -> bool:
    """Whether ``value`` was an object of omegaconf."""
    return isinstance(value, _Node)


def plain(value: Any, depth: int = 0) -> Any:
    """The plain values of what omegaconf held: dicts, lists, texts, numbers; ``None`` for anything else.

    Raises:
        RecursionError: it is nested endlessly.
    """
    if depth > _DEEPEST:
        raise RecursionError("nested too deeply")
    if is_node(value):
        return plain(value.content, depth + 1)
    if isinstance(value, Mapping):
        return {str(plain(key, depth + 1)): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    return value if isinstance(value, str | int | float) else None
