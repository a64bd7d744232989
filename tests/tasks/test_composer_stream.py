"""The composer's stream, pieces of any length, and stopping: what comes early, what comes late, and what stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from antiphon import Audio
from antiphon.errors import AudioError, Cancelled, ParamError, ParamTypeError

PROMPT = "80s pop track with bassy drums and synth"
WINDOWS = {"window_seconds": 0.5, "stride_seconds": 0.3}


def joined(chunks: Any) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in chunks], axis=1)


@pytest.mark.parametrize("prompt", [PROMPT, None])
@pytest.mark.parametrize(
    ("seconds", "chunk_seconds", "windows"),
    [(0.02, 1.0, {}), (1 / 32_000, 1.0, {}), (1.21, 0.25, {}), (2.0, 0.3, WINDOWS), (0.9, 2.0, WINDOWS)],
)
def test_chunks_in_a_row_are_the_piece_of_compose(
    compose: Any, prompt: str | None, seconds: float, chunk_seconds: float, windows: dict[str, float]
) -> None:
    piece = compose(prompt, seconds=seconds, seed=3, **windows)
    chunks = list(compose.stream(prompt, seconds=seconds, seed=3, chunk_seconds=chunk_seconds, **windows))
    assert joined(chunks).shape == piece.samples.shape
    assert np.abs(joined(chunks) - piece.samples).max() < 1e-5
    for chunk in chunks:
        assert (chunk.prompt, chunk.seed, chunk.model) == (piece.prompt, piece.seed, piece.model)
        assert chunk.parameters == piece.parameters


@pytest.mark.parametrize("seconds", [0.02, 30.0, 31.0])
def test_pieces_of_one_frame_one_window_and_a_second_more_have_their_length(compose: Any, seconds: float) -> None:
    chunks = compose.stream(PROMPT, seconds=seconds, seed=1, guidance=1.0, greedy=False, chunk_seconds=5.0)
    assert sum(len(chunk) for chunk in chunks) == round(seconds * 32_000)


def test_three_minutes_come_in_windows_and_begin_as_the_shorter_piece(compose: Any) -> None:
    asked = {"seed": 5, "guidance": 1.0, "window_seconds": 3.0, "stride_seconds": 1.8}
    piece = compose(PROMPT, seconds=180.0, **asked)
    assert piece.samples.shape == (1, 180 * 32_000)
    short = compose(PROMPT, seconds=2.0, **asked)
    # but for the last frames, whose sound depends on what follows
    assert np.abs(piece.samples[:, :60_000] - short.samples[:, :60_000]).max() < 1e-5


@pytest.mark.parametrize("samples", [1, 639, 641, 400_000])
def test_recordings_of_one_sample_and_of_many_windows_go_on(compose: Any, samples: int) -> None:
    recording = Audio(0.3 * np.sin(np.arange(samples) / 20, dtype=np.float32)[None], 32_000)
    asked = {"continue_from": recording, "seconds": samples / 32_000 + 0.5, "seed": 2, **WINDOWS}
    piece = compose(PROMPT, **asked)
    assert len(piece) == round((samples / 32_000 + 0.5) * 32_000)
    assert np.abs(joined(compose.stream(PROMPT, **asked, chunk_seconds=1.0)) - piece.samples).max() < 1e-5


def test_progress_counts_the_steps_of_all_windows(compose: Any) -> None:
    told: list[tuple[float, float]] = []
    compose(PROMPT, seconds=1.1, seed=1, on_progress=lambda *done: told.append(done), **WINDOWS)
    fractions = [fraction for fraction, _ in told]
    # 55 frames in three windows of 25 frames and a stride of 15, each with three columns more
    assert len(told) == 55 + 3 * 3
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert told[-1][1] == pytest.approx(1.1)


def test_a_stop_keeps_what_is_whole_and_says_so(compose: Any) -> None:
    steps = []
    piece = compose(PROMPT, seconds=2.0, seed=3, stop_when=lambda: steps.append(1) or len(steps) == 30, **WINDOWS)
    whole = compose(PROMPT, seconds=2.0, seed=3, **WINDOWS)
    assert len(steps) == 30
    assert piece.parameters["stopped"] is True and "stopped" not in whole.parameters
    assert 640 * 20 < len(piece) < len(whole)
    assert np.abs(piece.samples[:, :-4000] - whole.samples[:, : len(piece) - 4000]).max() < 1e-5


def test_a_stop_ends_the_batches_that_had_not_begun(compose: Any) -> None:
    steps = []
    pieces = compose([PROMPT, None], seconds=1.0, seed=3, stop_when=lambda: steps.append(1) or len(steps) == 30)
    assert [piece.prompt for piece in pieces] == [PROMPT]


def test_a_stop_before_the_first_frame_is_cancelled(compose: Any) -> None:
    with pytest.raises(Cancelled, match="before the first sound"):
        compose(PROMPT, seconds=1.0, seed=3, stop_when=lambda: True)


def test_a_stop_ends_a_stream(compose: Any) -> None:
    steps = []
    asked = {"seconds": 3.0, "seed": 3, "stop_when": lambda: steps.append(1) or len(steps) == 80}
    chunks = list(compose.stream(PROMPT, chunk_seconds=0.5, **asked))
    assert sum(len(chunk) for chunk in chunks) == (80 - 3) * 640


@pytest.mark.parametrize(
    ("asked", "error", "named"),
    [
        ({"n": 2}, ParamTypeError, "one prompt"),
        ({"prompt": [PROMPT]}, ParamTypeError, "one prompt"),
        ({"chunk_seconds": 0}, ParamError, "chunk_seconds"),
        ({"window_seconds": 1.0, "stride_seconds": 1.0}, ParamError, "stride"),
        ({"window_seconds": float("nan")}, ParamError, "window_seconds"),
        ({"window_seconds": "long"}, ParamError, "window_seconds"),
        ({"stop_when": 5}, ParamTypeError, "stop_when"),
        ({"secnds": 5}, ParamTypeError, "Did you mean 'seconds'"),
        ({"continue_from": b"x"}, AudioError, "sound"),
    ],
)
def test_a_stream_is_refused_when_it_is_asked_for(compose: Any, asked: dict[str, Any], error: Any, named: str) -> None:
    with pytest.raises(error, match=named):
        compose.stream(**{"prompt": PROMPT, "seconds": 0.5, **asked})
