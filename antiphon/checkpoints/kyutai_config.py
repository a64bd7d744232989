"""Values of a ``config.json`` as kyutai writes it: read by key, and refused where nothing here computes them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError

_LARGEST = 2**31
_ABSENT: Any = object()


class KyutaiConfig:
    """The values under some keys, which are taken out one by one; ``finish`` refuses those that are left.

    Args:
        values: the keys and values. source: the file, for errors. section: what they are called in it, if they are not
            all of it.
    """

    def __init__(self, values: Mapping[str, Any], source: Path, section: str = "") -> None:
        self._left = dict(values)
        self._source = source
        self._section = section

    def take(self, key: str, default: Any = _ABSENT) -> Any:
        """A value, whatever it is.

        Raises:
            ConfigError: it is absent and there is no default.
        """
        if key not in self._left and default is _ABSENT:
            raise ConfigError(
                f"{self._source} lacks {self._name(key)}", expected="the configuration of a Moshi or a Mimi"
            )
        return self._left.pop(key, default)

    def number(self, key: str, default: Any = _ABSENT, *, kind: type = int, least: int = 1) -> Any:
        """A finite number, at least ``least``.

        Raises:
            ConfigError: it is absent and there is no default, or no such number.
        """
        value = self.take(key, default)
        right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not right or (kind is int and value != int(value)) or not least <= value < _LARGEST:
            what = "an integer" if kind is int else "a number"
            raise self.error(key, value, f"{what} of at least {least}")
        return kind(value)

    def numbers(self, key: str, default: Any = _ABSENT, *, least: int = 1) -> list[int]:
        """A list of integers, each at least ``least``.

        Raises:
            ConfigError: it is absent and there is no default, or no such list.
        """
        value = self.take(key, default)
        if not isinstance(value, list | tuple) or not all(type(item) is int and least <= item for item in value):
            raise self.error(key, value, f"a list of integers of at least {least}")
        return list(value)

    def require(self, supported: Mapping[str, tuple[Any, Any]]) -> None:
        """Refuses other values than those that can be computed here.

        Args:
            supported: for each key the value, and the one that holds where the key is absent.

        Raises:
            ConfigError: another value, by name.
        """
        for key, (wanted, absent) in supported.items():
            value = self.take(key, absent)
            if value != wanted:
                raise self.error(key, value, f"{wanted!r}, all that can be computed here")

    def drop(self, keys: Iterable[str]) -> None:
        """Takes out keys whose values change nothing."""
        for key in keys:
            self._left.pop(key, None)

    def finish(self) -> None:
        """Refuses what nobody has asked for: what it means is not known here."""
        for key in sorted(self._left):
            raise self.error(key, self._left[key], "no such key: what it means is not known here")

    def error(self, key: str, value: Any, expected: str) -> ConfigError:
        """The error for a value that cannot be used."""
        return ConfigError(f"{self._source} has {self._name(key)}={value!r}", expected=expected)

    def _name(self, key: str) -> str:
        return f"{self._section}.{key}" if self._section else key
