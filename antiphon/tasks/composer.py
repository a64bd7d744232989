"""The composer: a text, a melody, a recording to go on from, or nothing, to a piece of music."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Unpack, overload

import numpy as np
import torch

from antiphon import __version__
from antiphon.audio.clip import Audio
from antiphon.audio.melody_agreement import MelodyAgreement
from antiphon.errors import Cancelled, ParamTypeError
from antiphon.tasks.continuation import Clip
from antiphon.tasks.following import agreement_of
from antiphon.tasks.melody import features_of, in_one_window
from antiphon.tasks.request import Asked, Batch, Format, OnProgress, Request, StopWhen
from antiphon.tasks.settings import Settings


class Composer:
    """Makes music with a MusicGen or MusicGen Melody model; calling it is ``compose``.

    Args:
        model: a ``MusicgenForConditionalGeneration`` or ``MusicgenMelodyForConditionalGeneration``.
        processor: the one that belongs to it.
        name: what the pieces say they were made by. origin: what else they say of the model: its ``revision``, and
            ``quantize`` where its weights are rounded, keys and values then being kept in eight bits; its ``adapters``.

    Attributes:
        sampling_rate: of the pieces, in Hz. channels: 1 or 2. hop_samples: samples a frame. form: all that is known of
            what it makes. takes_melody: whether pieces can follow a melody. adapters: name, scale and checksum of each
            that was loaded with the model.
    """

    def __init__(self, model: Any, processor: Any, *, name: str, origin: Mapping[str, Any] | None = None) -> None:
        self.model = model
        self.processor = processor
        self.name = name
        self._origin = dict(origin or {})
        self.adapters: list[dict[str, Any]] = list(self._origin.get("adapters", ()))
        self.form = Format.of(model, processor)
        self.sampling_rate: int = self.form.sampling_rate
        self.hop_samples: int = self.form.hop_samples
        self.channels: int = self.form.channels
        self.takes_melody: bool = self.form.melody_s > 0

    def __repr__(self) -> str:
        return f"Composer({self.name!r}, {self.sampling_rate} Hz, {self.channels} ch, on {self.model.device})"

    @overload
    def __call__(self, prompt: str | None = None, **kwargs: Any) -> Audio: ...
    @overload
    def __call__(self, prompt: Sequence[str | None], **kwargs: Any) -> list[Audio]: ...
    def __call__(self, prompt: Any = None, **kwargs: Any) -> Any:
        """As ``compose``."""
        return self.compose(prompt, **kwargs)

    def spans_s(self, asked: Mapping[str, Any]) -> tuple[float, float]:
        """The seconds of a window, and between the beginnings of two, in ``compose`` with these settings."""
        given = {name: asked[name] for name in ("window_seconds", "stride_seconds") if name in asked}
        return self.form.spans_s(Settings(**given))

    def compose(
        self,
        prompt: str | Sequence[str | None] | None = None,
        *,
        seconds: float = 8.0,
        seed: int | Sequence[int] | None = None,
        continue_from: Any = None,
        melody: Any = None,
        separate: bool = False,
        sampling_rate: int | None = None,
        guidance: float = 3.0,
        temperature: float = 1.0,
        top_k: int = 250,
        top_p: float = 0.0,
        window_seconds: float | None = None,
        stride_seconds: float | None = None,
        n: int = 1,
        on_progress: OnProgress | None = None,
        stop_when: StopWhen | None = None,
        greedy: bool = False,
    ) -> Any:
        """A piece of music; a list of them for a list of prompts or ``n`` above 1, variations beside each other.

        A piece depends on its own prompt, melody, recording, seed and settings, not on its neighbours in the list. Its
        ``Audio`` carries all of them, so that it can be made again.

        Args:
            prompt: plain text, in which no word is a command; ``None`` or blank composes without one.
            seconds: length of the whole piece, the recording it goes on from included; exact to the sample.
            seed: an int s gives the pieces seeds s, s + 1, ..; a list has one for each; ``None`` draws one.
            continue_from: a path, the bytes of a file, an ``Audio``, or an array at ``sampling_rate`` Hz; one for all
                prompts, or a list. It is converted to the model's rate and channels, and cut to whole frames.
            melody: a tune to follow, for a model that does: as ``continue_from``, or a ``Melody``; in a list ``None``
                is a piece without one. It is heard from the beginning of the piece on, and again when it ends.
            separate: take drums and bass out of the melody first, with Demucs (the extra ``separate``).
            sampling_rate: of arrays, in Hz.
            guidance: how strictly text and melody are followed; at 1 and less a step computes half as much.
            temperature, top_k, top_p: shape the chance; both cuts apply, ``top_k=0`` and ``top_p=0`` are off.
            window_seconds: the model sees so much at once; unless told what it was trained on, 30 s of the published
                ones. A longer piece is made in windows, each ``stride_seconds`` (unless told three fifths of the
                window) behind the one before.
            n: variations of each prompt, each with a seed of its own.
            on_progress: called with the fraction of the work and the seconds of sound that are done.
            stop_when: asked between steps; where it answers true, every piece ends and what is whole is given, shorter
                than asked and with ``parameters["stopped"]``. Prompts that had not begun are left out.
            greedy: always the likeliest; no seed then.

        Raises:
            ParamError, ParamTypeError: a value out of range, a recording not shorter than ``seconds``, or a melody for
                a model that follows none.
            AudioError: a recording or melody that cannot be read. MissingExtraError: ``separate`` without Demucs.
            NumericError: the model gave numbers that are not finite. Cancelled: stopped before one frame was whole.

        Source: the defaults are those of audiocraft's MusicGen.
        """
        request = Request(
            self.form,
            prompt,
            seconds=seconds,
            seed=seed,
            continue_from=continue_from,
            melody=melody,
            separate=separate,
            sampling_rate=sampling_rate,
            guidance=guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            window_seconds=window_seconds,
            stride_seconds=stride_seconds,
            n=n,
            on_progress=on_progress,
            stop_when=stop_when,
            greedy=greedy,
        )
        pieces = [piece for piece in self._pieces(request) if piece is not None]
        if not pieces:
            raise Cancelled("stopped before the first sound was there")
        return pieces if request.several else pieces[0]

    def stream(
        self, prompt: str | None = None, *, chunk_seconds: float = 1.0, **asked: Unpack[Asked]
    ) -> Iterator[Audio]:
        """The piece that ``compose`` gives for the same arguments, in chunks, each as soon as it is made.

        The model works while a chunk is asked for; closing the iterator ends the work and frees its memory. Chunks are
        as loud as ``compose`` makes them: nothing is known of what comes.

        Args:
            prompt: one text, or ``None``. chunk_seconds: length of a chunk; the last one may be shorter.
            asked: as for ``compose``: ``seconds``, ``seed``, ``melody``, ``guidance``, ..; no ``n``.

        Raises:
            As ``compose``, when it is called and not when the first chunk is asked for.
        """
        if isinstance(prompt, (list, tuple)) or "n" in asked:
            raise ParamTypeError("several pieces in one stream", expected="one prompt", fix="Make a stream for each")
        request = Request(self.form, prompt, **asked)
        (batch,) = request.batches()
        progress = _Progress(request.on_progress, batch.steps, request.settings.seconds)
        sounds = self.model.stream(**self._inputs(batch, request, progress)[0], chunk_seconds=chunk_seconds)
        return self._chunks(sounds, batch, request)

    def agreement(
        self, piece: Audio, melody: Any, *, separate: bool = False, sampling_rate: int | None = None
    ) -> MelodyAgreement:
        """How far a piece follows a melody, moment by moment, as this composer heard it when it made the piece.

        Args:
            piece: with its settings, as ``compose`` or a file gives it.
            melody, separate, sampling_rate: as for ``compose``.

        Raises:
            ParamError: the model follows no melodies. AudioError: one that cannot be read.
        """
        return agreement_of(
            self.form,
            self.processor.feature_extractor,
            piece,
            melody,
            separate=separate,
            sampling_rate=sampling_rate,
        )

    def _chunks(self, sounds: Generator[torch.Tensor], batch: Batch, request: Request) -> Generator[Audio]:
        left = request.samples
        with closing(sounds):
            for sound in sounds:
                samples = sound[0, :, :left].float().cpu().numpy()
                left -= samples.shape[1]
                if samples.shape[1]:
                    yield self._audio(samples, batch, 0, request)
                if not left:
                    return

    def _pieces(self, request: Request) -> list[Audio | None]:
        """The pieces in order; ``None`` where a stop came before a piece's first sound."""
        pieces: list[Audio | None] = [None] * (len(request.texts) * request.settings.n)
        batches = request.batches()
        progress = _Progress(request.on_progress, sum(batch.steps for batch in batches), request.settings.seconds)
        for batch in batches:
            made = self._run(batch, request, progress)
            places = [i * request.settings.n + k for i in batch.places for k in range(request.settings.n)]
            for place, piece in zip(places, made, strict=True):
                pieces[place] = piece
            if request.stopped:
                break
        return pieces

    def _run(self, batch: Batch, request: Request, progress: _Progress) -> list[Audio | None]:
        inputs, silence = self._inputs(batch, request, progress)
        output = self.model.generate(**inputs, return_dict_in_generate=True)
        sounds = output.sequences.float().cpu().numpy()  # (B * n, C, N)
        starts = [start for start in silence for _ in range(request.settings.n)]
        pieces: list[Audio | None] = []
        for number, (sound, start) in enumerate(zip(sounds, starts, strict=True)):
            # a copy: a view would keep the whole batch in memory
            cut = np.array(sound[:, start : start + min(request.samples, output.audio_lengths[number])])
            pieces.append(self._audio(cut, batch, number, request) if cut.shape[1] else None)
        return pieces

    def _inputs(self, batch: Batch, request: Request, progress: _Progress) -> tuple[dict[str, Any], list[int]]:
        """The arguments of the documented ``generate``, and how much silence it will put before each item."""
        settings = request.settings
        inputs: dict[str, Any] = settings.generation_kwargs()
        if settings.samples:
            inputs["seed"] = batch.seeds
        inputs |= self._conditions(batch)
        silence = [0] * len(batch.texts)
        if batch.clips is not None:
            values, mask, silence = _padded(batch.clips)
            inputs |= {"input_values": values, "padding_mask": mask}
        if request.stop_when is not None:
            inputs["stopping_criteria"] = [request.criterion]
        if "quantize" in self._origin:
            inputs["cache_dtype"] = "int8"
        inputs |= {"max_new_tokens": batch.new, "independent_rows": True, "on_column": progress.step}
        return inputs, silence

    def _conditions(self, batch: Batch) -> dict[str, Any]:
        """Text and melody, or what stands for neither; then there is nothing that guidance could follow."""
        inputs: dict[str, Any] = {}
        if batch.texts[0].strip():
            # a text is only text: "</s>" in it is no end
            tokens = self.processor.tokenizer(batch.texts, padding=True, split_special_tokens=True, return_tensors="pt")
            inputs |= {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        if batch.tunes is not None and any(tune is not None for tune in batch.tunes):
            starts_s = [window.first / self.form.frame_rate_hz for window in batch.windows]
            one = in_one_window(batch.windows)
            inputs |= features_of(batch.tunes, self.processor.feature_extractor, None if one else starts_s)
        if inputs:
            return inputs
        if self.takes_melody:
            return {**self.processor.get_unconditional_inputs(len(batch.texts)), "guidance_scale": 1.0}
        return dict(self.model.get_unconditional_inputs(len(batch.texts)))

    def _audio(self, samples: np.ndarray, batch: Batch, number: int, request: Request) -> Audio:
        """Row ``number`` of a batch with what it was made from."""
        settings = request.settings
        item = number // settings.n
        record = {"software": f"antiphon {__version__}", **settings.record(), **self._origin}
        record["dtype"] = str(self.model.dtype).removeprefix("torch.")
        if batch.clips is not None:
            record["continue_from"] = batch.clips[item].record(self.sampling_rate)
        if batch.tunes is not None and (tune := batch.tunes[item]) is not None:
            record["melody"] = tune.record()
        if request.stopped:
            record["stopped"] = True
        seed = batch.seeds[number] if settings.samples else None
        return Audio(samples, self.sampling_rate, batch.texts[item], seed, self.name, record)


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
