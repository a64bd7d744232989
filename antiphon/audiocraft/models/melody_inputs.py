"""Melodies as audiocraft's callers give them, as what the documented ``generate`` takes."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from antiphon.audio.resampling import check_rate
from antiphon.audio.samples import as_samples, to_channels
from antiphon.errors import ParamTypeError

log = logging.getLogger(__name__)


def melody_inputs(
    extractor: Any,
    melodies: Sequence[Tensor | None],
    rate_hz: int,
    *,
    starts_s: Sequence[float],
    separate: bool | None,
) -> dict[str, Any]:
    """The chroma of melodies (C, N) or ``None``, in several windows at the place of each; silence for none.

    Args:
        starts_s: where the windows begin in the piece. separate: as ``MusicGen.separate``.

    Raises:
        AudioError, ParamError, ParamTypeError: sounds or a rate that cannot be used. MissingExtraError: ``separate``
            and no Demucs.
    """
    rate_hz = check_rate(rate_hz, "melody_sample_rate")
    if separate is None:
        separate = importlib.util.find_spec("demucs") is not None
        if not separate and any(melody is not None for melody in melodies):
            log.warning(
                "Demucs is not installed, so that drums and bass are heard as part of a melody: "
                "pip install 'antiphon[separate]', or set separate=False on the model"
            )
    sounds = [_sound(melody, number, rate_hz, separate) for number, melody in enumerate(melodies)]
    if len(starts_s) > 1:
        return dict(extractor.window_features(sounds, list(starts_s), sampling_rate=rate_hz, return_tensors="pt"))
    # the chroma is cut where the window ends, not the sound: its last frames hear what comes behind
    heard = (extractor.chunk_length + 1) * rate_hz
    sounds = [sound[:heard] for sound in sounds]
    settings = {"truncation": False, "independent_rows": True, "return_tensors": "pt"}
    return dict(extractor(sounds, sampling_rate=rate_hz, **settings))


def _sound(melody: Any, number: int, rate_hz: int, separate: bool) -> np.ndarray:
    """One melody (N,); silence, whose chroma is that of no melody, for ``None``."""
    if melody is None:
        return np.zeros(1, np.float32)
    name = f"melody_wavs[{number}]"
    if not isinstance(melody, Tensor) or melody.dim() != 2:
        shape = tuple(getattr(melody, "shape", ()))
        raise ParamTypeError(
            f"{name} of type {type(melody).__name__} and shape {shape}",
            expected="a tensor (channels, samples), or None",
        )
    samples = as_samples(melody, name=name)
    if separate:
        from antiphon.audio.separation import separate as stems_of

        samples = stems_of(samples, rate_hz)
    mono: np.ndarray = to_channels(samples, 1, name=name)[0]
    return mono
