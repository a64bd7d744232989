"""What a composer is asked for: prompts, recordings, melodies, seeds and settings, checked, and what runs together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack, cast

from antiphon.errors import ParamError, ParamTypeError, unknown_argument
from antiphon.generation.delays import DelayPattern
from antiphon.generation.philox import item_seeds
from antiphon.generation.windows import STRIDE_SHARE, SlidingWindow, Window
from antiphon.tasks.continuation import Clip, clips_of
from antiphon.tasks.melody import Tune, tunes_of
from antiphon.tasks.recordings import check_rate_is_needed
from antiphon.tasks.settings import SETTINGS, Settings, checked_prompts, checked_seed

OnProgress = Callable[[float, float], object]
StopWhen = Callable[[], bool]


class Asked(TypedDict, total=False):
    """The arguments of a call beside its prompt; ``Composer.compose`` explains them."""

    seed: Any
    continue_from: Any
    melody: Any
    separate: bool
    sampling_rate: int | None
    on_progress: OnProgress | None
    stop_when: StopWhen | None
    seconds: float
    guidance: float
    temperature: float
    top_k: int
    top_p: float
    window_seconds: float | None
    stride_seconds: float | None
    n: int
    greedy: bool


@dataclass(frozen=True)
class Format:
    """What a model makes: Hz, channels, samples of a frame, its streams' delays, the seconds of a melody that it sees
    at once, 0 where it follows none, and the seconds of music that it was trained on.
    """

    sampling_rate: int
    channels: int
    hop_samples: int
    pattern: DelayPattern
    melody_s: float
    window_s: float = 30.0

    @classmethod
    def of(cls, model: Any, processor: Any) -> Format:
        """That of a composite."""
        codec, decoder = model.config.audio_encoder, model.config.decoder
        follows = model.config.model_type == "musicgen_melody"
        return cls(
            sampling_rate=codec.sampling_rate,
            channels=2 if decoder.audio_channels == 2 else codec.audio_channels,
            hop_samples=codec.hop_length,
            pattern=DelayPattern.for_codebooks(decoder.num_codebooks, decoder.audio_channels),
            melody_s=float(processor.feature_extractor.chunk_length) if follows else 0.0,
            window_s=model.generation_config.window_seconds or cls.window_s,  # the published ones do not say theirs
        )

    @property
    def frame_rate_hz(self) -> float:
        return self.sampling_rate / self.hop_samples

    def windows(self, settings: Settings, held_frames: int) -> list[Window]:
        """The windows in which a piece is made behind ``held_frames`` frames, at least one.

        Below as many frames as the delay of the last stream there would be no pattern of delays.
        """
        asked = -(-round(settings.seconds * self.sampling_rate) // self.hop_samples)
        total = max(asked, self.pattern.max_delay, held_frames + 1)
        sliding = SlidingWindow.of_seconds(*self.spans_s(settings), self.frame_rate_hz)
        return [] if sliding is None else list(sliding.windows(held_frames, total))

    def spans_s(self, settings: Settings) -> tuple[float, float]:
        """The seconds of a window, and between the beginnings of two: as asked, or what the model was trained on."""
        window, stride = settings.window_seconds, settings.stride_seconds
        window = self.window_s if window is None else window
        return window, STRIDE_SHARE * window if stride is None else stride


@dataclass
class Batch:
    """Prompts that run together: their places in the call, n seeds, and at most one clip and one tune for each.

    Attributes:
        windows: of their pieces. delay: columns that a window needs beyond its frames.
    """

    places: list[int]
    texts: list[str]
    seeds: list[Any]
    clips: list[Clip] | None
    tunes: list[Tune | None] | None
    windows: list[Window]
    delay: int

    @property
    def new(self) -> int:
        """Columns that the pieces still need, as in one window."""
        first, last = self.windows[0], self.windows[-1]
        return last.end - first.first - first.held + self.delay

    @property
    def steps(self) -> int:
        """Columns that are computed, over all windows."""
        return sum(window.frames - window.held + self.delay for window in self.windows)


class Request:
    """A checked call.

    Attributes:
        several: whether the caller wants a list. stopped: whether ``stop_when`` has said so.

    Raises:
        ParamError, ParamTypeError: a value out of range, a recording not shorter than the piece, or a melody where the
            model follows none. AudioError: a recording or melody that cannot be read.
    """

    def __init__(self, form: Format, prompt: Any, **asked: Unpack[Asked]) -> None:
        for name in asked:
            if name not in Asked.__annotations__:
                raise unknown_argument(name, Asked.__annotations__, where="stream")
        self.on_progress, self.stop_when = asked.get("on_progress"), asked.get("stop_when")
        for name, given in (("on_progress", self.on_progress), ("stop_when", self.stop_when)):
            if given is not None and not callable(given):
                raise ParamTypeError(f"{name} is of type {type(given).__name__}", expected="a callable, or None")
        self.form = form
        self.texts = checked_prompts(prompt)
        given_settings = {name: value for name, value in asked.items() if name in SETTINGS}
        settings = Settings(**cast(dict[str, Any], given_settings))
        window_s, stride_s = form.spans_s(settings)
        self.settings = replace(settings, window_seconds=window_s, stride_seconds=stride_s)
        self.stopped = False
        self.several = isinstance(prompt, (list, tuple)) or self.settings.n > 1
        seed = checked_seed(asked.get("seed"), self.settings)
        self._listen(asked)
        self.samples = self._length()
        self.seeds: list[Any] = [None] * len(self.texts)
        if self.settings.samples:
            self.seeds = item_seeds(seed, len(self.texts) * self.settings.n)

    def _listen(self, asked: Asked) -> None:
        """Reads what is to be heard."""
        continue_from, melody, rate_hz = asked.get("continue_from"), asked.get("melody"), asked.get("sampling_rate")
        check_rate_is_needed(rate_hz, continue_from=continue_from, melody=melody)
        self.clips = clips_of(
            continue_from,
            rate_hz,
            prompts=len(self.texts),
            rate_hz=self.form.sampling_rate,
            channels=self.form.channels,
            hop_samples=self.form.hop_samples,
        )
        self.tunes = tunes_of(
            melody,
            rate_hz,
            separate=asked.get("separate", False),
            prompts=len(self.texts),
            seconds=self.settings.seconds,
            seen_s=self.form.melody_s,
        )

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
        """The prompts in groups: those with a text; those with a melody alone; and those with neither, which need no
        guidance. And of equal frames to go on from, so that all rows end together and the codec hears nothing behind
        any end.
        """
        n, groups = self.settings.n, dict[tuple[bool, bool, int], list[int]]()
        for number, text in enumerate(self.texts):
            held = 0 if self.clips is None else -(-self.clips[number].samples.shape[1] // self.form.hop_samples)
            alone = not text.strip() and self.tunes is not None and self.tunes[number] is not None
            groups.setdefault((bool(text.strip()), alone, held), []).append(number)
        return [
            Batch(
                own,
                [self.texts[i] for i in own],
                [self.seeds[i * n + k] for i in own for k in range(n)] if self.settings.samples else [None] * len(own),
                None if self.clips is None else [self.clips[i] for i in own],
                None if self.tunes is None else [self.tunes[i] for i in own],
                self.form.windows(self.settings, held),
                self.form.pattern.max_delay,
            )
            for (_, _, held), own in groups.items()
        ]
