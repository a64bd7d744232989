"""Recordings to go on from, at the model's rate and channels, in whole frames."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from antiphon.audio.resampling import resample
from antiphon.audio.samples import to_channels
from antiphon.tasks.recordings import Recording, each_read_once, for_each_prompt, sha256_of


@dataclass(frozen=True)
class Clip:
    """A recording as the model takes it.

    Attributes:
        samples: float32 (C, N), a whole number of frames, or less than one.
        length_samples: of the recording before it was cut to frames. name: of its file, where it has one.
    """

    samples: np.ndarray
    length_samples: int
    name: str | None

    def record(self, rate_hz: int) -> dict[str, Any]:
        """What identifies the recording: its name, its length and a digest of its samples."""
        return {"name": self.name, "seconds": self.length_samples / rate_hz, "sha256": self._digest}

    @functools.cached_property
    def _digest(self) -> str:
        # every chunk of a stream carries it
        return sha256_of(self.samples)


def clips_of(
    continue_from: Any, sampling_rate: Any, *, prompts: int, rate_hz: int, channels: int, hop_samples: int
) -> list[Clip] | None:
    """One clip for each prompt, or ``None`` where there is nothing to go on from.

    Args:
        continue_from: anything ``Recording.read`` takes, arrays at ``sampling_rate`` Hz; one for all prompts, or a
            list with one for each.
        rate_hz, channels: what the clips are converted to. hop_samples: of a frame; what is left over at the end of a
            clip is dropped, since the silence that would fill the frame up would be heard as a gap.

    Raises:
        AudioError: a recording that cannot be read or used. ParamError: an array without a rate, or another number of
            clips than prompts.
    """
    if continue_from is None:
        return None
    given = for_each_prompt(continue_from, prompts, kind="recordings")
    return each_read_once(given, lambda item: _clip(item, sampling_rate, rate_hz, channels, hop_samples))


def _clip(item: Any, sampling_rate: Any, rate_hz: int, channels: int, hop_samples: int) -> Clip:
    recording = Recording.read(item, sampling_rate, argument="continue_from")
    mixed = to_channels(recording.samples, channels, name="continue_from")
    samples = resample(mixed, recording.sampling_rate, rate_hz)
    length = samples.shape[1]
    return Clip(samples[:, : max(length - length % hop_samples, min(length, hop_samples))], length, recording.name)
