"""Random passages of sound, to train a codec with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from antiphon.audio.passages import length_at, load_passage
from antiphon.audio.resampling import check_rate
from antiphon.errors import DataError, ParamError
from antiphon.training.inspection import Inspected, passage_of


class Sounds:
    """Passages of one length out of the files of a data set, at one rate and number of channels.

    Only the passage is read from a file. A sound that is shorter is filled up with silence behind it, or refused.

    Args:
        inspected: the good items. rate_hz, channels, seconds: of a passage.
        gain_db: each passage is made louder or softer by a number of decibels drawn between these two.
        short: ``"pad"``, or ``"refuse"`` where ``inspect`` was told ``least_s``.

    Raises:
        ParamError: an argument out of range.
    """

    def __init__(
        self,
        inspected: Inspected,
        *,
        rate_hz: int,
        channels: int = 1,
        seconds: float,
        gain_db: tuple[float, float] = (0.0, 0.0),
        short: Literal["pad", "refuse"] = "pad",
    ) -> None:
        if not (0 < seconds < math.inf):
            raise ParamError(f"seconds={seconds!r}", expected="a number of seconds above 0")
        if not (-60 <= gain_db[0] <= gain_db[1] <= 60):
            raise ParamError(f"gain_db={gain_db!r}", expected="a lower and a higher number of decibels, -60 to 60")
        if short not in ("pad", "refuse"):
            raise ParamError(f"short={short!r}", expected="'pad' or 'refuse'")
        self.inspected = inspected
        self.rate_hz = check_rate(rate_hz, "rate_hz")
        self.channels = channels
        self.samples = max(1, round(seconds * self.rate_hz))
        self._gain_db = gain_db
        self._short = short

    def __len__(self) -> int:
        return len(self.inspected)

    def name(self, index: int) -> str:
        """What reports call an item."""
        return self.inspected.manifest.name(index)

    def example(self, index: int, generator: np.random.Generator) -> dict[str, Any]:
        """A passage of one sound: ``samples`` float32 (C, N), of which ``length`` are sound, and its ``name``.

        Raises:
            DataError, AudioError: a file that cannot be read any more, or is too short.
        """
        # drawn before anything can fail, and always as many
        place, gain = generator.random(), generator.uniform(*self._gain_db)
        item, header = self.inspected.item(index), self.inspected.header(index)
        start_s, end_s = passage_of(item, header)
        first, last = round(start_s * self.rate_hz), min(round(end_s * self.rate_hz), length_at(header, self.rate_hz))
        length = min(self.samples, last - first)
        if length < 1 or (length < self.samples and self._short == "refuse"):
            raise DataError(
                f"{item.name} has {(last - first) / self.rate_hz:.2f} s",
                expected=f"at least {self.samples / self.rate_hz:g} s",
                fix="Pass least_s to inspect, or short='pad'",
            )
        start = first + int(place * (last - first - length + 1))
        sound = load_passage(item.path, header, start=start, count=length, rate_hz=self.rate_hz, channels=self.channels)
        samples = np.zeros((self.channels, self.samples), np.float32)
        samples[:, :length] = sound * np.float32(10 ** (gain / 20))
        return {"samples": samples, "length": length, "name": item.name}

    def collate(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Passages as a batch: ``samples`` (B, C, N) float32, of which ``lengths`` (B,) are a row's own; ``names``."""
        return {
            "samples": torch.from_numpy(np.stack([example["samples"] for example in examples])),
            "lengths": torch.tensor([example["length"] for example in examples]),
            "names": [example["name"] for example in examples],
        }
