"""Two names for one tensor: tables between a foreign checkpoint's names and ours, exact in both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from antiphon.errors import CheckpointError


class KeyTable:
    """Renames by prefix.

    A rule is a pair ``(theirs, ours)`` of dotted prefixes; ``{}`` stands for one number, the same on both sides in
    order, and ``{0}``, ``{1}`` for numbers that change places. The first rule whose prefix matches whole segments of a
    name is applied; a name that no rule matches keeps its spelling.

    Args:
        rules: the pairs, specific before general.
        aliases: ``{their second name: their first name}`` of tensors that they store under two names and we hold once.
        stacked: prefixes of their names whose tensors have one more axis in front: what they call ``prefix.weight`` is
            the stack of ours, which the rules know as ``prefix.0.weight``, ``prefix.1.weight`` and so on.
        repeated: prefixes of our names under which modules stand a second time that have another name already.
    """

    def __init__(
        self,
        rules: Sequence[tuple[str, str]] = (),
        aliases: Mapping[str, str] | None = None,
        *,
        stacked: Sequence[str] = (),
        repeated: Sequence[str] = (),
    ) -> None:
        self._in = [(_pattern(theirs), ours) for theirs, ours in rules]
        self._out = [(_pattern(ours), theirs) for theirs, ours in rules]
        self._stacked = [_stack_pattern(prefix) for prefix in stacked]
        self._repeated = [_pattern(prefix) for prefix in repeated]
        self.aliases = dict(aliases or {})

    def ours(self, name: str) -> str:
        """Our name of the tensor that they call ``name``."""
        return _apply(self._in, self.aliases.get(name, name))

    def theirs(self, name: str) -> str:
        """Their first name of the tensor that we call ``name``."""
        return _apply(self._out, name)

    def piece(self, name: str) -> tuple[str, int] | None:
        """Their name of the stack that their piece ``name`` lies in, and its place there; ``None`` for what is none."""
        match = self._in_a_stack(name)
        if match is None or match["number"] is None:
            return None
        return f"{match['head']}.{match['leaf']}", int(match["number"])

    def pieces(self, name: str, count: int) -> list[str] | None:
        """Their names of the ``count`` pieces of the stack that they call ``name``; ``None`` for what is no stack."""
        match = self._in_a_stack(name)
        if match is None or match["number"] is not None:
            return None
        return [f"{match['head']}.{number}.{match['leaf']}" for number in range(count)]

    def _in_a_stack(self, name: str) -> re.Match[str] | None:
        return next((match for pattern in self._stacked if (match := pattern.match(name))), None)

    def repeats(self, name: str) -> bool:
        """Whether what we call ``name`` stands under another name too."""
        return any(pattern.match(name) for pattern in self._repeated)

    def check(self, names: Sequence[str]) -> None:
        """Raises ``CheckpointError`` unless every one of their ``names`` comes back unchanged from a round trip."""
        for name in names:
            first = self.aliases.get(name, name)
            if self.theirs(self.ours(name)) != first:
                raise CheckpointError(f"the key table turns {name!r} into {self.theirs(self.ours(name))!r}")


def _pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(_source(prefix) + r"(?=\.|$)")


def _source(prefix: str) -> str:
    text, *others = re.split(r"\{(\d*)\}", prefix)
    source = re.escape(text)
    for place, (number, text) in enumerate(zip(others[::2], others[1::2], strict=True)):
        source += rf"(?P<n{number or place}>\d+)" + re.escape(text)
    return source


def _stack_pattern(prefix: str) -> re.Pattern[str]:
    return re.compile(rf"(?P<head>{_source(prefix)})(?:\.(?P<number>\d+))?\.(?P<leaf>[A-Za-z_]\w*)$")


def _apply(rules: list[tuple[re.Pattern[str], str]], name: str) -> str:
    for pattern, target in rules:
        match = pattern.match(name)
        if match:
            numbers = match.groupdict()
            return target.format(*(numbers[f"n{place}"] for place in range(len(numbers)))) + name[match.end() :]
    return name
