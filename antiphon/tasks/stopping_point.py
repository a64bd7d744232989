"""Where a piece was stopped, so that it can be made again to just there."""

from __future__ import annotations

from typing import Any

from antiphon.tasks.request import Format, StopWhen
from antiphon.tasks.settings import Settings


def steps_until(form: Format, settings: Settings, *, held_frames: int, frames: int) -> int:
    """How many steps of a composition make its first ``frames`` whole.

    A piece that was only asked to be shorter is another one: near its end the model hears that there is no more.

    Args:
        form: of the model's sound. held_frames: those of the recording that the piece goes on from.
    """
    steps = 0
    for window in form.windows(settings, held_frames):
        end = min(frames, window.end)
        steps += end - window.first - window.held + form.pattern.max_delay
        if frames <= window.end:
            break
    return steps


class _StopAt:
    """A ``stop_when`` that says stop after so many steps, and whenever another one does."""

    def __init__(self, steps: int, other: StopWhen | None = None) -> None:
        self._left = steps
        self._other = other

    def __call__(self) -> bool:
        self._left -= 1
        return self._left <= 0 or (self._other is not None and self._other())


def stop_at(
    form: Format, settings: dict[str, Any], *, held_samples: int, seconds: float, other: StopWhen | None
) -> StopWhen | None:
    """The ``stop_when`` under which a composition ends after ``seconds``.

    Args:
        form: of the model's sound. settings: of ``compose``.
        held_samples: of the recording that the piece goes on from, in whole frames.

    Raises:
        ParamError: settings out of range.
    """
    checked = Settings(**settings)
    frames = round(seconds * form.sampling_rate / form.hop_samples)  # coded files hold a few samples more or less
    if frames >= checked.seconds * form.sampling_rate / form.hop_samples:
        return other  # stopped when everything was there
    held = -(-held_samples // form.hop_samples)
    return _StopAt(steps_until(form, checked, held_frames=held, frames=frames), other)
