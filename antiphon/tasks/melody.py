"""Melodies to follow: whatever a caller calls one, as far as a piece can hear it, and as the model takes it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antiphon.audio.samples import to_channels
from antiphon.errors import ParamError, ParamTypeError
from antiphon.generation.windows import Window
from antiphon.tasks.recordings import Recording, each_read_once, for_each_prompt, sha256_of

# A frame of chroma looks half a second around itself, and resampling a little further.
_MARGIN_S = 1.0


@dataclass(frozen=True, eq=False)
class Tune:
    """As much of a melody as pieces of one length can hear.

    Attributes:
        recording: its beginning, as it came. separate: whether drums and bass are taken out before it is heard.
    """

    recording: Recording
    separate: bool

    def record(self) -> dict[str, Any]:
        """What identifies it: name, seconds that were read, a digest of their samples, and how it was taken."""
        seconds = self.recording.samples.shape[1] / self.recording.sampling_rate
        return {"name": self.recording.name, "seconds": seconds, "sha256": self._digest, "separate": self.separate}

    @functools.cached_property
    def _digest(self) -> str:
        return sha256_of(self.recording.samples)

    @functools.cached_property
    def line(self) -> np.ndarray:
        """What is heard: float32 (N,), one channel."""
        samples, rate_hz = self.recording.samples, self.recording.sampling_rate
        if self.separate:
            from antiphon.audio.separation import separate

            samples = separate(samples, rate_hz)
        mono: np.ndarray = to_channels(samples, 1, name="melody")[0]
        return mono

    def whole(self, extractor: Any) -> Tensor:
        """The chroma of all of it, float (F, 12), which the model repeats or cuts: for pieces of one window."""
        rate_hz = self.recording.sampling_rate
        inputs = extractor(self.line, sampling_rate=rate_hz, independent_rows=True, return_tensors="pt")
        features: Tensor = inputs["input_features"][0]
        return features

    def windows(self, extractor: Any, starts_s: Sequence[float]) -> Tensor:
        """The chroma that each window of a longer piece hears, (W, F, 12); the sound goes round and round."""
        rate_hz = self.recording.sampling_rate
        inputs = extractor.window_features(self.line, starts_s, sampling_rate=rate_hz, return_tensors="pt")
        features: Tensor = inputs["input_features"][0]
        return features


class Melody:
    """A sound whose melody pieces follow; calls that share one read it, and take it apart, once.

    Args:
        source: a path, the bytes of a file, an ``Audio``, or an array (N,) or (C, N). sampling_rate: of an array, Hz.
        separate: take drums and bass out first, with Demucs (the extra ``separate``).

    Raises:
        ParamTypeError: ``separate`` is neither true nor false.
    """

    def __init__(self, source: Any, sampling_rate: int | None = None, *, separate: bool = False) -> None:
        if not isinstance(separate, bool):
            raise ParamTypeError(f"separate is of type {type(separate).__name__}", expected="True or False")
        self.separate = separate
        self._source, self._rate_hz = source, sampling_rate
        self._read: tuple[float, Tune] | None = None

    def tune(self, seconds: float) -> Tune:
        """Its first ``seconds``; no more of a longer file is kept in memory.

        Raises:
            AudioError: a sound that cannot be read. ParamError: an array without a rate. ParamTypeError: no sound.
        """
        if self._read is None or self._read[0] != seconds:
            recording = Recording.read(self._source, self._rate_hz, argument="melody", first_s=seconds)
            self._read = seconds, Tune(recording, self.separate)
        return self._read[1]


def tune_of(melody: Any, sampling_rate: Any, *, separate: Any, seconds: float, seen_s: float) -> Tune:
    """What of a melody a piece can hear.

    Args:
        melody: a ``Melody`` or anything it takes, an array at ``sampling_rate`` Hz. separate: as there.
        seconds: of the piece. seen_s: how much of a melody the model sees at once, 0 where it takes none.

    Raises:
        AudioError: a melody that cannot be read or used. ParamError: a model without melodies, an array without a rate,
            or ``separate`` beside a ``Melody`` that says otherwise. ParamTypeError: no sound.
    """
    if not seen_s > 0:
        raise follows_none("this model")
    given = melody if isinstance(melody, Melody) else Melody(melody, sampling_rate, separate=separate)
    if separate and not given.separate:
        raise ParamError("separate=True beside a Melody that is not separated", fix="Say it when you make it")
    return given.tune(seconds + seen_s + _MARGIN_S)  # behind that no window looks


def follows_none(name: str) -> ParamError:
    """The error for a melody beside a model that takes none."""
    return ParamError(
        f"a melody, and {name} follows none",
        expected="a checkpoint of MusicGen Melody, such as facebook/musicgen-melody",
        fix="Load one, or go on from the recording instead",
    )


def tunes_of(
    melody: Any, sampling_rate: Any, *, separate: Any, prompts: int, seconds: float, seen_s: float
) -> list[Tune | None] | None:
    """One tune for each prompt, ``None`` where it has none; ``None`` where no prompt has one.

    Args:
        melody: as in ``tune_of``; one for all prompts, or a list with one or ``None`` for each.

    Raises:
        ParamError: another number of melodies than prompts, or ``separate`` without any; and as ``tune_of``.
    """
    items = [] if melody is None else for_each_prompt(melody, prompts, kind="melodies")
    if all(item is None for item in items):
        if separate:
            raise ParamError("separate=True without a melody", fix="Leave it out, or pass melody=")
        return None

    def tune(item: Any) -> Tune | None:
        if item is None:
            return None
        return tune_of(item, sampling_rate, separate=separate, seconds=seconds, seen_s=seen_s)

    return each_read_once(items, tune)


def features_of(tunes: Sequence[Tune | None], extractor: Any, starts_s: Sequence[float] | None) -> dict[str, Tensor]:
    """The inputs of the documented ``generate`` for items with these tunes; without one, the null melody.

    Args:
        extractor: a ``MusicgenMelodyFeatureExtractor``. starts_s: where in the piece its windows begin, in seconds;
            ``None`` for a piece of one window.

    Returns:
        ``input_features`` (B, F, 12) and ``input_features_mask`` (B, F), or ``input_features`` (B, W, F, 12).
    """
    found = [
        None if tune is None else tune.whole(extractor) if starts_s is None else tune.windows(extractor, starts_s)
        for tune in tunes
    ]
    real = [features for features in found if features is not None]
    longest = max(real, key=lambda features: features.shape[-2])
    batch = torch.zeros(len(tunes), *longest.shape, dtype=longest.dtype)
    batch[..., 0] = 1  # silence, and no melody at all, is the first pitch class
    mask = torch.ones(len(tunes), longest.shape[-2], dtype=torch.long)
    for row, features in enumerate(found):
        if features is not None:
            batch[row, ..., : features.shape[-2], :] = features
            mask[row, features.shape[-2] :] = 0
    return {"input_features": batch} if starts_s is not None else {"input_features": batch, "input_features_mask": mask}


def in_one_window(windows: Sequence[Window]) -> bool:
    """Whether a piece is made at once, from its beginning."""
    return len(windows) == 1 and windows[0].first == 0
