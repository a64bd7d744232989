"""``xp.cfg``: the configuration that audiocraft keeps inside its checkpoints, a tree of plain values or its YAML."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError

_LIMIT_CHARACTERS = 1 << 20  # published ones have some 10 000
_DEEPEST = 16
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_MISSING = "???"
_ABSENT: Any = object()


class XpConfig:
    """Values by dotted name, with references such as ``${sample_rate}`` followed.

    Args:
        values: the tree. source: the file it came from, for errors. text: its YAML as it was stored, if it was text.
    """

    def __init__(self, values: Mapping[str, Any], source: Path, text: str | None = None) -> None:
        self._values = values
        self.source = source
        self._text = text

    @classmethod
    def of_text(cls, text: str, source: Path) -> XpConfig:
        """The configuration of a YAML text.

        Raises:
            ConfigError: it is too long, no YAML, no mapping, nested too deeply, or uses tags or aliases, by which a
                short text can stand for an endless one.
        """
        if len(text) > _LIMIT_CHARACTERS:
            raise ConfigError(
                f"{source}: xp.cfg has {len(text)} characters", expected=f"at most {_LIMIT_CHARACTERS} of them"
            )
        from antiphon.checkpoints.plain_yaml import from_yaml

        try:
            values = from_yaml(text)
        except (RecursionError, ValueError) as error:
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ConfigError(
                f"{source}: xp.cfg is no plain YAML: {reason}", expected="the configuration of a training run"
            ) from error
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: xp.cfg is a {type(values).__name__}", expected="a mapping of names")
        return cls(values, source, text)

    @property
    def text(self) -> str:
        """Its YAML, as it was stored where it was text."""
        from antiphon.checkpoints.plain_yaml import to_yaml

        return to_yaml(self._values) if self._text is None else self._text

    def get(self, name: str, default: Any = _ABSENT) -> Any:
        """The value called ``name``, dots between its parts; ``default`` where it is absent.

        Raises:
            ConfigError: it is absent and there is no default, left open (``???``), or refers to what cannot be found.
        """
        found = self._followed(name, 0)
        if found is _ABSENT and default is _ABSENT:
            raise ConfigError(
                f"{self.source}: xp.cfg lacks {name}", expected="the configuration of a MusicGen or its codec"
            )
        return default if found is _ABSENT else found

    def section(self, name: str) -> dict[str, Any]:
        """The mapping called ``name`` with the references in it followed; empty where it is absent or null."""
        values = self.get(name, None)
        if values is None:
            return {}
        if not isinstance(values, Mapping):
            raise self.error(name, "a mapping")
        return {str(key): self.get(f"{name}.{key}") for key in values}

    def number(self, name: str, default: Any = _ABSENT, *, kind: type = int) -> Any:
        """The number called ``name``, of the given kind; a whole ``float`` counts as an ``int``.

        Raises:
            ConfigError: as ``get``, or it is no such number.
        """
        value = self.get(name, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or (kind is int and value != int(value)):
            raise self.error(name, "an integer" if kind is int else "a number")
        return kind(value)

    def check(self, section: str, supported: Mapping[str, Any], without_effect: Iterable[str]) -> None:
        """Refuses what the mathematics here does not have.

        Args:
            section: a dotted name. supported: for each key the one value that can be computed, and what holds where the
                key is absent, as a pair. without_effect: keys that may have any value.

        Raises:
            ConfigError: another value, or a key that is in neither list, by name.
        """
        values = self.section(section)
        for key, (wanted, absent) in supported.items():
            if (value := values.pop(key, absent)) != wanted:
                raise ConfigError(
                    f"{self.source}: xp.cfg has {section}.{key}={value!r}",
                    expected=f"{wanted!r}, all that can be computed here",
                )
        for key in sorted(values.keys() - set(without_effect)):
            raise self.error(f"{section}.{key}", "no such key: what it means is not known here")

    def error(self, name: str, expected: str, *, fix: str | None = None) -> ConfigError:
        """The error for a value that cannot be used, with its name and what it is."""
        return ConfigError(f"{self.source}: xp.cfg has {name}={self.get(name, None)!r}", expected=expected, fix=fix)

    def _followed(self, name: str, depth: int) -> Any:
        value: Any = self._values
        for part in name.split("."):
            if isinstance(value, str):  # the section itself is a reference
                value = self._resolved(name, value, depth)
            if not isinstance(value, Mapping) or part not in value:
                return _ABSENT
            value = value[part]
        return self._resolved(name, value, depth)

    def _resolved(self, name: str, value: Any, depth: int) -> Any:
        if value == _MISSING:
            raise ConfigError(f"{self.source}: xp.cfg leaves {name} open", expected="a value")
        if isinstance(value, list):
            return [self._resolved(name, item, depth) for item in value]
        if not isinstance(value, str) or "${" not in value:
            return value
        reference = _REFERENCE.fullmatch(value)
        found = self._followed(reference[1], depth + 1) if reference and depth < _DEEPEST else _ABSENT
        if found is _ABSENT:
            raise ConfigError(
                f"{self.source}: xp.cfg has {name}={value!r}, which leads nowhere",
                expected="a value, or a reference to one in the same file, such as ${sample_rate}",
            )
        return found
