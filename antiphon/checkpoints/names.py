"""Names of stored tensors, brought to the one spelling that the key tables know."""

from __future__ import annotations

from collections.abc import Iterable

from antiphon.errors import CheckpointError

_WEIGHT_NORM = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
_WRAPPERS = ("module", "_orig_mod")


def canonical(names: Iterable[str]) -> dict[str, str]:
    """The canonical name of each stored name, in the given order.

    Weight norm of torch before 2.1 (``weight_g``, ``weight_v``) takes the names that parametrizations use; the leading
    segments that ``DataParallel`` (``module.``) and ``torch.compile`` (``_orig_mod.``) add are stripped.

    Raises:
        CheckpointError: two stored names mean the same tensor, or one half of a weight norm pair is missing.
    """
    result: dict[str, str] = {}
    stored_as: dict[str, str] = {}
    for name in names:
        plain = _weight_norm(_unwrapped(name))
        if plain in stored_as:
            raise CheckpointError(
                f"the stored names {stored_as[plain]!r} and {name!r} mean the same tensor, {plain!r}",
                expected="each tensor once",
                fix="Remove one of them from the checkpoint",
            )
        stored_as[plain] = name
        result[name] = plain
    _check_pairs(stored_as)
    return result


def _unwrapped(name: str) -> str:
    head, dot, rest = name.partition(".")
    while dot and rest and head in _WRAPPERS:
        name = rest
        head, dot, rest = name.partition(".")
    return name


def _weight_norm(name: str) -> str:
    head, dot, last = name.rpartition(".")
    return f"{head}{dot}{_WEIGHT_NORM.get(last, last)}"


def _check_pairs(stored_as: dict[str, str]) -> None:
    first, second = _WEIGHT_NORM.values()
    for plain, name in stored_as.items():
        for half, other in ((first, second), (second, first)):
            if not plain.endswith(half):
                continue
            partner = plain.removesuffix(half) + other
            if partner not in stored_as:
                raise CheckpointError(
                    f"the weight norm of {name!r} is incomplete: nothing stored means {partner!r}",
                    expected="both the magnitude and the direction",
                    fix="Fetch the checkpoint again",
                )
