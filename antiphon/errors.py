"""The error tree. Every error Antiphon raises on purpose is an ``AntiphonError`` and the fitting built-in too.

A message has three parts: what came, what was expected, what to do. Code that already catches ``ValueError`` or
``TypeError`` keeps working, because each class below also inherits from the built-in that Python would have used.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AntiphonError(Exception):
    """Root of the tree.

    Args:
        what: what came, with its value.
        expected: what was expected instead (optional).
        fix: what the reader can do (optional).
    """

    def __init__(self, what: str, *, expected: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.expected = expected
        self.fix = fix
        parts = [what.rstrip(". ")]
        if expected:
            parts.append(f"Expected {expected.rstrip('. ')}")
        if fix:
            parts.append(fix.rstrip(". "))
        message = ". ".join(parts)
        super().__init__(message if message.endswith("?") else message + ".")


class CheckpointError(AntiphonError, OSError):
    """A checkpoint, or one of its files, is missing, damaged, unsafe or does not fit the model."""

    __str__ = Exception.__str__  # OSError would print its errno form


class ConfigError(AntiphonError, ValueError):
    """A configuration holds a value the model cannot be built from; names the field."""


class ParamError(AntiphonError, ValueError):
    """An argument of a call is out of range or contradicts another one."""


class ParamTypeError(AntiphonError, TypeError):
    """An argument has the wrong type, or no such argument exists (then the nearest name is given)."""


class AdapterError(AntiphonError, ValueError):
    """An adapter is damaged, does not fit the model, or is used in a state that does not allow it."""


class AudioError(AntiphonError, ValueError):
    """Sound that cannot be read, written or used: damaged file, wrong shape, not finite."""


class DataError(AntiphonError, ValueError):
    """A data set, or one of its items, cannot be used for training: missing, damaged, contradictory, or too little."""


class TokenizerError(AntiphonError, ValueError):
    """A tokenizer file is damaged or missing, or a text cannot be tokenised."""


class CapacityError(AntiphonError, MemoryError):
    """The work would not fit into memory; the forecast is in the message."""


class NumericError(AntiphonError, ArithmeticError):
    """A model produced numbers that are not finite; names the step and the stream."""


class SecurityError(AntiphonError, PermissionError):
    """Something that came with a checkpoint tried to do what data must not do."""

    __str__ = Exception.__str__


class SessionError(AntiphonError, RuntimeError):
    """A session was used after it ended, or in a state that does not allow the call."""


class MissingExtraError(AntiphonError, ImportError):
    """An optional dependency is needed; the message holds the command that installs it."""


class ProcessError(AntiphonError, RuntimeError):
    """Processes that work together did not find one another, or one of them died or hangs."""


class Cancelled(AntiphonError, RuntimeError):
    """The work was stopped by its caller."""


def unknown_argument(name: str, known: Iterable[str], *, where: str) -> ParamTypeError:
    """The error for an argument that does not exist, with the nearest name that does."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]!r}?" if near else "See the documentation of this call for the names it takes"
    return ParamTypeError(f"{where} got an unknown argument {name!r}", fix=hint)


def missing_extra(package: str, extra: str, *, purpose: str) -> MissingExtraError:
    """The error for a missing optional dependency, with the one command that mends it."""
    return MissingExtraError(
        f"{purpose} needs the package {package!r}", fix=f"Install it: pip install 'antiphon[{extra}]'"
    )
