"""Two names for one tensor: tables between a foreign checkpoint's names and ours, exact in both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from antiphon.errors import CheckpointError


class KeyTable:
    """Renames by prefix.

    A rule is a pair ``(theirs, ours)`` of dotted prefixes; ``{}`` stands for one number, the same on both sides in
    order. The first rule whose prefix matches whole segments of a name is applied; a name that no rule matches keeps
    its spelling.

    Args:
        rules: the pairs, specific before general.
        aliases: ``{their second name: their first name}`` of tensors that they store under two names and we hold once.
    """

    def __init__(self, rules: Sequence[tuple[str, str]] = (), aliases: Mapping[str, str] | None = None) -> None:
        self._in = [(_pattern(theirs), ours) for theirs, ours in rules]
        self._out = [(_pattern(ours), theirs) for theirs, ours in rules]
        self.aliases = dict(aliases or {})

    def ours(self, name: str) -> str:
        """Our name of the tensor that they call ``name``."""
        return _apply(self._in, self.aliases.get(name, name))

    def theirs(self, name: str) -> str:
        """Their first name of the tensor that we call ``name``."""
        return _apply(self._out, name)

    def check(self, names: Sequence[str]) -> None:
        """Raises ``CheckpointError`` unless every one of their ``names`` comes back unchanged from a round trip."""
        for name in names:
            first = self.aliases.get(name, name)
            if self.theirs(self.ours(name)) != first:
                raise CheckpointError(f"the key table turns {name!r} into {self.theirs(self.ours(name))!r}")


def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(r"(\d+)".join(re.escape(part) for part in prefix.split("{}")) + r"(?=\.|$)")


def _apply(rules: list[tuple[re.Pattern[str], str]], name: str) -> str:
    for pattern, target in rules:
        match = pattern.match(name)
        if match:
            return target.format(*match.groups()) + name[match.end() :]
    return name
