"""Copies of training pieces."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.errors import ParamError
from antiphon.evaluation.copies import Nearest, TrainingCodes

GENERATOR = np.random.default_rng(5)
PIECES = [GENERATOR.integers(64, size=length).astype(np.uint16) for length in (300, 500, 90, 400)]


def _by_hand(codes: np.ndarray, window: int, hop: int) -> float:
    best = 0
    for start in range(0, len(codes) - window + 1, hop):
        for piece in PIECES:
            for place in range(len(piece) - window + 1):
                best = max(best, int((codes[start : start + window] == piece[place : place + window]).sum()))
    return best / window


def test_a_copied_passage_is_found_where_it_is() -> None:
    codes = GENERATOR.integers(64, size=400)
    codes[50:200] = PIECES[1][123:273]
    found = TrainingCodes(PIECES).nearest(codes, window_frames=100, hop_frames=25)
    assert found == Nearest(share=1.0, frame=50, piece=1, piece_frame=123)


def test_a_passage_with_changes_is_found_too() -> None:
    codes = PIECES[3][200:320].astype(np.int64)
    codes[::5] = 99  # no training piece has it
    found = TrainingCodes(PIECES).nearest(codes, window_frames=100, hop_frames=20)
    assert (found.share, found.piece, found.piece_frame) == (0.8, 3, 200)


def test_the_nearest_passage_is_the_one_that_comparing_all_finds() -> None:
    codes = GENERATOR.integers(64, size=150)
    found = TrainingCodes(PIECES).nearest(codes, window_frames=60, hop_frames=10)
    assert found.share == _by_hand(codes, 60, 10)
    assert 0 < found.share < 0.3


def test_passages_do_not_reach_over_the_end_of_a_piece() -> None:
    codes = np.concatenate([PIECES[0][-50:], PIECES[1][:50]])
    assert TrainingCodes(PIECES).nearest(codes, window_frames=100).share < 0.6


def test_what_is_shorter_than_a_window_has_no_neighbour() -> None:
    assert TrainingCodes(PIECES).nearest(PIECES[0][:99], window_frames=100) is None
    assert TrainingCodes(PIECES[2:3]).nearest(PIECES[0], window_frames=100) is None


@pytest.mark.parametrize("bad", [np.zeros((2, 3), np.int64), np.zeros(4), np.array([1, -1]), np.array([], np.int64)])
def test_what_is_no_row_of_codes_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ParamError, match="integers"):
        TrainingCodes([bad])
    with pytest.raises(ParamError, match="integers"):
        TrainingCodes(PIECES).nearest(bad)


def test_no_training_pieces_are_refused() -> None:
    with pytest.raises(ParamError, match="at least one"):
        TrainingCodes([])
