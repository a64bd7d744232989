"""When somebody begins and ceases to speak, told frame by frame from the loudness and from the text."""

from __future__ import annotations

import math
from typing import Literal

from antiphon.errors import ParamError

Change = Literal["start", "stop"]


class SpeechTracker:
    """Follows one speaker.

    Args:
        threshold_dbfs: a frame whose level is at least this is speech. hold_frames: so many quiet frames in a row end
            it; a pause between words is shorter than the default, 0.48 s at 12.5 frames a second.

    Attributes:
        speaks: whether the speaker does.

    Raises:
        ParamError: a threshold that is not finite, or less than one frame.
    """

    def __init__(self, *, threshold_dbfs: float = -45.0, hold_frames: int = 6) -> None:
        if not (math.isfinite(threshold_dbfs) and hold_frames >= 1):
            raise ParamError(
                f"threshold_dbfs={threshold_dbfs!r} and hold_frames={hold_frames!r}",
                expected="a finite level and at least 1 frame",
            )
        self._threshold_dbfs, self._hold_frames = threshold_dbfs, hold_frames
        self.reset()

    def reset(self) -> None:
        """Forgets what was heard."""
        self.speaks = False
        self._quiet = 0

    def push(self, level_dbfs: float, *, word: bool = False) -> Change | None:
        """What changes with the next frame: ``"start"`` in it, ``"stop"`` with its end, or nothing.

        Args:
            level_dbfs: of the frame, root mean square; ``-inf`` is silence. word: a word belongs to the frame.
        """
        if word or level_dbfs >= self._threshold_dbfs:
            self._quiet = 0
            begins, self.speaks = not self.speaks, True
            return "start" if begins else None
        self._quiet += 1
        if self.speaks and self._quiet >= self._hold_frames:
            self.speaks = False
            return "stop"
        return None
