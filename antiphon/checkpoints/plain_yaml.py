"""YAML of plain values, as programs write it: no tags, no aliases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml


def from_yaml(text: str) -> Any:
    """The plain values of a text.

    Raises:
        ValueError: it is no YAML, has tags, or uses aliases, by which a short text can stand for an endless one.
        RecursionError: it is nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_PlainLoader)  # a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def to_yaml(values: Mapping[str, Any]) -> str:
    """The text of plain values, in the order they have."""
    text: str = yaml.dump(dict(values), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)
    return text


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]  # yaml is untyped
    def compose_node(self, parent: Any, index: Any) -> Any:
        """The next node."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it uses aliases")
        return super().compose_node(parent, index)


class _PlainDumper(yaml.SafeDumper):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        """Equal objects are written out each time."""
        return True
