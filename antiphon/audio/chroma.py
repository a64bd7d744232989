"""Chroma: how strong each of the twelve pitch classes is, frame by frame, whatever the octave."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from antiphon.audio.mirroring import mirrored
from antiphon.audio.resampling import check_rate
from antiphon.errors import AudioError, ParamError, ParamTypeError

PITCH_CLASSES = 12
PITCH_NAMES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
N_FFT = 16384
HOP_SAMPLES = 4096

_A_HZ = 440.0 / 16  # the A of octave 0
_CENTRE_OCTAVE, _WIDTH_OCTAVES = 5.0, 2.0
# below this the strongest class counts as silence rather than as full scale
_SILENCE = 1e-6
_BLOCK_FRAMES = 64


def chroma(
    samples: Tensor, rate_hz: int, *, n_fft: int = N_FFT, hop_samples: int = HOP_SAMPLES, bins: int = PITCH_CLASSES
) -> Tensor:
    """Gives the strength of each pitch class, the strongest of a frame being 1, as float32 (..., F, bins).

    ``F`` is ``max(N, n_fft) // hop_samples + 1``: frame ``f`` is centred on sample ``f * hop_samples``. A sound shorter
    than ``n_fft`` gets silence on both sides, a longer one is mirrored at its ends. Bin 0 is C. A frame of silence is
    all zeros. However long the sound, few frames are worked on at a time.

    Args:
        samples: (..., N) floating point, finite, N >= 1; computed in float32 whatever their type.
        n_fft: samples that a frame sees, even. hop_samples: from one frame to the next.

    Raises:
        ParamError: a rate, size or number of bins that cannot be. ParamTypeError: ``samples`` are no floats.
        AudioError: there are none.

    Source: D. Ellis, "Chroma feature analysis and synthesis"; power spectra and their scale as in audiocraft's
        ``ChromaExtractor``, which MusicGen Melody was trained with.
    """
    if not samples.is_floating_point():
        raise ParamTypeError(f"samples are {samples.dtype}", expected="floats")
    if samples.numel() == 0:
        raise AudioError(f"samples of shape {tuple(samples.shape)} have no chroma", expected="at least one sample")
    if not (hop_samples >= 1):
        raise ParamError(f"hop_samples={hop_samples!r}", expected="at least 1")
    filters = chroma_filters(rate_hz, n_fft, bins).to(samples.device)
    missing = max(0, n_fft - samples.shape[-1])
    if missing:
        samples = torch.nn.functional.pad(samples, (missing // 2, missing - missing // 2))
    window = torch.hann_window(n_fft, device=samples.device)
    loudness = window.square().sum()
    frames = samples.shape[-1] // hop_samples + 1
    blocks = []
    for first in range(0, frames, _BLOCK_FRAMES):
        last = min(first + _BLOCK_FRAMES, frames) - 1
        part = mirrored(samples, first * hop_samples - n_fft // 2, last * hop_samples + n_fft // 2)
        spectrum = torch.stft(
            part.reshape(-1, part.shape[-1]), n_fft, hop_samples, window=window, center=False, return_complex=True
        )
        # (rows, n_fft / 2 + 1, frames of the block); the absolute value would take a root to be squared again
        power = spectrum.real.square() + spectrum.imag.square()
        strengths = filters @ power / loudness
        blocks.append(torch.nn.functional.normalize(strengths, p=torch.inf, dim=-2, eps=_SILENCE).mT)
    return torch.cat(blocks, dim=-2).view(*samples.shape[:-1], frames, bins)


def strongest(chroma: Tensor) -> Tensor:
    """Gives 1 for the strongest class of each frame and 0 for the others, as float32 (..., F, bins).

    Of equally strong ones the first counts, so silence is bin 0: this is the melody that the model follows.
    """
    return torch.nn.functional.one_hot(chroma.argmax(-1), chroma.shape[-1]).float()


@lru_cache(maxsize=16)
def chroma_filters(rate_hz: int, n_fft: int, bins: int = PITCH_CLASSES) -> Tensor:
    """Gives the share of each frequency in each pitch class: float32 (bins, n_fft / 2 + 1), shared, not to be changed.

    Around each frequency's place in the octave lies a Gaussian bump as wide as the distance to the next frequency, but
    no narrower than a class; columns have length 1 and are then weighted by a Gaussian of the octave around the fifth.
    A4 is 440 Hz.

    Raises:
        ParamError: a rate that ``check_rate`` refuses, or sizes that cannot be.

    Source: the filter bank of librosa (``filters.chroma``), in float64.
    """
    rate_hz = check_rate(rate_hz, "rate_hz")
    if not (n_fft >= 4 and n_fft % 2 == 0):
        raise ParamError(f"n_fft={n_fft!r}", expected="an even number of samples, at least 4")
    if not (bins >= 1):
        raise ParamError(f"bins={bins!r}", expected="at least 1")
    frequencies_hz = np.arange(1, n_fft) * (rate_hz / n_fft)
    places = bins * np.log2(frequencies_hz / _A_HZ)
    # a constant has no pitch: its place is made up, so far below the first frequency that its bump is broad
    places = np.concatenate([[places[0] - 1.5 * bins], places])
    widths = np.concatenate([np.maximum(np.diff(places), 1.0), [1.0]])
    places, widths = places[: n_fft // 2 + 1], widths[: n_fft // 2 + 1]
    half = np.round(bins / 2)
    distances = np.mod(places - np.arange(bins)[:, None] + half, bins) - half
    bumps = np.exp(-0.5 * (2 * distances / widths) ** 2)
    bumps /= np.sqrt(np.sum(bumps**2, axis=0))
    bumps *= np.exp(-0.5 * ((places / bins - _CENTRE_OCTAVE) / _WIDTH_OCTAVES) ** 2)
    # bumps count from A, which is three semitones below C
    return torch.from_numpy(np.roll(bumps, -3 * (bins // PITCH_CLASSES), axis=0)).float()
