"""Recordings that a caller hands to a composer: files, bytes, ``Audio`` values and arrays, read into one form."""

from __future__ import annotations

import hashlib
import math
import numbers
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from antiphon.audio.clip import Audio
from antiphon.audio.resampling import check_rate
from antiphon.audio.samples import as_samples
from antiphon.errors import ParamError

_FILES = (str, os.PathLike, bytes, bytearray)

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Recording:
    """A sound as it came: float32 (C, N) at its own rate, and the name of its file, where it has one."""

    samples: np.ndarray
    sampling_rate: int
    name: str | None

    @classmethod
    def read(
        cls, item: Any, sampling_rate: int | None = None, *, argument: str, first_s: float | None = None
    ) -> Recording:
        """The recording that a caller means.

        Args:
            item: a path, the bytes of a file, a binary file object, an ``Audio``, or an array (N,) or (C, N).
            sampling_rate: of an array, in Hz; the others state their own. argument: what messages call the sound.
            first_s: only so many seconds are read, from the beginning.

        Raises:
            AudioError: a sound that cannot be read. ParamError: an array without a rate. ParamTypeError: no sound.
        """
        if isinstance(item, Audio):
            return cls(_beginning(item.samples, item.sampling_rate, first_s), item.sampling_rate, None)
        if _is_file(item):
            name = os.path.basename(os.fspath(item)) if isinstance(item, (str, os.PathLike)) else None
            audio = Audio.load(item, first_s=first_s)
            return cls(audio.samples, audio.sampling_rate, name)
        if sampling_rate is None and isinstance(item, (np.ndarray, torch.Tensor, list, tuple)):
            raise ParamError(
                f"{argument} is an array and sampling_rate is not given", fix="Pass sampling_rate=, in Hz, beside it"
            )
        samples = as_samples(item, name=argument)
        rate_hz = check_rate(sampling_rate)
        return cls(_beginning(samples, rate_hz, first_s), rate_hz, None)


def for_each_prompt(given: Any, prompts: int, *, kind: str) -> list[Any]:
    """What was given, once for each prompt: a list has one for each already, and one for all is repeated.

    Args:
        kind: what messages call such things.

    Raises:
        ParamError: a list of another length.
    """
    if not _is_several(given):
        return [given] * prompts
    if len(given) != prompts:
        raise ParamError(
            f"{len(given)} {kind} for {prompts} prompts",
            expected="one for all, or a list with one for each prompt",
        )
    return list(given)


def each_read_once(items: list[Any], read: Callable[[Any], T]) -> list[T]:
    """What ``read`` makes of each item, called once for one that is there several times."""
    keys = [item if isinstance(item, (str, bytes)) else id(item) for item in items]
    done = {key: read(item) for key, item in dict(zip(keys, items, strict=True)).items()}
    return [done[key] for key in keys]


def sha256_of(samples: np.ndarray) -> str:
    """The digest of samples, which tells one sound from another."""
    return hashlib.sha256(np.ascontiguousarray(samples).tobytes()).hexdigest()


def check_rate_is_needed(sampling_rate: Any, **given: Any) -> None:
    """Refuses a sampling rate that no array among the arguments ``given`` would have.

    Raises:
        ParamError: there is nothing, or everything states its own rate.
    """
    if sampling_rate is None:
        return
    there = [value for value in given.values() if value is not None]
    if not there:
        raise ParamError(f"sampling_rate={sampling_rate!r} without {' or '.join(given)}", fix="Leave it out")
    items = [item for value in there for item in (value if _is_several(value) else [value]) if item is not None]
    if all(_is_file(item) or isinstance(item, Audio) for item in items):
        raise ParamError(
            f"sampling_rate={sampling_rate!r} beside a recording that states its own",
            expected=f"it unset, unless {' or '.join(given)} is an array",
        )


def _is_file(item: Any) -> bool:
    return isinstance(item, _FILES) or (callable(getattr(item, "read", None)) and not isinstance(item, np.ndarray))


def _is_several(value: Any) -> bool:
    """Whether a list holds recordings; a list that begins with a number is one recording."""
    return isinstance(value, (list, tuple)) and not (value and isinstance(value[0], numbers.Real))


def _beginning(samples: np.ndarray, rate_hz: int, first_s: float | None) -> np.ndarray:
    return samples if first_s is None else samples[:, : math.ceil(first_s * rate_hz)]
