"""Windows over a piece: where they lie, what they hold, and that together they are the piece."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import ParamError
from antiphon.generation.windows import SlidingWindow, Window


def test_three_minutes_are_ten_windows_of_thirty_seconds() -> None:
    windows = list(SlidingWindow(1500, 900).windows(0, 9000))
    assert windows[:2] == [Window(0, 0, 1500), Window(900, 600, 1500)]
    assert [w.first for w in windows] == list(range(0, 9000 - 600, 900))
    assert windows[-1].end == 9000


def test_what_fits_is_one_window() -> None:
    assert list(SlidingWindow(1500, 900).windows(0, 1500)) == [Window(0, 0, 1500)]
    assert list(SlidingWindow(1500, 900).windows(700, 1500)) == [Window(0, 700, 1500)]


def test_one_second_more_than_a_window_is_a_second_window_that_ends_there() -> None:
    assert list(SlidingWindow(1500, 900).windows(0, 1550)) == [Window(0, 0, 1500), Window(900, 600, 650)]


def test_a_prompt_longer_than_a_window_is_seen_from_its_end() -> None:
    assert list(SlidingWindow(1500, 900).windows(30_000, 30_100)) == [Window(29_400, 600, 700)]
    assert next(SlidingWindow(1500, 900).windows(1500, 1600)) == Window(900, 600, 700)


@given(st.integers(2, 60), st.data())
def test_windows_follow_each_other_and_make_every_frame_once(frames: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, frames - 1))
    held = data.draw(st.integers(0, 200))
    total = data.draw(st.integers(held + 1, held + 300))
    end = held
    for window in SlidingWindow(frames, stride).windows(held, total):
        assert window.first >= 0 and 0 <= window.held < window.frames <= frames
        assert window.first + window.held == end  # it goes on where the one before ended
        end = window.end
    assert end == total


def test_seconds_become_frames_and_an_open_stride_is_three_fifths() -> None:
    assert SlidingWindow.of_seconds(30, 18, 50) == SlidingWindow(1500, 900)
    assert SlidingWindow.of_seconds(30, None, 50) == SlidingWindow(1500, 900)
    assert SlidingWindow.of_seconds(None, None, 50) is None


@pytest.mark.parametrize("stride", [0, 1500, 1501, -3])
def test_a_stride_must_lie_inside_its_window(stride: int) -> None:
    with pytest.raises(ParamError, match="stride"):
        SlidingWindow(1500, stride)


def test_a_stride_alone_is_refused() -> None:
    with pytest.raises(ParamError, match="without window_seconds"):
        SlidingWindow.of_seconds(None, 18, 50)
