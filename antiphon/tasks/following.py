"""How far a composer's piece follows a melody, moment by moment, as the model heard it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from antiphon.audio.clip import Audio
from antiphon.audio.melody_agreement import MelodyAgreement
from antiphon.generation.windows import Window
from antiphon.tasks.melody import Tune, in_one_window, tune_of
from antiphon.tasks.request import Format
from antiphon.tasks.settings import SETTINGS, Settings


def agreement_of(
    form: Format, extractor: Any, piece: Audio, melody: Any, *, sampling_rate: int | None, separate: bool
) -> MelodyAgreement:
    """The agreement of a piece with a melody; ``Composer.agreement`` explains the arguments."""
    parameters = piece.parameters or {}
    given = {name: parameters[name] for name in SETTINGS if name in parameters}
    settings = Settings(**{"seconds": piece.seconds, **given})
    tune = tune_of(melody, sampling_rate, separate=separate, seconds=settings.seconds, seen_s=form.melody_s)
    recording = parameters.get("continue_from")
    held_s = recording.get("seconds", 0.0) if isinstance(recording, dict) else 0.0
    windows = form.windows(settings, int(held_s * form.frame_rate_hz))
    made = extractor(
        piece.mono().samples[0],
        sampling_rate=piece.sampling_rate,
        truncation=False,
        independent_rows=True,
        return_tensors="pt",
    )
    classes = made["input_features"][0].argmax(-1).numpy()
    heard = _heard(tune, extractor, windows, frame_rate_hz=form.frame_rate_hz, frames=len(classes))
    return MelodyAgreement(heard, classes, extractor.hop_length / extractor.sampling_rate)


def _heard(tune: Tune, extractor: Any, windows: Sequence[Window], *, frame_rate_hz: float, frames: int) -> np.ndarray:
    """The pitch class that the model heard at each frame of chroma of a piece, int64 (``frames``,).

    Args:
        windows: of the piece, in frames of ``frame_rate_hz``. frames: of chroma, how many the piece has.
    """
    if in_one_window(windows):
        return np.resize(tune.whole(extractor).argmax(-1).numpy(), frames)  # over and over
    starts_s = np.array([window.first for window in windows]) / frame_rate_hz
    ends_s = np.array([window.end for window in windows]) / frame_rate_hz
    classes = tune.windows(extractor, starts_s.tolist()).argmax(-1).numpy()  # (W, F)
    times_s = np.arange(frames) * extractor.hop_length / extractor.sampling_rate
    # where windows overlap, a moment was made by the first that reaches it
    which = np.searchsorted(ends_s, times_s, side="right").clip(max=len(windows) - 1)
    within = np.rint((times_s - starts_s[which]) * extractor.sampling_rate / extractor.hop_length).astype(int)
    heard: np.ndarray = classes[which, within.clip(0, classes.shape[1] - 1)]
    return heard
