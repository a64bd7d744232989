"""Passages of a sound that reach beyond its ends, where frames centred on its first and last samples look."""

from __future__ import annotations

import torch
from torch import Tensor


def mirrored(samples: Tensor, start: int, stop: int) -> Tensor:
    """Samples ``start`` to ``stop`` of (..., N) as float32; beyond an end the sound comes back, its last sample once.

    Neither end may lie more than ``N - 1`` samples outside.
    """
    last = samples.shape[-1] - 1
    if start >= 0 and stop <= last + 1:
        return samples[..., start:stop].float()
    places = torch.arange(start, stop, device=samples.device).abs()
    return samples[..., last - (last - places).abs()].float()
