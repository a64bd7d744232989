"""Resampling by a windowed sinc: the numbers that the melody models were shown.

Whatever a person hears is resampled by soxr (``resampling.py``), whose filter is steeper and quieter. Chroma is
computed from sounds that went through this filter, as the reference computes it, so that the strongest pitch class of a
frame is the reference's. Any part of the result can be had without the rest, which keeps long sounds out of memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from antiphon.audio.resampling import check_rate, resampled_length
from antiphon.errors import AudioError, ParamError, ParamTypeError

_ZERO_CROSSINGS = 24
_ROLLOFF = 0.945
# so many outputs are one matrix product: fewer would mean many small ones, more would multiply by many zeros
_PHASES = 32
_BLOCK_SAMPLES = 1 << 20  # inputs of the products that are held at a time


class _Group(NamedTuple):
    """Outputs ``first`` to ``first + len(kernel)`` of every period, and the inputs that they are made of."""

    first: int
    start: int  # of the inputs, counted from the period's first one
    kernel: Tensor  # (outputs, inputs) float32


def sinc_resample(samples: Tensor, from_hz: int, to_hz: int, *, start: int = 0, stop: int | None = None) -> Tensor:
    """Gives ``samples`` (..., N) at another rate, or a part of that, as float32.

    Args:
        samples: floating point, finite. start, stop: which samples of the result, whose whole length is
            ``ceil(N * to_hz / from_hz)``; as a slice, but never counted from the end.

    Raises:
        ParamError: a rate that ``check_rate`` refuses, or a part that does not exist.
        ParamTypeError: ``samples`` are no floats. AudioError: there are none.

    Source: J. O. Smith, "Digital Audio Resampling": bandlimited interpolation. A Hann window over 24 zero crossings
        on each side and a cut-off of 0.945 of the lower Nyquist frequency, as in the features of transformers.
    """
    from_hz, to_hz = check_rate(from_hz, "from_hz"), check_rate(to_hz, "to_hz")
    if not samples.is_floating_point():
        raise ParamTypeError(f"samples are {samples.dtype}", expected="floats")
    if samples.numel() == 0:
        raise AudioError(f"samples of shape {tuple(samples.shape)} cannot be resampled", expected="at least one sample")
    length = resampled_length(samples.shape[-1], from_hz, to_hz)
    stop = length if stop is None else min(stop, length)
    if not (0 <= start <= stop):
        raise ParamError(f"start={start}, stop={stop}", expected=f"a part of the {length} resampled samples")
    if from_hz == to_hz:
        return samples[..., start:stop].float()
    flat = samples.reshape(-1, samples.shape[-1])
    out = torch.empty(flat.shape[0], stop - start, device=samples.device)
    for first, block in _blocks(flat, from_hz, to_hz, start, stop):
        here = slice(max(first, start), min(first + block.shape[-1], stop))
        out[:, here.start - start : here.stop - start] = block[:, here.start - first : here.stop - first]
    return out.view(*samples.shape[:-1], stop - start)


def inputs_for(outputs: int, from_hz: int, to_hz: int) -> int:
    """Gives how many samples at ``from_hz`` the first ``outputs`` samples at ``to_hz`` are made of."""
    reach = 0 if from_hz == to_hz else math.ceil(_ZERO_CROSSINGS / _cutoff(from_hz, to_hz))
    return -(-outputs * from_hz // to_hz) + reach


def _cutoff(from_hz: int, to_hz: int) -> float:
    """Where the filter ends, as a share of the Nyquist frequency of the inputs."""
    return _ROLLOFF * min(1.0, to_hz / from_hz)


def _blocks(flat: Tensor, from_hz: int, to_hz: int, start: int, stop: int) -> Iterator[tuple[int, Tensor]]:
    """Whole periods of the result (rows, samples), each with the place of its first sample; they cover the part."""
    step, new, groups = _filters(from_hz, to_hz)
    before = -min(group.start for group in groups)
    behind = max(group.start + group.kernel.shape[1] for group in groups)
    many = max(1, _BLOCK_SAMPLES // (step * flat.shape[0]))
    for period in range(start // new, -(-stop // new), many):
        periods = min(many, -(-stop // new) - period)
        inputs = _with_silence(flat, period * step - before, (period + periods - 1) * step + behind)
        block = torch.empty(flat.shape[0], periods, new, device=flat.device)
        for group in groups:
            reach = inputs[:, before + group.start :].unfold(-1, group.kernel.shape[1], step)[:, :periods]
            block[:, :, group.first : group.first + len(group.kernel)] = reach @ group.kernel.T.to(flat.device)
        yield period * new, block.flatten(1)


def _with_silence(flat: Tensor, start: int, stop: int) -> Tensor:
    """Samples ``start`` to ``stop`` of every row as float32; where there are none, silence."""
    there = flat[:, max(start, 0) : max(stop, 0)].float()
    return torch.nn.functional.pad(there, (max(-start, 0), stop - max(start, 0) - there.shape[1]))


@lru_cache(maxsize=4)
def _filters(from_hz: int, to_hz: int) -> tuple[int, int, list[_Group]]:
    """Inputs and outputs of a period, and the filters in groups of neighbours.

    Neighbours see nearly the same inputs, so a group's matrix has few zeros, and two rates without a common divisor
    need less than a hundred numbers for each sample of a second: 128 MB for the highest rates, 15 MB for 44 101 Hz.
    """
    common = math.gcd(from_hz, to_hz)
    old, new = from_hz // common, to_hz // common
    periods = -(-_PHASES // new)
    old, new = old * periods, new * periods
    cutoff = _cutoff(old, new)
    reach = math.ceil(_ZERO_CROSSINGS / cutoff)
    groups = []
    for first in range(0, new, _PHASES):
        places = torch.arange(first, min(first + _PHASES, new), dtype=torch.float64) * old / new
        start, stop = math.ceil(places[0]) - reach, math.floor(places[-1]) + reach + 1
        crossings = (torch.arange(start, stop, dtype=torch.float64) - places[:, None]) * cutoff
        window = torch.cos(crossings.clamp(-_ZERO_CROSSINGS, _ZERO_CROSSINGS) * (math.pi / 2 / _ZERO_CROSSINGS)) ** 2
        groups.append(_Group(first, start, (torch.sinc(crossings) * window * cutoff).float()))
    return old, new, groups
