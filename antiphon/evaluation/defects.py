"""What is plainly wrong with a sound: silence, clipping, a stuck loop; and how loud it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antiphon.audio.samples import as_samples
from antiphon.evaluation.spectra import heard, mel_levels

_FRAME_S = 0.05
_SILENCE_DBFS = -60.0
_FULL_SCALE = 0.999
_RUN_SAMPLES = 3  # one sample at full scale is a peak, three in a row are a cut one

_BANDS, _WINDOW, _HOP = 40, 2048, 1600  # 20 frames a second
_PATCH = 10  # frames that are compared together, half a second
_FLOOR = 1e-3


@dataclass(frozen=True)
class Defects:
    """Figures of one sound.

    Attributes:
        level_dbfs: root mean square, in dB of a constant 1; silence is -200.
        silent: the share of moments (50 ms) below -60 dBFS.
        clipped: the share of samples that stand at full scale, three or more in a row.
        repeated: how alike each half second is to the most alike one before it, 0 to 1 on average; 1 for one that is
            stuck. Music comes to something in between, so look at what real pieces score.
    """

    level_dbfs: float
    silent: float
    clipped: float
    repeated: float


def defects_of(samples: Any, rate_hz: int) -> Defects:
    """The defects of a sound.

    Args:
        samples: (N,) or (C, N).

    Raises:
        AudioError, ParamTypeError, ParamError: samples or a rate that cannot be used.
    """
    rows = as_samples(samples)
    power = float(np.square(rows, dtype=np.float64).mean())
    return Defects(
        level_dbfs=10 * float(np.log10(max(power, 1e-20))),
        silent=_silent(rows, rate_hz),
        clipped=_clipped(rows),
        repeated=_repeated(heard(rows, rate_hz)),
    )


def _silent(rows: np.ndarray, rate_hz: int) -> float:
    frame = max(1, round(_FRAME_S * rate_hz))
    starts = np.arange(0, rows.shape[1], frame)
    lengths = np.diff(np.append(starts, rows.shape[1]))
    power = np.add.reduceat(np.square(rows, dtype=np.float64).mean(axis=0), starts) / lengths
    return float((power < 10 ** (_SILENCE_DBFS / 10)).mean())


def _clipped(rows: np.ndarray) -> float:
    full = np.abs(rows) >= _FULL_SCALE
    first = full[:, :-2] & full[:, 1:-1] & full[:, 2:]  # a run of three begins here
    cut = np.zeros_like(full)
    for offset in range(_RUN_SAMPLES):
        cut[:, offset : offset + first.shape[1]] |= first
    return float(cut.mean())


def _repeated(sound: Tensor) -> float:
    levels = 20 * torch.log10(mel_levels(sound, bands=_BANDS, window=_WINDOW, hop=_HOP) + _FLOOR)
    if levels.shape[-1] < 2 * _PATCH:
        return 0.0
    patches = levels.unfold(-1, _PATCH, 1).permute(1, 0, 2).flatten(1)  # (F, bands * patch)
    patches = torch.nn.functional.normalize(patches - levels.mean(), dim=1)
    alike = patches @ patches.T
    # only what lies before, and not so near that both are partly the same moment
    before = torch.ones_like(alike).tril(-_PATCH).bool()
    best = alike.masked_fill(~before, -1.0).amax(dim=1)[_PATCH:]
    return float(best.clamp(0, 1).mean())
