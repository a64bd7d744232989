"""Rounding of weights to 4 or 8 bits: integer codes, and one scale for every group of inputs.

A weight is ``scale * (code - zero)`` with ``zero`` in the middle of the codes. A scale may be negative: there is one
level more below zero than above it, and the largest weight of a group should get it, whatever its sign.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional as F

from antiphon.errors import ParamError

BITS = (4, 8)
GROUP_SIZE = 64

# Values at a time: few enough for what is computed with them to stay in a core's cache.
_BLOCK_VALUES = 1 << 17
# Smaller weights than this count as zero: their reciprocal would be infinite.
_LEAST = 1e-30
# The levels that the largest weight of a group is tried at. Levels above the highest cut it off, and what is lost on
# it is won on all others; below, it may fall on a level better than the highest.
_TOP_LEVELS = {4: [6.8 + 0.2 * step for step in range(13)], 8: [128.0]}


def zero_code(bits: int) -> int:
    """The code that stands for a weight of zero."""
    return 1 << (bits - 1)


def check_grid(bits: int, group_size: int) -> None:
    """Raises ``ParamError`` unless weights can be rounded to ``bits`` in groups of ``group_size`` inputs."""
    if isinstance(bits, bool) or bits not in BITS:
        raise ParamError(f"bits={bits!r}", expected="4 or 8")
    if isinstance(group_size, bool) or not isinstance(group_size, int) or not group_size >= 1:
        raise ParamError(f"group_size={group_size!r}", expected=f"a positive integer, such as {GROUP_SIZE}")


def rounded(weight: Tensor, bits: int, group_size: int = GROUP_SIZE) -> tuple[Tensor, Tensor]:
    """Codes and scales whose product comes close to a weight, in squared distance over each group.

    The scale of a group is searched: the largest weight is put on several levels, each time with the codes nearest to
    the others and the scale that then fits best. No group comes out worse than by dividing by its largest magnitude.

    Args:
        weight: (O, I), any float dtype. bits: 4 or 8.
        group_size: G inputs share a scale; the last group of a row may have fewer.

    Returns:
        Codes (O, I) uint8, and scales (O, ceil(I / G)) bfloat16. A group with a value that is not finite has NaN as
        its scale.

    Raises:
        ParamError: another shape, kind or number than these.
    """
    check_grid(bits, group_size)
    if weight.dim() != 2 or not weight.is_floating_point():
        raise ParamError(f"a weight of shape {tuple(weight.shape)} and dtype {weight.dtype}", expected="(O, I) floats")
    outputs, inputs = weight.shape
    groups = -(-inputs // group_size)
    codes = torch.empty((outputs, inputs), dtype=torch.uint8, device=weight.device)
    scales = torch.empty((outputs, groups), dtype=torch.bfloat16, device=weight.device)
    rows = max(1, _BLOCK_VALUES // max(1, groups * group_size))

    def fit(first: int) -> None:
        block = weight[first : first + rows].detach().float()
        if groups * group_size != inputs:
            block = F.pad(block, (0, groups * group_size - inputs))  # zeros neither pull at a scale nor cost anything
        levels, scale = _fitted(block.reshape(-1, group_size), bits)
        codes[first : first + rows] = levels.add_(zero_code(bits)).view(-1, groups * group_size)[:, :inputs]
        scales[first : first + rows] = scale.view(-1, groups)

    _each(fit, range(0, outputs if inputs else 0, rows))
    return codes, scales


def restored(codes: Tensor, scales: Tensor, bits: int, group_size: int = GROUP_SIZE) -> Tensor:
    """The float32 weight (O, I) of codes (O, I) and scales (O, ceil(I / G))."""
    weight = codes.float().sub_(zero_code(bits))
    whole = codes.shape[1] // group_size
    inputs = whole * group_size
    # in place, group by group: writing out costs what its passes over memory cost
    weight[:, :inputs].view(len(weight), whole, group_size).mul_(scales[:, :whole, None].float())
    if inputs < codes.shape[1]:
        weight[:, inputs:].mul_(scales[:, whole:].float())
    return weight


def _each(work: Callable[[int], None], firsts: range) -> None:
    """Does ``work`` for every block, one block a thread.

    Not by torch's own threads: they would share each of some thousand short steps and wait for each other after it,
    which on a machine with other work takes a hundred times as long as the steps.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(firsts) < 2:
        for first in firsts:
            work(first)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(work, firsts):
                pass
    finally:
        torch.set_num_threads(threads)  # for threads that are made after this; the caller's own number never changed


def _fitted(values: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Integer levels (N, G), as floats, and scales (N,) bfloat16 for groups (N, G) float32."""
    low, high = -zero_code(bits), zero_code(bits) - 1
    largest = values.gather(1, values.abs().argmax(1, keepdim=True))
    unit = largest.neg().where(largest.abs() > _LEAST, 1.0)
    relative = values / unit  # the largest is -1 now, and falls on the side with the level more
    fit = _best_fit(relative, bits)
    fit = _least_squares(relative, _levels(relative, fit[:, None], low, high))[1]
    candidates = ((fit[:, None] * unit).bfloat16(), (unit / high).bfloat16())
    best_levels, best_scale, best_error = values, candidates[0], torch.full_like(fit, torch.inf)[:, None]
    for scale in candidates:
        # against the scale as it is kept, so that its own rounding is paid for here and not later
        levels = _levels(values, scale.float(), low, high)
        error = torch.sub(relative, levels * (scale.float() / unit)).square_().sum(1, keepdim=True)
        better = error < best_error
        best_levels = levels.where(better, best_levels)
        best_scale = scale.where(better, best_scale)
        best_error = error.where(better, best_error)
    finite = best_error < torch.inf
    return best_levels.where(finite, 0.0), best_scale.where(finite, torch.nan)[:, 0]


def _best_fit(relative: Tensor, bits: int) -> Tensor:
    """The scale (N,), relative to the largest value, of the best of the tried levels."""
    low, high = -zero_code(bits), zero_code(bits) - 1
    gain, fit = _least_squares(relative, relative.mul(_TOP_LEVELS[bits][0]).round_().clamp_(low, high))
    for level in _TOP_LEVELS[bits][1:]:
        more, other = _least_squares(relative, relative.mul(level).round_().clamp_(low, high))
        fit = other.where(more > gain, fit)
        gain = torch.maximum(gain, more)
    return fit


def _least_squares(values: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """By how much the best scale for given levels lowers the squared distance from that to zero, and the scale."""
    along, own = (values * levels).sum(1), levels.square().sum(1)
    fit = along / own.clamp(min=1.0)  # levels that are all zero have nothing to scale
    return along * fit, fit


def _levels(values: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """The integers in ``low..high`` nearest to ``values / scale``, as floats; zero where the scale is."""
    return torch.div(values, scale.where(scale != 0, 1.0)).round_().clamp_(low, high)
