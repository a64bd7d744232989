"""A conversation with somebody at a microphone, until it is stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from antiphon.errors import ParamError
from antiphon.tasks.talk_session import Moment, TalkSession
from antiphon.tasks.transcript import Transcript

_PATIENCE_S = 0.25  # a device that has nothing to say is asked again so often, to see whether to stop


class Device(Protocol):
    """A microphone and a loudspeaker."""

    @property
    def lag_s(self) -> float:
        """Seconds that were said and wait."""
        ...

    def take(self, timeout_s: float) -> np.ndarray | None:
        """The next frame (N,), or ``None`` if none comes so long."""
        ...

    def play(self, samples: np.ndarray) -> None:
        """Plays (n,) samples."""
        ...


class Recorder(Protocol):
    """Takes what was heard and said, (2, n) samples after each other."""

    def write(self, samples: np.ndarray) -> None: ...


def converse(
    session: TalkSession,
    device: Device,
    *,
    stop_when: Callable[[], bool],
    seconds: float | None = None,
    recorder: Recorder | None = None,
    on_moment: Callable[[Moment, float], None] | None = None,
) -> Transcript:
    """Lets somebody talk with a session until ``stop_when`` answers true or the time is over.

    Args:
        session: of one row. seconds: of what is heard; ``None`` has no end. recorder: gets the user on the left and
            the reply on the right, the reply a frame later, as it is heard.
        on_moment: called after each frame with what it brought and the lag in seconds.

    Returns:
        What was said.

    Raises:
        ParamError: a session of several rows. AudioError, NumericError: as the session.
    """
    if session.batch != 1:
        raise ParamError(f"a session of {session.batch} rows", expected="1, for one microphone")
    transcript, before = Transcript(seconds=0.0), np.zeros(session.frame_samples, np.float32)
    while not stop_when() and (seconds is None or transcript.seconds < seconds):
        frame = device.take(_PATIENCE_S)
        if frame is None:
            continue
        (moment,) = session.listen(frame)
        reply = moment.samples[0]
        device.play(reply)
        _note(transcript, moment, session.frame_s)
        if recorder is not None:
            recorder.write(np.stack([frame, before]))
            before = reply if len(reply) else np.zeros_like(before)
        if on_moment is not None:
            on_moment(moment, device.lag_s)
    if recorder is not None and transcript.seconds:
        recorder.write(np.stack([np.zeros_like(before), before]))
    for moment in session.flush():
        transcript.pieces += moment.pieces
    transcript.events.sort(key=lambda event: event.time_s)  # the reply is a frame behind its user
    return transcript


def _note(transcript: Transcript, moment: Moment, frame_s: float) -> None:
    transcript.seconds += frame_s
    transcript.pieces += moment.pieces
    transcript.events += moment.events
    transcript.entropies += [entropy for entropy in moment.entropies if entropy is not None]


def summary(transcript: Transcript, device: Any) -> dict[str, float | int]:
    """What a conversation was like in numbers: its length, and what was lost of it."""
    lost = {name: int(getattr(device, name, 0)) for name in ("late_frames", "skipped_frames", "overflows")}
    return {"seconds": round(transcript.seconds, 3), **lost}
