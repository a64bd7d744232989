"""Conversations at a microphone, with stand-ins for the session and the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from antiphon.errors import ParamError
from antiphon.tasks.live_talk import converse
from antiphon.tasks.talk_session import Moment
from antiphon.tasks.transcript import SpeechEvent, TextPiece

FRAME, FRAME_S = 4, 0.08
NO_SOUND = np.zeros((1, 0), np.float32)


class Session:
    """Answers frame n with n, n frames after the first, and brings what it is told to."""

    batch, frame_samples, frame_s = 1, FRAME, FRAME_S

    def __init__(self, events: list[list[SpeechEvent]]) -> None:
        self.events, self.heard = events, 0

    def listen(self, frame: np.ndarray) -> list[Moment]:
        self.heard += 1
        sound = np.full((1, FRAME), self.heard, np.float32) if self.heard > 1 else NO_SOUND
        events = tuple(self.events[self.heard - 1]) if self.heard <= len(self.events) else ()
        return [Moment(sound, (TextPiece(f"{self.heard} ", self.heard * FRAME_S),), events, (None,))]

    def flush(self) -> list[Moment]:
        return [Moment(NO_SOUND, (TextPiece("?", 1.0),), (), (None,))]


class Device:
    """A microphone that says -1, -2, .., with a pause before each."""

    lag_s = 0.0

    def __init__(self) -> None:
        self.said, self.paused, self.played = 0, False, list[np.ndarray]()

    def take(self, timeout_s: float) -> np.ndarray | None:
        self.paused = not self.paused
        if self.paused:
            return None
        self.said += 1
        return np.full(FRAME, -self.said, np.float32)

    def play(self, samples: np.ndarray) -> None:
        self.played.append(samples)


class Recorder:
    def __init__(self) -> None:
        self.parts: list[np.ndarray] = []

    def write(self, samples: np.ndarray) -> None:
        self.parts.append(samples)


def talk(session: Any, **asked: Any) -> Any:
    return converse(session, Device(), **{"stop_when": lambda: False, "seconds": 3 * FRAME_S, **asked})


def test_events_are_told_in_the_order_of_their_times() -> None:
    user, reply = SpeechEvent("user", "start", 2 * FRAME_S), SpeechEvent("moshi", "stop", 3 * FRAME_S)
    transcript = talk(Session([[], [reply], [user]]))
    assert transcript.events == [user, reply]


def test_the_recording_has_the_reply_a_frame_later_as_it_was_heard() -> None:
    recorder = Recorder()
    transcript = talk(Session([]), recorder=recorder)
    written = np.concatenate(recorder.parts, axis=1)[:, ::FRAME]
    assert written.tolist() == [[-1, -2, -3, 0], [0, 0, 2, 3]]
    assert (transcript.text, transcript.seconds) == ("1 2 3 ?", pytest.approx(3 * FRAME_S))


def test_it_ends_when_it_is_told_to_and_takes_one_row() -> None:
    asked = iter([False, False, True])
    assert talk(Session([]), stop_when=lambda: next(asked), seconds=None).text == "1 ?"
    several = Session([])
    several.batch = 2
    with pytest.raises(ParamError, match="2 rows"):
        talk(several)
