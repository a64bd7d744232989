"""How far a piece follows a melody: the pitch class of each moment, beside the one that was to be followed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from antiphon.audio.chroma import HOP_SAMPLES, PITCH_CLASSES, chroma
from antiphon.audio.clip import Audio
from antiphon.audio.samples import to_channels
from antiphon.audio.sinc import sinc_resample
from antiphon.errors import ParamError

_RATE_HZ = 32_000


@dataclass(frozen=True, eq=False)
class MelodyAgreement:
    """Two rows of pitch classes at the same moments: what was heard, and what was made of it.

    Attributes:
        heard, made: int64 (F,), 0 for C to 11 for B; in silence 0, because that is what a model hears then.
        frame_s: seconds from one frame to the next; frame ``f`` is the half second around ``f * frame_s``.

    Raises:
        ParamError: rows of different lengths, or empty ones.
    """

    heard: np.ndarray
    made: np.ndarray
    frame_s: float

    def __post_init__(self) -> None:
        if self.heard.shape != self.made.shape or self.heard.ndim != 1 or not len(self.heard):
            raise ParamError(
                f"{self.heard.shape} frames that were heard and {self.made.shape} that were made",
                expected="one row of each, equally long",
            )

    @classmethod
    def of(cls, made: Audio, melody: Audio) -> MelodyAgreement:
        """That of a piece with a melody, which begins with the piece and comes again when it ends.

        Both are heard at 32 kHz, a frame every 4096 samples, as by the published models.
        """
        classes = pitch_classes(made)
        return cls(np.resize(pitch_classes(melody), len(classes)), classes, HOP_SAMPLES / _RATE_HZ)

    @property
    def share(self) -> float:
        """The share of frames in which both are the same."""
        return float((self.heard == self.made).mean())

    @property
    def chance(self) -> float:
        """The share that the same pitch classes would come to at other moments; what a drone gains is in it."""
        often = [np.bincount(row, minlength=PITCH_CLASSES) / len(row) for row in (self.heard, self.made)]
        return float(np.dot(*often))


def pitch_classes(audio: Audio) -> np.ndarray:
    """The strongest pitch class of each frame of a sound, int64 (F,), 0 for C; channels are averaged."""
    mono = torch.from_numpy(to_channels(audio.samples, 1)[0])
    strengths = chroma(sinc_resample(mono, audio.sampling_rate, _RATE_HZ), _RATE_HZ)
    return np.asarray(strengths.argmax(-1))
