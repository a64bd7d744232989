"""A look-ahead limiter for streams: peaks are turned down smoothly before they come, and never cut."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from antiphon.audio.samples import check_finite
from antiphon.errors import AudioError, ParamError

_GROUPS_PER_SECOND = 4000  # the gain is decided once for each quarter of a millisecond
_REACH = 10  # groups; it falls within twice this, 5 ms, before a peak
_RELEASE_DB = 2.0**-6  # for each group, about 62 dB a second
_FINEST_DB = 2.0**-20  # gains are multiples of it, so that no sum below is rounded and every chunking gives equal bits


class Limiter:
    """Holds a stream of sound under a ceiling. What is never above it comes out as it went in, bit for bit.

    The gain is one for all channels, so the picture in space stays. It falls over 5 ms ahead of a peak and rises again
    by 62 dB a second. Chunks of any length give the same samples; what is held back for the view ahead comes with
    ``flush``.

    Args:
        channels: of every block.
        rate_hz: of the stream.
        ceiling: the largest absolute sample that may come out.

    Raises:
        ParamError: a ceiling that is not a positive number.

    Source: the usual construction (minimum over the time ahead, release, moving average), with the release in decibels,
    where it is a cumulative minimum.
    """

    def __init__(self, channels: int, rate_hz: int, *, ceiling: float = 1.0) -> None:
        if not (0 < ceiling < np.inf):
            raise ParamError(f"ceiling={ceiling!r}", expected="a positive number")
        # a sound that was scaled to the ceiling may lie a rounding above it
        self._ceiling = ceiling * (1 + 2.0**-21)
        self._group = max(1, rate_hz // _GROUPS_PER_SECOND)  # samples
        self._pending = np.empty((channels, 0), np.float32)
        self._seen = 0  # groups of the pending samples whose peak is known
        # what each group needs, from REACH + 1 groups before the edge whose gain is decided next: edge -REACH at first
        self._needed_db = np.zeros(2 * _REACH + 1)
        # gains at the edges between groups before they are smoothed, from REACH edges before the one that is next
        self._released_db: np.ndarray = np.zeros(0)
        self._edge_db: np.ndarray = np.zeros(0)  # the last smoothed edge, where the ramp over the next group starts
        self.lowest_db = 0.0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Takes samples (C, n), n >= 0, and gives those whose gain is certain, float32 (C, m).

        Raises:
            AudioError: another number of channels, or samples that are not finite.
        """
        if samples.ndim != 2 or samples.shape[0] != self._pending.shape[0]:
            raise AudioError(
                f"a block of shape {samples.shape} for a stream of {self._pending.shape[0]} channels",
                expected="(channels, samples)",
            )
        check_finite(samples, "the block")
        self._pending = np.concatenate([self._pending, samples.astype(np.float32, copy=False)], axis=1)
        groups = self._pending.shape[1] // self._group
        fresh = self._pending[:, self._seen * self._group : groups * self._group]
        self._seen = groups
        return self._advanced(np.abs(fresh).max(axis=0, initial=0).reshape(-1, self._group).max(axis=1))

    def flush(self) -> np.ndarray:
        """Gives what was held back, and ends the stream: float32 (C, m)."""
        length = self._pending.shape[1]
        rest = np.abs(self._pending[:, self._seen * self._group :]).max(initial=0)
        silence = (-length % self._group) or self._group
        self._pending = np.pad(self._pending, ((0, 0), (0, silence + (2 * _REACH + 2) * self._group)))
        return self._advanced(np.array([rest, *[0.0] * (2 * _REACH + 1)]))[:, :length]

    def _advanced(self, peaks: np.ndarray) -> np.ndarray:
        """Gives the samples that new groups with these ``peaks`` (n,) make certain."""
        over = np.maximum(peaks.astype(np.float64) / self._ceiling, 1)
        needed = np.floor(-20 * np.log10(over) / _FINEST_DB) * _FINEST_DB
        self._needed_db = np.concatenate([self._needed_db, needed])
        self._released_db = np.concatenate([self._released_db, self._release()])
        count = self._released_db.size - 2 * _REACH
        if count <= 0:
            return self._pending[:, :0]
        smooth = sliding_window_view(self._released_db, 2 * _REACH + 1).mean(axis=-1)
        self._released_db = self._released_db[count:]
        edges = np.concatenate([self._edge_db, smooth])
        self._edge_db = edges[-1:]
        self.lowest_db = min(self.lowest_db, float(edges.min()))
        return self._ramped(10 ** (edges / 20))

    def _release(self) -> np.ndarray:
        """Gives the gains at new edges: each the least that its surroundings need, and rising slowly after a fall."""
        count = self._needed_db.size - 2 * _REACH - 1
        if count <= 0:
            return np.zeros(0)
        least = sliding_window_view(self._needed_db, 2 * _REACH + 2).min(axis=-1)
        self._needed_db = self._needed_db[count:]
        rise = _RELEASE_DB * np.arange(1, count + 1)
        before = self._released_db[-1] if self._released_db.size else 0.0
        released: np.ndarray = np.minimum.accumulate(np.append(before, least - rise))[1:] + rise
        return released

    def _ramped(self, edges: np.ndarray) -> np.ndarray:
        """Cuts the groups between the ``edges`` off the pending samples and turns them down, in straight lines."""
        groups = edges.size - 1
        ready, self._pending = np.split(self._pending, [groups * self._group], axis=1)
        self._seen -= groups
        if (edges == 1).all():
            return ready
        steps = np.arange(self._group) / self._group
        gains = (edges[:-1, None] + np.diff(edges)[:, None] * steps).reshape(-1)
        turned: np.ndarray = (ready * gains).astype(np.float32)
        return turned
