"""Taking a song apart: the voices and instruments that carry its melody, without drums and bass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antiphon.audio.resampling import check_rate, resample
from antiphon.audio.samples import as_samples, to_channels
from antiphon.errors import ParamError, missing_extra

MODEL = "htdemucs"
# drums and bass are the loudest, and the pitches of a bass are rarely those of the tune
MELODY = ("vocals", "other")

_OVERLAP = 0.25  # of two neighbouring segments, as Demucs has it
_PASSAGE_S = 120


def separate(
    samples: Any, rate_hz: int, *, stems: Sequence[str] = MELODY, model: Any = MODEL, device: str = "cpu"
) -> np.ndarray:
    """Gives the sum of some stems of a sound: float32, of the shape (C, N) and at the rate of the sound.

    The same sound gives the same stems at every call: the random shifts by which Demucs gains a little are left out.
    Beyond the sound itself, memory does not grow with its length.

    Args:
        samples: whatever ``as_samples`` takes, at ``rate_hz``.
        stems: which to add up, by the model's own names; Demucs has ``drums``, ``bass``, ``other`` and ``vocals``.
        model: the name of a pretrained one, which is fetched and kept at the first call, or one already loaded.
        device: where to compute.

    Raises:
        MissingExtraError: Demucs is not installed. ParamError: no such stem, rate or model.
        AudioError: an empty or bad sound.

    Source: S. Rouard, F. Massa, A. Défossez, "Hybrid Transformers for Music Source Separation"; the package ``demucs``.
    """
    sound = as_samples(samples)
    rate_hz = check_rate(rate_hz)
    model = separator(model)
    sources = list(model.sources)
    if not stems or not set(stems) <= set(sources):
        raise ParamError(f"stems={list(stems)!r}", expected=f"some of {sources}")
    at_model = resample(_with_channels(sound, model.audio_channels), rate_hz, model.samplerate)
    mixed = _mixed(model, torch.from_numpy(at_model), [sources.index(stem) for stem in stems], device)
    back = resample(mixed.numpy(), model.samplerate, rate_hz)[:, : sound.shape[1]]
    return np.ascontiguousarray(_with_channels(back, len(sound)))


def check_can_separate() -> None:
    """Raises ``MissingExtraError`` where Demucs is not installed."""
    try:
        import demucs.pretrained  # noqa: F401  # only to see whether it is there
    except ImportError as error:
        raise missing_extra("demucs", "separate", purpose="Separating a melody from a song") from error


def separator(model: Any) -> Any:
    """The separating model of that name; a model is given back as it is.

    Raises:
        MissingExtraError: Demucs is not installed. ParamError: it has no such model, or could not fetch it.
    """
    check_can_separate()
    from demucs.pretrained import get_model

    if not isinstance(model, str):
        return model
    # names of other people's repositories stay out: what such a file calls its class would be imported and called
    if not re.fullmatch(r"\w+", model):
        raise ParamError(
            f"separation model {model!r}", expected="a name such as 'htdemucs'", fix="Load it, and pass the model"
        )
    try:
        # from the Hub, where weights are safetensors; without the prefix Demucs falls back to pickles
        return get_model(f"hf://{model}")
    except Exception as error:  # Demucs, the Hub and the network have an error class each
        raise ParamError(
            f"the separation model {model!r} could not be had: {error}",
            expected="a pretrained model of Demucs, and the network or its cache",
        ) from error


def _mixed(model: Any, sound: Tensor, places: list[int], device: str) -> Tensor:
    """The sum of the stems at ``places``, (C, N) as ``sound``, a passage at a time.

    Demucs adds up overlapping segments. Passages begin where a segment does and see two more on both sides, so that
    they join without a seam.
    """
    from demucs.apply import apply_model

    segment_s = max(float(part.segment) for part in getattr(model, "models", [model]))
    step = int((1 - _OVERLAP) * int(segment_s * model.samplerate))
    kept = max(1, _PASSAGE_S * model.samplerate // step) * step
    mixed = torch.empty_like(sound)
    for start in range(0, sound.shape[1], kept):
        first = max(0, start - 2 * step)
        heard = sound[None, :, first : start + kept + 2 * step]
        with torch.no_grad():
            parts = apply_model(model, heard, shifts=0, overlap=_OVERLAP, device=device)[0]  # (stems, C, N)
        mixed[:, start : start + kept] = parts[places].sum(0)[:, start - first : start - first + kept]
    return mixed


def _with_channels(sound: np.ndarray, channels: int) -> np.ndarray:
    """The sound with that many channels; what is neither mono nor has as many is mixed to mono first."""
    if len(sound) not in (1, channels):
        sound = to_channels(sound, 1)
    return to_channels(sound, channels)
