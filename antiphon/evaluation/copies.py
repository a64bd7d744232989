"""Whether pieces are copies: the passage of the training data whose codes are most like those of a piece."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from antiphon.errors import ParamError

WINDOW_FRAMES = 100  # 2 s of the small models and of the published ones
HOP_FRAMES = 25


@dataclass(frozen=True)
class Nearest:
    """The passage that is most alike.

    Attributes:
        share: of the frames of the window whose codes are equal, 1 for a copy.
        frame: where the window begins in the piece that was asked about.
        piece, piece_frame: which training piece the passage is in, and where it begins there.
    """

    share: float
    frame: int
    piece: int
    piece_frame: int


class TrainingCodes:
    """The first codebook of all training pieces, in an order in which passages are found quickly.

    Where each code occurs is listed once; then every alignment of a window is compared exactly, but only where codes
    are equal. Among 40 hours of evenly used codes an 8 s piece takes 0.3 s; the list has 4 bytes a frame.

    Args:
        pieces: the codes (T,) of each, non-negative integers.

    Raises:
        ParamError: no pieces, or arrays of another kind.
    """

    def __init__(self, pieces: Iterable[np.ndarray]) -> None:
        rows = [_checked(piece) for piece in pieces]
        if not rows:
            raise ParamError("no training pieces", expected="at least one")
        self._starts = np.cumsum([0, *(len(row) for row in rows)])
        codes = np.concatenate(rows)
        self._places = np.argsort(codes, kind="stable").astype(np.int32)
        self._bounds = np.searchsorted(codes[self._places], np.arange(int(codes.max()) + 2))

    @property
    def frames(self) -> int:
        """How many frames there are in all."""
        return int(self._starts[-1])

    def nearest(
        self, codes: np.ndarray, *, window_frames: int = WINDOW_FRAMES, hop_frames: int = HOP_FRAMES
    ) -> Nearest | None:
        """The passage that is most alike a window of ``codes``, of windows every ``hop_frames`` frames.

        Returns:
            ``None`` where ``codes`` or every training piece is shorter than a window.

        Raises:
            ParamError: an array of another kind, or sizes below 1.
        """
        codes = _checked(codes)
        if not (window_frames >= 1 and hop_frames >= 1):
            raise ParamError(f"window_frames={window_frames!r}, hop_frames={hop_frames!r}", expected="1 or more")
        whole = self._whole(window_frames)
        best: Nearest | None = None
        for frame in range(0, len(codes) - window_frames + 1, hop_frames):
            equal = self._equal(codes[frame : frame + window_frames])
            equal[~whole] = -1
            place = int(equal.argmax())
            if equal[place] < 0:
                return None
            share = float(equal[place]) / window_frames
            if best is None or share > best.share:
                piece = int(np.searchsorted(self._starts, place, side="right")) - 1
                best = Nearest(share, frame, piece, place - int(self._starts[piece]))
        return best

    def _equal(self, window: np.ndarray) -> np.ndarray:
        """How many codes of a window are equal to those of the passage that begins at each frame: (frames,)."""
        hits = []
        for offset, code in enumerate(window):
            if code < len(self._bounds) - 1:
                places = self._places[self._bounds[code] : self._bounds[code + 1]]
                hits.append(places[places >= offset] - offset)
        found = np.concatenate(hits) if hits else np.empty(0, np.int32)
        return np.bincount(found, minlength=self.frames)

    def _whole(self, window_frames: int) -> np.ndarray:
        """Whether a window that begins at a frame ends inside the same piece: (frames,)."""
        ends = np.repeat(self._starts[1:], np.diff(self._starts))
        fits: np.ndarray = np.arange(self.frames) + window_frames <= ends
        return fits


def _checked(codes: np.ndarray) -> np.ndarray:
    codes = np.asarray(codes)
    if codes.ndim != 1 or codes.dtype.kind not in "iu" or not len(codes) or not codes.min() >= 0:
        raise ParamError(f"codes of shape {codes.shape} and {codes.dtype}", expected="(T,) integers, 0 or more")
    return codes.astype(np.int64)
