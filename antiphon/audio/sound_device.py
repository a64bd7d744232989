"""A microphone and a loudspeaker as two short queues of frames (the extra ``live``)."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Self

import numpy as np

from antiphon.errors import AudioError, ParamError, missing_extra


class SoundDevice:
    """What is said and what is played, frame by frame, while both go on.

    Neither queue grows: who is too slow loses what is oldest, and it is counted. Where nothing is there to be played,
    silence is.

    Args:
        rate_hz: of both. frame_samples: of a frame. most_frames: that each queue holds.

    Attributes:
        late_frames: that were said and dropped, because nobody took them in time. skipped_frames: that were to be
            played and dropped. overflows: times that the system itself lost what was said.

    Raises:
        ParamError: less than one frame, or none.
    """

    def __init__(self, rate_hz: int, frame_samples: int, *, most_frames: int = 25) -> None:
        if not (frame_samples >= 1 and most_frames >= 1):
            raise ParamError(
                f"frame_samples={frame_samples!r} and most_frames={most_frames!r}", expected="at least 1 of each"
            )
        self.rate_hz, self.frame_samples = rate_hz, frame_samples
        self.late_frames = self.skipped_frames = self.overflows = 0
        self._most = most_frames
        self._said: deque[np.ndarray] = deque()
        self._to_play: deque[np.ndarray] = deque()
        self._changed = threading.Condition()
        self._stream: Any = None

    @property
    def lag_s(self) -> float:
        """Seconds that were said and wait to be taken."""
        return len(self._said) * self.frame_samples / self.rate_hz

    def __enter__(self) -> Self:
        """Opens the system's microphone and loudspeaker.

        Raises:
            MissingExtraError: sounddevice is not installed. AudioError: there are no such devices.
        """
        try:
            import sounddevice
        except ImportError as error:
            raise missing_extra("sounddevice", "live", purpose="Talking through microphone and loudspeaker") from error
        except OSError as error:  # the library beneath is missing
            raise AudioError(f"sound devices cannot be reached: {error}", fix="Install PortAudio") from error
        try:
            self._stream = sounddevice.Stream(
                samplerate=self.rate_hz,
                blocksize=self.frame_samples,
                channels=1,
                dtype="float32",
                callback=self.exchange,
            )
            self._stream.start()
        except (sounddevice.PortAudioError, ValueError) as error:
            self.__exit__()
            raise AudioError(
                f"no microphone and loudspeaker at {self.rate_hz} Hz: {error}",
                fix="Plug them in, or talk to a file with --in",
            ) from error
        return self

    def __exit__(self, *error: object) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def exchange(self, said: np.ndarray, played: np.ndarray, frames: int, when: Any, status: Any) -> None:
        """What the system calls for each block: ``said`` (N, 1) came, ``played`` (N, 1) is to be filled."""
        with self._changed:
            self.overflows += bool(getattr(status, "input_overflow", False))
            self._said.append(said[:, 0].copy())
            while len(self._said) > self._most:
                self._said.popleft()
                self.late_frames += 1
            self._changed.notify()
            played[:, 0] = self._to_play.popleft() if self._to_play else 0.0

    def take(self, timeout_s: float) -> np.ndarray | None:
        """The oldest frame (N,) that was said, as soon as there is one; ``None`` if there is none so long."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._said), timeout_s)
            return self._said.popleft() if self._said else None

    def play(self, samples: np.ndarray) -> None:
        """Plays ``samples`` (n,), whole frames, behind those that wait."""
        with self._changed:
            self._to_play.extend(samples.reshape(-1, self.frame_samples))
            while len(self._to_play) > self._most:
                self._to_play.popleft()
                self.skipped_frames += 1
