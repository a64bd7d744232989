"""The last columns of all streams, in memory that does not grow; each row has a clock of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.generation.delays import DelayPattern


class ColumnRing:
    """Values of B rows and K streams in columns, of which the last few are kept.

    As everywhere, column s holds for stream k the value of frame s - d_k. Nothing is cleared: what a column or a frame
    of a row shows was written by that row, as long as frames before the first are not asked for.

    Args:
        pattern: the delays d_k. rows: B. dtype, device: of the values.
    """

    def __init__(
        self,
        pattern: DelayPattern,
        rows: int,
        *,
        dtype: torch.dtype = torch.int64,
        device: torch.device | str = "cpu",
    ) -> None:
        # what is written ahead for the longest delay, what is read back over it, and a column for rows that stand still
        self._slots = pattern.max_delay + 2
        self._delays = torch.tensor(pattern.delays, device=device)
        self._held = torch.zeros(rows, pattern.streams, self._slots, dtype=dtype, device=device)

    def write_frame(self, values: Tensor, frames: Tensor, *, first: int = 0) -> None:
        """Writes the streams from ``first`` on of ``frames`` (B,) int64: ``values`` (B, n)."""
        self._write(values, frames[:, None] + self._delays[first : first + values.shape[1]], first)

    def write_column(self, values: Tensor, columns: Tensor, *, first: int = 0) -> None:
        """Writes the streams from ``first`` on of ``columns`` (B,) int64: ``values`` (B, n)."""
        self._write(values, columns[:, None].expand(-1, values.shape[1]), first)

    def _write(self, values: Tensor, columns: Tensor, first: int) -> None:
        held = self._held[:, first : first + values.shape[1]]
        held.scatter_(2, (columns % self._slots)[..., None], values[..., None].to(held))

    def column(self, columns: Tensor, initial: Tensor) -> Tensor:
        """(B, K) of ``columns`` (B,); of ``initial`` (K,) where a stream has no frame yet."""
        return torch.where(
            columns[:, None] <= self._delays, initial, self._at(columns[:, None].expand(-1, len(self._delays)))
        )

    def frame(self, frames: Tensor, streams: int) -> Tensor:
        """(B, streams) of ``frames`` (B,), the first so many streams."""
        return self._at(frames[:, None] + self._delays[:streams])

    def _at(self, columns: Tensor) -> Tensor:
        streams = columns.shape[1]
        return self._held[:, :streams].gather(2, (columns % self._slots)[..., None])[..., 0]
