"""When somebody speaks: from the first loud frame to the end of a pause."""

from __future__ import annotations

import math

import pytest

from antiphon.errors import ParamError
from antiphon.generation.speech_events import SpeechTracker

LOUD, QUIET = -20.0, -math.inf


def changes(levels: list[float], words: set[int] = frozenset(), **asked: float) -> dict[int, str]:  # type: ignore[assignment]
    tracker = SpeechTracker(**asked)  # type: ignore[arg-type]
    found = [tracker.push(level, word=at in words) for at, level in enumerate(levels)]
    return {at: change for at, change in enumerate(found) if change}


def test_speech_begins_at_once_and_ends_after_a_pause() -> None:
    assert changes([QUIET, LOUD, LOUD, *[QUIET] * 8]) == {1: "start", 8: "stop"}
    assert changes([LOUD, *[QUIET] * 5, LOUD, *[QUIET] * 6, LOUD]) == {0: "start", 12: "stop", 13: "start"}
    assert changes([LOUD, QUIET, QUIET], hold_frames=2) == {0: "start", 2: "stop"}


def test_a_word_is_speech_before_it_is_loud() -> None:
    assert changes([QUIET, QUIET, LOUD], {1}) == {1: "start"}


def test_what_is_below_the_threshold_is_silence_and_not_a_number_is_too() -> None:
    assert changes([-46.0, math.nan, -45.0]) == {2: "start"}
    assert changes([-46.0], threshold_dbfs=-50) == {0: "start"}


def test_a_reset_forgets() -> None:
    tracker = SpeechTracker()
    tracker.push(LOUD)
    tracker.reset()
    assert not tracker.speaks
    assert tracker.push(LOUD) == "start"


@pytest.mark.parametrize("asked", [{"threshold_dbfs": math.nan}, {"hold_frames": 0}])
def test_what_makes_no_sense_is_refused(asked: dict[str, float]) -> None:
    with pytest.raises(ParamError, match=next(iter(asked))):
        SpeechTracker(**asked)  # type: ignore[arg-type]
