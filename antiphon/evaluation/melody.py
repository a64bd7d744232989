"""How far a piece follows a melody: the likeness of their chroma, moment by moment."""

from __future__ import annotations

import numpy as np
import torch

from antiphon.audio.chroma import chroma
from antiphon.audio.clip import Audio
from antiphon.audio.samples import to_channels
from antiphon.audio.sinc import sinc_resample
from antiphon.errors import AudioError

_RATE_HZ = 32_000


def melody_similarity(piece: Audio, melody: Audio) -> float:
    """The cosine between the chroma of a piece and of a melody, averaged over the moments in which the melody sounds.

    The melody begins with the piece and comes again when it ends. 1 is the same pitch classes in the same proportions;
    two pieces that have nothing to do with each other come to about 0.5, so look at what other melodies score.

    Raises:
        AudioError: a melody that is silent throughout.
    """
    made, heard = _chroma(piece), _chroma(melody)
    heard = heard[np.arange(len(made)) % len(heard)]
    lengths = np.linalg.norm(heard, axis=1)
    sounding = lengths > 0
    if not sounding.any():
        raise AudioError("the melody is silent", expected="one that sounds")
    both = (made * heard).sum(axis=1)[sounding]
    scale = (np.linalg.norm(made, axis=1) * lengths)[sounding]
    return float((both / np.maximum(scale, 1e-9)).mean())


def _chroma(audio: Audio) -> np.ndarray:
    mono = torch.from_numpy(to_channels(audio.samples, 1)[0])
    return np.asarray(chroma(sinc_resample(mono, audio.sampling_rate, _RATE_HZ), _RATE_HZ), np.float64)
