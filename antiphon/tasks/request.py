"""What a composer is asked for: prompts, recordings, seeds and settings, checked, and which of them run together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from antiphon.errors import ParamError, ParamTypeError, unknown_argument
from antiphon.generation.delays import DelayPattern
from antiphon.generation.philox import item_seeds
from antiphon.generation.windows import SlidingWindow
from antiphon.tasks.continuation import Clip, clips_of
from antiphon.tasks.settings import Settings, checked_prompts, checked_seed

OnProgress = Callable[[float, float], object]
StopWhen = Callable[[], bool]


@dataclass(frozen=True)
class Format:
    """The sound of a model: Hz, channels, samples of a frame, and its streams' delays."""

    sampling_rate: int
    channels: int
    hop_samples: int
    pattern: DelayPattern

    @classmethod
    def of(cls, model: Any) -> Format:
        """That of a composite."""
        codec, decoder = model.config.audio_encoder, model.config.decoder
        return cls(
            sampling_rate=codec.sampling_rate,
            channels=2 if decoder.audio_channels == 2 else codec.audio_channels,
            hop_samples=codec.hop_length,
            pattern=DelayPattern.for_codebooks(decoder.num_codebooks, decoder.audio_channels),
        )


@dataclass
class Batch:
    """Prompts that run together: their places in the call, n seeds and at most one clip for each.

    Attributes:
        new: columns that their pieces still need, as in one window. steps: columns that are computed, over all windows.
    """

    places: list[int]
    texts: list[str]
    seeds: list[Any]
    clips: list[Clip] | None
    new: int
    steps: int


class Request:
    """A checked call.

    Args:
        settings: the keywords of ``Settings``.

    Attributes:
        several: whether the caller wants a list. stopped: whether ``stop_when`` has said so.

    Raises:
        ParamError, ParamTypeError: a value out of range, or a recording not shorter than the piece.
        AudioError: a recording that cannot be read.
    """

    def __init__(
        self,
        form: Format,
        prompt: Any,
        *,
        settings: dict[str, Any],
        seed: Any = None,
        continue_from: Any = None,
        sampling_rate: int | None = None,
        on_progress: OnProgress | None = None,
        stop_when: StopWhen | None = None,
    ) -> None:
        for name, given in (("on_progress", on_progress), ("stop_when", stop_when)):
            if given is not None and not callable(given):
                raise ParamTypeError(f"{name} is of type {type(given).__name__}", expected="a callable, or None")
        known = [field.name for field in fields(Settings)]
        for name in settings:
            if name not in known:
                raise unknown_argument(name, known, where="stream")
        self.form = form
        self.texts = checked_prompts(prompt)
        self.settings = Settings(**settings)
        self.on_progress, self.stop_when = on_progress, stop_when
        self.stopped = False
        self.several = isinstance(prompt, (list, tuple)) or self.settings.n > 1
        checked = checked_seed(seed, self.settings)
        self.clips = clips_of(
            continue_from,
            sampling_rate,
            prompts=len(self.texts),
            rate_hz=form.sampling_rate,
            channels=form.channels,
            hop_samples=form.hop_samples,
        )
        self.samples = self._length()
        self.seeds: list[Any] = [None] * len(self.texts)
        if self.settings.samples:
            self.seeds = item_seeds(checked, len(self.texts) * self.settings.n)

    def _length(self) -> int:
        rate_hz, seconds = self.form.sampling_rate, self.settings.seconds
        samples = round(seconds * rate_hz)
        if samples < 1:
            raise ParamError(f"seconds={seconds}", expected=f"one sample, {1 / rate_hz:.2g} s")
        longest = max((clip.length_samples for clip in self.clips), default=0) if self.clips else 0
        if longest >= samples:
            raise ParamError(
                f"the recording has {longest / rate_hz:.2f} s and seconds={seconds:g} counts the "
                "whole piece, recording included",
                expected="a piece longer than its recording",
                fix="Raise seconds, or go on from the end of the recording only",
            )
        return samples

    def criterion(self, ids: Any, scores: Any) -> bool:
        """``stop_when`` as the loop asks it between steps."""
        self.stopped = self.stopped or (self.stop_when is not None and bool(self.stop_when()))
        return self.stopped

    def batches(self) -> list[Batch]:
        """The prompts in groups of those with a text and those without, which need no guidance; and of equal frames to
        go on from, so that all rows end together and the codec hears nothing behind any end.
        """
        n, groups = self.settings.n, dict[tuple[bool, int], list[int]]()
        for number, text in enumerate(self.texts):
            held = 0 if self.clips is None else -(-self.clips[number].samples.shape[1] // self.form.hop_samples)
            groups.setdefault((bool(text.strip()), held), []).append(number)
        return [
            Batch(
                own,
                [self.texts[i] for i in own],
                [self.seeds[i * n + k] for i in own for k in range(n)] if self.settings.samples else [None] * len(own),
                None if self.clips is None else [self.clips[i] for i in own],
                *self._columns(held),
            )
            for (_, held), own in groups.items()
        ]

    def _columns(self, held: int) -> tuple[int, int]:
        """New columns of the frames that are missing and the delay of the last stream; and how many are computed.

        Below as many frames as that delay there would be no pattern of delays.
        """
        delay = self.form.pattern.max_delay
        frames = max(-(-self.samples // self.form.hop_samples), delay, held + 1)
        sliding = SlidingWindow.of_seconds(
            self.settings.window_seconds,
            self.settings.stride_seconds,
            self.form.sampling_rate / self.form.hop_samples,
        )
        windows = [] if sliding is None else list(sliding.windows(held, frames))
        return frames - held + delay, sum(w.frames - w.held + delay for w in windows)
