"""The composer: a text, or nothing, or a recording to go on from, to a piece of music."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch

from antiphon import __version__
from antiphon.audio.clip import Audio
from antiphon.errors import ParamError, ParamTypeError
from antiphon.generation.delays import DelayPattern
from antiphon.generation.philox import item_seeds
from antiphon.tasks.continuation import Clip, clips_of
from antiphon.tasks.settings import Settings, checked_prompts, checked_seed

OnProgress = Callable[[float, float], object]


class Composer:
    """Makes music with a MusicGen model; calling it is ``compose``.

    Args:
        model: a ``MusicgenForConditionalGeneration``. processor: its ``MusicgenProcessor``.
        name: what the pieces say they were made by.

    Attributes:
        sampling_rate: of the pieces, in Hz. channels: 1 or 2. hop_samples: samples a frame.
    """

    def __init__(self, model: Any, processor: Any, *, name: str) -> None:
        self.model = model
        self.processor = processor
        self.name = name
        codec, decoder = model.config.audio_encoder, model.config.decoder
        self.sampling_rate: int = codec.sampling_rate
        self.hop_samples: int = codec.hop_length
        self.channels: int = 2 if decoder.audio_channels == 2 else codec.audio_channels
        self._delay: int = DelayPattern.for_codebooks(decoder.num_codebooks, decoder.audio_channels).max_delay

    def __repr__(self) -> str:
        return f"Composer({self.name!r}, {self.sampling_rate} Hz, {self.channels} ch, on {self.model.device})"

    @overload
    def __call__(self, prompt: str | None = None, **kwargs: Any) -> Audio: ...
    @overload
    def __call__(self, prompt: Sequence[str | None], **kwargs: Any) -> list[Audio]: ...
    def __call__(self, prompt: Any = None, **kwargs: Any) -> Any:
        """As ``compose``."""
        return self.compose(prompt, **kwargs)

    def compose(
        self,
        prompt: str | Sequence[str | None] | None = None,
        *,
        seconds: float = 8.0,
        seed: int | Sequence[int] | None = None,
        continue_from: Any = None,
        sampling_rate: int | None = None,
        guidance: float = 3.0,
        temperature: float = 1.0,
        top_k: int = 250,
        top_p: float = 0.0,
        n: int = 1,
        on_progress: OnProgress | None = None,
        greedy: bool = False,
    ) -> Any:
        """A piece of music; a list of them for a list of prompts or ``n`` above 1, variations beside each other.

        A piece depends on its own prompt, recording, seed and settings, not on its neighbours in the list. Its
        ``Audio`` carries all of them, so that it can be made again.

        Args:
            prompt: plain text, in which no word is a command; ``None`` or blank composes without one.
            seconds: length of the whole piece, the recording it goes on from included; exact to the sample. The
                published models were trained on 30 s: beyond that a warning is logged and the music gets poor.
            seed: an int s gives the pieces seeds s, s + 1, ..; a list has one for each; ``None`` draws one.
            continue_from: a path, the bytes of a file, an ``Audio``, or an array at ``sampling_rate`` Hz; one for all
                prompts, or a list. It is converted to the model's rate and channels, and cut to whole frames.
            guidance: how strictly the text is followed; the cost of a step halves at 1.
            temperature, top_k, top_p: shape the chance; both cuts apply, ``top_k=0`` and ``top_p=0`` are off.
            n: variations of each prompt, each with a seed of its own.
            on_progress: called with the fraction of the work and the seconds of sound that are done.
            greedy: always the likeliest; no seed then.

        Raises:
            ParamError, ParamTypeError: a value out of range, or a recording not shorter than ``seconds``.
            AudioError: a recording that cannot be read. NumericError: the model gave numbers that are not finite.

        Source: the defaults are those of audiocraft's MusicGen.
        """
        texts = checked_prompts(prompt)
        settings = Settings(
            seconds=seconds,
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            n=n,
            greedy=greedy,
        )
        if on_progress is not None and not callable(on_progress):
            raise ParamTypeError(f"on_progress is of type {type(on_progress).__name__}", expected="a callable, or None")
        checked = checked_seed(seed, settings)
        clips = clips_of(
            continue_from,
            sampling_rate,
            prompts=len(texts),
            rate_hz=self.sampling_rate,
            channels=self.channels,
            hop_samples=self.hop_samples,
        )
        samples = self._length(settings, clips)
        seeds: list[Any] = [None] * len(texts)
        if settings.samples:
            seeds = item_seeds(checked, len(texts) * n)
        pieces = self._pieces(texts, settings, seeds, clips, samples, on_progress)
        return pieces if isinstance(prompt, (list, tuple)) or n > 1 else pieces[0]

    def _length(self, settings: Settings, clips: list[Clip] | None) -> int:
        samples = round(settings.seconds * self.sampling_rate)
        if samples < 1:
            raise ParamError(f"seconds={settings.seconds}", expected=f"one sample, {1 / self.sampling_rate:.2g} s")
        longest = max((clip.length_samples for clip in clips), default=0) if clips else 0
        if longest >= samples:
            raise ParamError(
                f"the recording has {longest / self.sampling_rate:.2f} s and seconds={settings.seconds:g} counts the "
                "whole piece, recording included",
                expected="a piece longer than its recording",
                fix="Raise seconds, or go on from the end of the recording only",
            )
        return samples

    def _pieces(
        self,
        texts: list[str],
        settings: Settings,
        seeds: list[Any],
        clips: list[Clip] | None,
        samples: int,
        on_progress: OnProgress | None,
    ) -> list[Audio]:
        """The pieces in order."""
        pieces: list[Any] = [None] * (len(texts) * settings.n)
        batches = [
            _Batch(
                own,
                [texts[i] for i in own],
                [seeds[i * settings.n + k] for i in own for k in range(settings.n)],
                None if clips is None else [clips[i] for i in own],
                held,
            )
            for (_, held), own in self._grouped(texts, clips).items()
        ]
        steps = [self._steps(batch.held_frames, samples) for batch in batches]
        progress = _Progress(on_progress, sum(steps), samples / self.sampling_rate)
        for batch, new in zip(batches, steps, strict=True):
            places = [i * settings.n + k for i in batch.places for k in range(settings.n)]
            for place, piece in zip(places, self._run(batch, settings, samples, new, progress), strict=True):
                pieces[place] = piece
        return pieces

    def _grouped(self, texts: list[str], clips: list[Clip] | None) -> dict[tuple[bool, int], list[int]]:
        """Which prompts run together: those with a text and those without, which need no guidance; and of equal frames
        to go on from, so that all rows end together and the codec hears nothing behind any end.
        """
        groups: dict[tuple[bool, int], list[int]] = {}
        for number, text in enumerate(texts):
            held = 0 if clips is None else -(-clips[number].samples.shape[1] // self.hop_samples)
            groups.setdefault((bool(text.strip()), held), []).append(number)
        return groups

    def _steps(self, held_frames: int, samples: int) -> int:
        """New columns: of the frames that are missing, and the delay of the last stream.

        Below as many frames as that delay there would be no pattern of delays.
        """
        frames = max(-(-samples // self.hop_samples), self._delay, held_frames + 1)
        return int(frames - held_frames + self._delay)

    def _run(self, batch: _Batch, settings: Settings, samples: int, new: int, progress: _Progress) -> list[Audio]:
        inputs: dict[str, Any] = settings.generation_kwargs()
        if settings.samples:
            inputs["seed"] = batch.seeds
        if batch.texts[0].strip():
            # a text is only text: "</s>" in it is no end
            tokens = self.processor.tokenizer(batch.texts, padding=True, split_special_tokens=True, return_tensors="pt")
            inputs |= {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        else:
            inputs |= dict(self.model.get_unconditional_inputs(len(batch.texts)))
        silence = [0] * len(batch.texts)
        if batch.clips is not None:
            values, mask, silence = _padded(batch.clips)
            inputs |= {"input_values": values, "padding_mask": mask}
        output = self.model.generate(
            **inputs,
            max_new_tokens=new,
            independent_rows=True,
            return_dict_in_generate=True,
            on_column=progress.step,
        )
        sounds = output.sequences.float().cpu().numpy()  # (B * n, C, N)
        starts = [start for start in silence for _ in range(settings.n)]
        pieces = []
        for number, (sound, start) in enumerate(zip(sounds, starts, strict=True)):
            item = number // settings.n
            record = self._record(settings, None if batch.clips is None else batch.clips[item])
            # a copy: a view would keep the whole batch in memory
            cut = np.array(sound[:, start : start + min(samples, output.audio_lengths[number])])
            seed = batch.seeds[number] if settings.samples else None
            pieces.append(Audio(cut, self.sampling_rate, batch.texts[item], seed, self.name, record))
        return pieces

    def _record(self, settings: Settings, clip: Clip | None) -> dict[str, Any]:
        record = {"software": f"antiphon {__version__}", **settings.record()}
        record["dtype"] = str(self.model.dtype).removeprefix("torch.")
        if clip is not None:
            record["continue_from"] = clip.record(self.sampling_rate)
        return record


@dataclass
class _Batch:
    """Prompts that run together: their places in the call, n seeds and at most one clip of ``held_frames`` for each."""

    places: list[int]
    texts: list[str]
    seeds: list[Any]
    clips: list[Clip] | None
    held_frames: int


class _Progress:
    """Counts columns and tells the caller."""

    def __init__(self, tell: OnProgress | None, steps: int, seconds: float) -> None:
        self._tell = tell
        self._steps = steps
        self._seconds = seconds
        self._done = 0

    def step(self, column: torch.Tensor) -> None:
        """One more column is done."""
        self._done += 1
        if self._tell is not None:
            fraction = min(1.0, self._done / self._steps)
            self._tell(fraction, fraction * self._seconds)


def _padded(clips: list[Clip]) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Clips as (B, C, N) with their mask (B, N), and how much silence ``generate`` puts before each."""
    longest = max(clip.samples.shape[1] for clip in clips)
    values = torch.zeros(len(clips), clips[0].samples.shape[0], longest)
    mask = torch.zeros(len(clips), longest, dtype=torch.long)
    for row, clip in enumerate(clips):
        length = clip.samples.shape[1]
        values[row, :, :length] = torch.from_numpy(clip.samples)
        mask[row, :length] = 1
    return values, mask, [longest - clip.samples.shape[1] for clip in clips]
