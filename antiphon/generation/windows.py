"""Pieces longer than what a model was trained on: windows that slide along, each beginning inside the one before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from antiphon.errors import ParamError

STRIDE_SHARE = 0.6  # of a window that the next one moves on by, where nobody says: 18 of 30 seconds


@dataclass(frozen=True)
class Window:
    """A stretch of frames that one generation sees.

    Attributes:
        first: the frame it begins with, counted from the beginning of the piece.
        held: frames that are there already when it starts, a prompt's or the last ones of the window before.
        frames: how many it has in the end, the held ones included.
    """

    first: int
    held: int
    frames: int

    @property
    def end(self) -> int:
        """The first frame behind it."""
        return self.first + self.frames


@dataclass(frozen=True)
class SlidingWindow:
    """How windows lie over a piece.

    Args:
        frames: the most frames that the model sees at once.
        stride: by how many frames a window lies behind the one before; the rest is what it goes on from.

    Raises:
        ParamError: not ``0 < stride < frames``.

    Source: the extended generation of audiocraft's MusicGen.
    """

    frames: int
    stride: int

    def __post_init__(self) -> None:
        if not 0 < self.stride < self.frames:
            raise ParamError(
                f"a window of {self.frames} frames with a stride of {self.stride}",
                expected="a stride of at least one frame, shorter than the window",
            )

    @classmethod
    def of_seconds(cls, window_s: float | None, stride_s: float | None, frame_rate_hz: float) -> SlidingWindow | None:
        """The window of so many seconds, and ``None`` where none is asked for; a stride left open is 0.6 of it.

        Raises:
            ParamError: a stride without a window, or one that does not fit into it.
        """
        if window_s is None:
            if stride_s is not None:
                raise ParamError(
                    f"stride_seconds={stride_s} without window_seconds", fix="Pass both, such as 18 and 30"
                )
            return None
        stride_s = window_s * STRIDE_SHARE if stride_s is None else stride_s
        return cls(round(window_s * frame_rate_hz), round(stride_s * frame_rate_hz))

    def windows(self, held: int, total: int) -> Iterator[Window]:
        """The windows in which ``held`` frames grow to ``total``.

        A prompt that leaves no room in the first window is seen from its end: as much of it as a later window sees of
        the one before.
        """
        first = 0 if held < self.frames else held - (self.frames - self.stride)
        end = held
        while end < total:
            window = Window(first, end - first, min(total - first, self.frames))
            yield window
            first, end = first + self.stride, window.end
