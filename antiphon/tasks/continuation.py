"""Recordings to go on from: whatever a caller calls one, at the model's rate and channels, in whole frames."""

from __future__ import annotations

import functools
import hashlib
import numbers
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from antiphon.audio.clip import Audio
from antiphon.audio.resampling import check_rate, resample
from antiphon.audio.samples import as_samples, to_channels
from antiphon.errors import ParamError

_FILES = (str, os.PathLike, bytes, bytearray)


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
        return hashlib.sha256(np.ascontiguousarray(self.samples).tobytes()).hexdigest()


def clips_of(
    continue_from: Any, sampling_rate: Any, *, prompts: int, rate_hz: int, channels: int, hop_samples: int
) -> list[Clip] | None:
    """One clip for each prompt, or ``None`` where there is nothing to go on from.

    Args:
        continue_from: a path, the bytes of a file, an ``Audio``, or an array (N,) or (C, N) at ``sampling_rate`` Hz;
            one for all prompts, or a list with one for each.
        rate_hz, channels: what the clips are converted to. hop_samples: of a frame; what is left over at the end of a
            clip is dropped, since the silence that would fill the frame up would be heard as a gap.

    Raises:
        AudioError: a recording that cannot be read or used. ParamError: an array without a rate, a rate beside
            something that has its own, or another number of clips than prompts.
    """
    if continue_from is None:
        if sampling_rate is not None:
            raise ParamError(f"sampling_rate={sampling_rate!r} without continue_from", fix="Leave it out")
        return None
    given = continue_from if _is_several(continue_from) else [continue_from]
    if len(given) not in (1, prompts) or (_is_several(continue_from) and len(given) != prompts):
        raise ParamError(
            f"{len(given)} recordings for {prompts} prompts",
            expected="one recording for all, or a list with one for each prompt",
        )
    clips = [_clip(item, sampling_rate, rate_hz, channels, hop_samples) for item in given]
    return clips * prompts if len(clips) < prompts else clips


def _is_several(value: Any) -> bool:
    """Whether a list holds recordings; a list that begins with a number is one recording."""
    return isinstance(value, (list, tuple)) and not (value and isinstance(value[0], numbers.Real))


def _clip(item: Any, sampling_rate: Any, rate_hz: int, channels: int, hop_samples: int) -> Clip:
    samples, own_rate, name = _read(item, sampling_rate)
    samples = resample(to_channels(samples, channels, name="continue_from"), own_rate, rate_hz)
    length = samples.shape[1]
    return Clip(samples[:, : max(length - length % hop_samples, min(length, hop_samples))], length, name)


def _read(item: Any, sampling_rate: Any) -> tuple[np.ndarray, int, str | None]:
    is_file = isinstance(item, _FILES) or (callable(getattr(item, "read", None)) and not isinstance(item, np.ndarray))
    if (is_file or isinstance(item, Audio)) and sampling_rate is not None:
        raise ParamError(
            f"sampling_rate={sampling_rate!r} beside a recording that states its own",
            expected="it unset, unless continue_from is an array",
        )
    if isinstance(item, Audio):
        return item.samples, item.sampling_rate, None
    if is_file:
        name = os.path.basename(os.fspath(item)) if isinstance(item, (str, os.PathLike)) else None
        audio = Audio.load(item)
        return audio.samples, audio.sampling_rate, name
    if sampling_rate is None and isinstance(item, (np.ndarray, torch.Tensor, list, tuple)):
        raise ParamError(
            "continue_from is an array and sampling_rate is not given", fix="Pass sampling_rate=, in Hz, beside it"
        )
    samples = as_samples(item, name="continue_from")
    return samples, check_rate(sampling_rate), None
