"""What a sound is like, as a row of numbers from which styles and instruments can be told apart."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import AudioError
from antiphon.evaluation.spectra import RATE_HZ, heard, mel_levels

DESCRIPTION = "timbre 1"
"""Changes whenever the numbers below do: a classifier knows which it was fitted to."""

_BANDS, _WINDOW, _HOP = 40, 2048, 512
_FRAMES_HZ = RATE_HZ / _HOP
_FLOOR = 1e-3
_LEVEL = 0.1  # the root mean square that every sound is brought to: how loud a piece is says nothing of its style
_QUANTILES = (0.1, 0.5, 0.9)
_PARTS = 5  # of the spectrum, whose ups and downs are looked at together
_RATES_HZ = (0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 20)
_SHORTEST_S = 1.0


def timbre_of(samples: Any, rate_hz: int) -> Tensor:
    """The numbers of a sound of 1 s or more: float32 (D,).

    They are, for each of 40 mel bands, the mean, deviation, quantiles and mean change of its level in dB; and for five
    parts of the spectrum how much of their ups and downs lies between 0.5 and 20 a second, in nine steps.

    Args:
        samples: (N,) or (C, N).

    Raises:
        AudioError: a sound that is too short or cannot be used.
    """
    sound = heard(samples, rate_hz)
    if not len(sound) >= _SHORTEST_S * RATE_HZ:
        raise AudioError(f"a sound of {len(sound) / RATE_HZ:.2f} s", expected=f"{_SHORTEST_S:g} s or more")
    loudness = sound.square().mean().sqrt()
    if loudness > 0:
        sound = sound * (_LEVEL / loudness)
    levels = 20 * torch.log10(mel_levels(sound, bands=_BANDS, window=_WINDOW, hop=_HOP) + _FLOOR)  # (bands, F)
    changes = levels.diff(dim=1)
    numbers = [
        levels.mean(dim=1),
        levels.std(dim=1),
        *torch.quantile(levels, torch.tensor(_QUANTILES), dim=1),
        changes.abs().mean(dim=1),
        changes.clamp(min=0).std(dim=1),
    ]
    return torch.cat([*numbers, _pulses(levels).flatten()])


def _pulses(levels: Tensor) -> Tensor:
    """How strong the ups and downs of each part of the spectrum are, by their rate, in dB: (parts, rates)."""
    parts = torch.stack([part.mean(dim=0) for part in levels.split(_BANDS // _PARTS)])
    centred = (parts - parts.mean(dim=1, keepdim=True)) * torch.hann_window(parts.shape[1])
    power = torch.fft.rfft(centred).abs().square() / parts.shape[1]
    rates_hz = torch.arange(power.shape[1]) * (_FRAMES_HZ / parts.shape[1])
    shares = [(power * ((rates_hz >= low) & (rates_hz < high))).sum(dim=1) for low, high in pairwise(_RATES_HZ)]
    return 10 * torch.log10(torch.stack(shares, dim=1) + 1e-2)
