"""Rotary positions: queries and keys turned by their column's angle, so that scores depend on distances alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from antiphon.errors import ConfigError

Rotation = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Rotary:
    """The angles of heads of one width. Not a module: nothing of it is learned or stored.

    Number i of a head's first half turns with number i of its second half. Checkpoints whose neighbouring numbers turn
    together are brought to this order by a permutation of the rows of their query and key weights.

    Args:
        width: of a head, even. base: the slowest pair turns nearly ``base`` times slower than the fastest.

    Raises:
        ConfigError: an odd width, or a base that is not above 0.

    Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, section 3.2.
    """

    width: int
    base: float = 10000.0

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2:
            raise ConfigError(f"rotary positions for heads of width {self.width}", expected="an even width")
        if not 0 < self.base < float("inf"):
            raise ConfigError(f"rotary positions of base {self.base}", expected="a number above 0")

    def tables(self, positions: Tensor, *, like: Tensor) -> Rotation:
        """Cosines and sines for one call, which all layers share.

        Args:
            positions: (B, T) int64, or (1, T) for all rows. like: a tensor of the dtype and device wanted.

        Returns:
            Two tensors (B or 1, 1, T, width), computed in float32 and then rounded.
        """
        exponents = torch.arange(0, self.width, 2, dtype=torch.float32, device=like.device) / self.width
        speeds = 1.0 / self.base**exponents
        angles = positions.to(like.device)[:, None, :, None].float() * speeds  # (B, 1, T, width / 2)
        cosines, sines = angles.cos().to(like.dtype), angles.sin().to(like.dtype)
        return torch.cat([cosines, cosines], dim=-1), torch.cat([sines, sines], dim=-1)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """(B, H, T, D) turned by the tables of its columns."""
    cosines, sines = rotation
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-second, first], dim=-1) * sines
