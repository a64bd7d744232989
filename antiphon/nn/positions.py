"""Where a token stands: sinusoidal tables and T5's relative position bias."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoids(positions: int, width: int) -> Tensor:
    """The table (positions, width) float32: cosines in the first half, sines in the second.

    Frequencies are ``10000 ** (-i / (width // 2 - 1))``; an odd width ends with a zero column.

    Source: the tensor2tensor form of Vaswani et al. 2017, section 3.5, in MusicGen's order.
    """
    half = width // 2
    rate = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000) / max(half - 1, 1)))
    angle = torch.arange(positions, dtype=torch.float32)[:, None] * rate[None]
    table = torch.cat([torch.cos(angle), torch.sin(angle)], dim=1)
    return torch.cat([table, torch.zeros(positions, 1)], dim=1) if width % 2 else table


class SinusoidalPositions:
    """A table that grows on demand. Not a module: it holds nothing that a checkpoint stores.

    Args:
        width: D. positions: rows made at first; more are added when a later position is asked for.
    """

    def __init__(self, width: int, positions: int = 2048) -> None:
        self.width = width
        self._first = positions
        self._table: Tensor | None = None

    def _rows(self, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        table = self._table
        if table is None or table.shape[0] < count:
            rows = max(count, self._first if table is None else 2 * table.shape[0])
            table = sinusoids(rows, self.width).to(device=device, dtype=dtype)
        elif table.dtype != dtype or table.device != device:
            table = sinusoids(table.shape[0], self.width).to(device=device, dtype=dtype)
        self._table = table
        return table

    def between(self, start: int, stop: int, *, like: Tensor) -> Tensor:
        """Rows ``start`` to ``stop`` as (T, D), in the dtype and on the device of ``like``."""
        return self._rows(stop, like.dtype, like.device)[start:stop]

    def at(self, positions: Tensor, highest: int, *, like: Tensor) -> Tensor:
        """Rows at ``positions`` (B, T) int64, none above ``highest``, as (B, T, D)."""
        return self._rows(highest + 1, like.dtype, like.device)[positions]


class RelativePositionBias(nn.Module):
    """A learned bias on attention scores by the bucketed distance of key and query, shared by all layers.

    Source: Raffel et al., "Exploring the Limits of Transfer Learning", 2020, section 2.1.
    """

    def __init__(self, heads: int, *, buckets: int = 32, max_distance: int = 128) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(buckets, heads))
        self.buckets = buckets
        self.max_distance = max_distance

    def forward(self, queries: int, keys: int) -> Tensor:
        """(1, H, queries, keys) for an encoder: both directions count."""
        device = self.weight.device
        distance = torch.arange(keys, device=device)[None, :] - torch.arange(queries, device=device)[:, None]
        bias = self.weight[self._bucket(distance)]  # (queries, keys, H)
        return bias.permute(2, 0, 1).unsqueeze(0)

    def _bucket(self, distance: Tensor) -> Tensor:
        """Half of the buckets for each direction; in each, exact up to half of them, then logarithmic."""
        side = self.buckets // 2
        exact = side // 2
        size = distance.abs()
        # log of 0 is never used: small distances take the other branch
        scaled = torch.log(size.float() / exact) / math.log(self.max_distance / exact) * (side - exact)
        far = (exact + scaled.to(torch.long)).clamp(max=side - 1)
        return (distance > 0).long() * side + torch.where(size < exact, size, far)
