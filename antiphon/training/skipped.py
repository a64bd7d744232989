"""What of a data set could not be used, counted and named; too much of it stops the run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from antiphon.errors import AntiphonError, DataError

MOST_SHARE = 0.05
_NAMED = 1000
_SHOWN = 5


@dataclass
class Skipped:
    """The bad items of a data set: how many, and of the first thousand the names and what was wrong.

    Args:
        count: how many. named: pairs of name and reason.
    """

    count: int = 0
    named: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, reason: Exception | str) -> None:
        """Counts one more."""
        self.count += 1
        if len(self.named) < _NAMED:
            self.named.append((name, reason.what if isinstance(reason, AntiphonError) else str(reason)))

    def extend(self, others: Iterable[tuple[str, str]]) -> None:
        """Counts several more."""
        for name, reason in others:
            self.add(name, reason)

    def joined(self, other: Skipped) -> Skipped:
        """Both together."""
        return Skipped(self.count + other.count, [*self.named, *other.named][:_NAMED])

    def report(self) -> str:
        """A line for each bad item that is known by name, and a line for the others."""
        lines = [f"{name}: {reason}" for name, reason in self.named]
        if self.count > len(lines):
            lines.append(f"and {self.count - len(lines)} more")
        return "\n".join(lines)

    def check(self, items: int, *, share: float = MOST_SHARE) -> None:
        """Lets pass what is usual.

        Args:
            items: of the data set, the bad ones among them. share: of them that may be bad.

        Raises:
            DataError: more are, or there is no good one; it names the first.
        """
        if self.count <= share * items and self.count < items:
            return
        if not items:
            raise DataError("the data set is empty", expected="at least one item")
        shown = "; ".join(f"{name}: {reason}" for name, reason in self.named[:_SHOWN])
        rest = f"; and {self.count - _SHOWN} more" if self.count > _SHOWN else ""
        raise DataError(
            f"{self.count} of {items} items of the data set cannot be used ({shown}{rest})",
            expected=f"at most {share:.0%} of bad ones",
            fix="Mend them or take them out",
        )
