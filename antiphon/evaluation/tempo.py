"""The tempo of a piece, heard from its sound alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from antiphon.errors import AudioError, ParamError
from antiphon.evaluation.spectra import RATE_HZ, heard, mel_levels

Agreement = Literal["right", "octave", "wrong"]

SLOWEST_BPM, FASTEST_BPM = 40.0, 240.0
TOLERANCE = 0.04 + 1e-9  # 104 for 100 is within it, however 1.04 is rounded

_HOP, _WINDOW, _BANDS, _PARTS = 256, 1024, 48, 4
_FRAMES_HZ = RATE_HZ / _HOP
_FLOOR = 1e-3  # of full scale: what is softer is no onset
_RISE_FRAMES = 2
_SILENCE = 1e-9
SHORTEST_S = 2.0
_LAGS_S = 6.0  # how far apart beats are compared
_BEATS = 4  # of which each is compared with the one so many later: a bar
# What is likely before anything is heard. Of all pieces that were rendered for training the most have their tempo found
# so; the middle is above that of their tempos (106), because every other beat is as regular as every beat.
_USUAL_BPM, _OCTAVES = 120.0, 1.2
_STEP = 1.005  # from one candidate to the next
# metrical levels that a person may count too: twice, three times, half as fast again, and their inverses
_LEVELS = (2.0, 3.0, 1.5, 4.0)


@dataclass(frozen=True)
class Tempo:
    """Beats a minute, and how clear they are: 0 for noise and silence, 1 for a clock."""

    bpm: float
    confidence: float


def tempo_of(samples: Any, rate_hz: int) -> Tempo:
    """The tempo of a sound of 2 s or more; 8 s give it within some per cent.

    Args:
        samples: (N,) or (C, N).

    Raises:
        AudioError: a sound that is too short or cannot be used.

    Source: onsets as rises of mel bands and the periods of their autocorrelation, as in D. Ellis, "Beat tracking by
        dynamic programming" (2007).
    """
    sound = heard(samples, rate_hz)
    if not len(sound) >= SHORTEST_S * RATE_HZ:
        raise AudioError(f"a sound of {len(sound) / RATE_HZ:.2f} s", expected=f"{SHORTEST_S:g} s or more for a tempo")
    candidates = _candidates()
    clear = _clarity(_self_similarity(onset_strength(sound)), 60 * _FRAMES_HZ / candidates)
    likely = torch.exp(-0.5 * (torch.log2(candidates / _USUAL_BPM) / _OCTAVES) ** 2)
    best = int((clear * likely).argmax())
    return Tempo(float(candidates[best]), float(clear[best].clamp(0, 1)))


def tempo_agreement(found_bpm: float, asked_bpm: float) -> Agreement:
    """Whether a tempo is the one that was asked for, within 4 per cent; ``octave`` where another metrical level was
    counted (a half, a third, two thirds, and their inverses).

    Raises:
        ParamError: tempos that are not positive.
    """
    if not (found_bpm > 0 and asked_bpm > 0):
        raise ParamError(f"tempos of {found_bpm!r} and {asked_bpm!r}", expected="positive beats a minute")
    ratio = found_bpm / asked_bpm
    if abs(ratio - 1) <= TOLERANCE:
        return "right"
    near = any(abs(ratio / level - 1) <= TOLERANCE for one in _LEVELS for level in (one, 1 / one))
    return "octave" if near else "wrong"


def onset_strength(sound: Tensor) -> Tensor:
    """How much begins at each moment of (N,) at ``RATE_HZ``, in four parts of the spectrum: (4, F), 125 a second."""
    levels = 20 * torch.log10(mel_levels(sound, bands=_BANDS, window=_WINDOW, hop=_HOP) + _FLOOR)
    rises = (levels[:, _RISE_FRAMES:] - levels[:, :-_RISE_FRAMES]).clamp(min=0)
    return torch.stack([part.mean(dim=0) for part in rises.split(_BANDS // _PARTS)])


def _self_similarity(onsets: Tensor) -> Tensor:
    """How alike the onsets are to themselves so many frames later, averaged over the parts: (lags,), 1 at lag 0."""
    frames = onsets.shape[-1]
    lags = min(round(_LAGS_S * _FRAMES_HZ), frames - 1)
    centred = onsets - onsets.mean(dim=-1, keepdim=True)
    power = torch.fft.rfft(centred, 2 * frames).abs().square()  # zeros behind, or the end would meet the beginning
    products = torch.fft.irfft(power, 2 * frames)[:, : lags + 1]
    averages = products / torch.arange(frames, frames - lags - 1, -1)  # fewer frames have one far behind them
    alike: Tensor = (averages / averages[:, :1].clamp(min=_SILENCE)).mean(dim=0)
    return alike


def _candidates() -> Tensor:
    """Tempos in equal steps of pitch, as it were: (tempos,)."""
    count = math.floor(math.log(FASTEST_BPM / SLOWEST_BPM) / math.log(_STEP))
    return SLOWEST_BPM * torch.pow(_STEP, torch.arange(count + 1))


def _clarity(similar: Tensor, periods: Tensor) -> Tensor:
    """How alike a sound is to itself one to four beats later, for beats so many frames apart: (tempos,)."""
    lags = periods[:, None] * torch.arange(1, _BEATS + 1)  # (tempos, beats)
    within = lags <= len(similar) - 2
    below = lags.floor().long().clamp(max=len(similar) - 2)
    part = lags - below
    between = similar[below] * (1 - part) + similar[below + 1] * part
    return (between * within).sum(dim=1) / within.sum(dim=1).clamp(min=1)
