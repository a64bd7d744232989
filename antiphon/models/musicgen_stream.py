"""Music while it is made: the frames of a passage to sound, piece by piece."""

from __future__ import annotations

import math
import numbers
from bisect import bisect_left
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import torch
from torch import Tensor

from antiphon.codecs.streaming import EncodecDecoderStream
from antiphon.errors import ParamError
from antiphon.models.musicgen_compose import Asked, Composition, composition_of
from antiphon.models.musicgen_prompts import Prompt


def stream(model: Any, asked: Asked, chunk_seconds: float) -> Iterator[Tensor]:
    """The body of ``MusicgenForConditionalGeneration.stream``, which documents it."""
    real = isinstance(chunk_seconds, numbers.Real) and not isinstance(chunk_seconds, bool)
    rate_hz = model.config.audio_encoder.sampling_rate
    if not real or not 1 / rate_hz <= chunk_seconds < math.inf:
        raise ParamError(f"chunk_seconds={chunk_seconds!r}", expected=f"a number of seconds, {1 / rate_hz:.2g} or more")
    if asked.config.batch_invariant:
        raise ParamError("batch_invariant=True in a stream, whose items run together", fix="Stream each item by itself")
    if asked.config.return_dict_in_generate:
        raise ParamError("return_dict_in_generate=True in a stream, which gives sound", fix="Leave it out")
    composed = composition_of(model, asked)
    rows = [_Row(model, composed.prompt, number) for number in range(len(composed.prompt.columns))]
    return _pieces(composed, asked, rows, round(chunk_seconds * rate_hz))


@torch.no_grad()
def _pieces(composed: Composition, asked: Asked, rows: list[_Row], length: int) -> Generator[Tensor, None, None]:
    """The sound (B, C, ``length``) as it grows, and what is left over in the end."""
    passage, on_column = composed.maker.passage(), asked.inputs.get("on_column")
    given = 0
    try:
        with closing(passage.columns()) as columns:
            for column in columns:
                if on_column is not None:
                    on_column(column)
                codes, counts = passage.codes(), passage.frame_counts()
                while all(row.reach(codes, count, given + length) for row, count in zip(rows, counts, strict=True)):
                    yield torch.stack([row.cut(length) for row in rows])
                    given += length
        for row, count in zip(rows, passage.frame_counts(), strict=True):
            row.finish(passage.codes(), count)
        total = max(row.samples for row in rows)
        while given < total:
            left = min(length, total - given)
            yield torch.stack([row.cut(left) for row in rows])
            given += left
    finally:
        passage.release()
        composed.maker.cache = None


class _Row:
    """One item on its way from frames to samples, decoded by itself as ``generate`` does.

    Attributes:
        samples: how many are final, the silence before the item's own sound included.
    """

    def __init__(self, model: Any, prompt: Prompt, number: int) -> None:
        self._number = number
        self._channels = 2 if model.decoder.config.audio_channels == 2 else 1  # decoded as rows beside each other
        codec = model.audio_encoder.codec
        self._ready = codec.decoder.ready
        self._stream = EncodecDecoderStream(codec, self._channels)
        self._first = 0 if prompt.offsets is None else prompt.offsets[number]
        self._silence = self.samples = 0 if prompt.pad_samples is None else prompt.pad_samples[number]
        self._pushed = 0
        weight = next(codec.parameters())
        shape = (self._channels * codec.channels, self.samples)
        self._held = torch.zeros(shape, dtype=weight.dtype, device=weight.device)

    def reach(self, codes: Tensor, count: int, samples: int) -> bool:
        """Whether so many samples are final; decodes as many of the item's ``count`` frames as that takes."""
        frames = count - self._first
        if samples > self.samples and self._silence + self._ready(frames) >= samples:
            needed = bisect_left(range(frames), samples - self._silence, key=self._ready)
            self._push(codes, needed)
        return self.samples >= samples

    def finish(self, codes: Tensor, count: int) -> None:
        """Decodes the rest of the item's frames."""
        self._push(codes, count - self._first)
        if self._pushed:
            self._hold(self._stream.flush())

    def cut(self, samples: int) -> Tensor:
        """The next (C, samples) of the sound; zeros behind its end."""
        piece, self._held = self._held[:, :samples], self._held[:, samples:].clone()
        return torch.nn.functional.pad(piece, (0, samples - piece.shape[-1]))

    def _push(self, codes: Tensor, frames: int) -> None:
        if frames <= self._pushed:
            return
        own = codes[self._number, :, self._first + self._pushed : self._first + frames]
        channels = [own[channel :: self._channels] for channel in range(self._channels)]
        self._hold(self._stream.push(torch.stack(channels)))  # (channels, K, T) to (channels, C, N)
        self._pushed = frames

    def _hold(self, sound: Tensor) -> None:
        self._held = torch.cat([self._held, sound.flatten(0, 1)], dim=-1)
        self.samples += sound.shape[-1]
