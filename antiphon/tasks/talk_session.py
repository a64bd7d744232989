"""A conversation as it goes on: sound in pieces of any length in, sound and text out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from antiphon.audio.samples import check_finite
from antiphon.codecs.frame_buffer import FrameBuffer
from antiphon.errors import ParamError, ParamTypeError, SessionError
from antiphon.generation.duplex import Duplex
from antiphon.generation.duplex_settings import DuplexSettings, Opening
from antiphon.generation.speech_events import SpeechTracker
from antiphon.tasks.transcript import Entropy, Speaker, SpeechEvent, TextPiece
from antiphon.text.piece_stream import Pieces, PieceStream


@dataclass(frozen=True, eq=False)
class Moment:
    """What one frame of the users brought.

    Attributes:
        samples: (B, n) float32 of the reply: a frame, silent in rows that have none yet; n is 0 where no row has one.
        pieces: texts of these frames. events: of users and replies. entropies: of each row, or ``None``.
    """

    samples: np.ndarray
    pieces: tuple[TextPiece, ...]
    events: tuple[SpeechEvent, ...]
    entropies: tuple[Entropy | None, ...]


class TalkSession:
    """B conversations side by side, each with a clock that begins at 0 with its first sample.

    What a frame of a user brings is heard a frame later: it is there once the frame was said.

    Args:
        duplex: the session beneath. vocabulary: of its texts. sampling_rate: of all sound, in Hz.
        quiet: text tokens that stand for no text.

    Attributes:
        batch: B. sampling_rate: in Hz. frame_samples: what the model hears at once. held_samples: that wait for the
            rest of their frame.
    """

    def __init__(
        self, duplex: Duplex, vocabulary: Pieces, *, sampling_rate: int, quiet: tuple[int, ...] = (0, 3)
    ) -> None:
        self.batch, self.sampling_rate, self.frame_samples = duplex.rows, sampling_rate, duplex.frame_samples
        self._duplex, self._vocabulary, self._quiet = duplex, vocabulary, quiet
        self._buffer = FrameBuffer(self.batch, 1, self.frame_samples)
        rows = range(self.batch)
        self._frames = [0 for _ in rows]
        self._texts = [PieceStream(vocabulary, quiet=quiet) for _ in rows]
        self._speakers: dict[Speaker, list[SpeechTracker]] = {
            "user": [SpeechTracker() for _ in rows],
            "moshi": [SpeechTracker() for _ in rows],
        }
        self._closed = False

    @property
    def seeds(self) -> list[int]:
        """Of the rows: with them the same conversations are had again."""
        return list(self._duplex.dialogue.seeds)

    @property
    def settings(self) -> DuplexSettings:
        """How tokens are chosen."""
        return self._duplex.dialogue.settings

    @property
    def held_samples(self) -> int:
        """Samples that wait for the rest of their frame."""
        return self._buffer.held_samples

    @property
    def frame_s(self) -> float:
        """Seconds of a frame."""
        return self.frame_samples / self.sampling_rate

    def __enter__(self) -> TalkSession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the session: it takes nothing more."""
        self._closed = True

    def push(self, pcm: Any, live: Sequence[bool] | None = None) -> tuple[np.ndarray, list[TextPiece]]:
        """The sound and the text that are there now; arguments and errors as ``listen``.

        Returns:
            The samples float32, (B, n) or, where a row of samples came, (n,); n is 0 or whole frames. The pieces.
        """
        moments = self.listen(pcm, live)
        parts = [moment.samples for moment in moments]
        samples = np.concatenate(parts, axis=1) if parts else np.zeros((self.batch, 0), np.float32)
        pieces = [piece for moment in moments for piece in moment.pieces]
        return (samples[0] if np.ndim(pcm) == 1 else samples), pieces

    def listen(self, pcm: Any, live: Sequence[bool] | None = None) -> list[Moment]:
        """What each whole frame brings. Samples are regrouped to frames, so that no cut of them changes a bit.

        Args:
            pcm: floats (B, n), or (n,) for one row, n from 0. live: rows that go on, by default all; the others stand
                still, and what came for them is dropped. With it only whole frames may come, and none may be begun.

        Raises:
            ParamError: samples or ``live`` of another shape. ParamTypeError: no floats. AudioError: samples that are
                not finite. NumericError: the model gave numbers that are not finite. SessionError: the session is
                closed, or a step failed before; then ``reset`` of all rows helps.
        """
        if self._closed:
            raise SessionError("the session is closed", fix="Begin a new one")
        samples = self._checked(pcm)
        if live is not None and (self.held_samples or samples.shape[1] % self.frame_samples):
            raise ParamError(
                f"live beside {samples.shape[1]} samples with {self.held_samples} held",
                expected=f"whole frames of {self.frame_samples} samples",
            )
        going = [True] * self.batch if live is None else [bool(goes) for goes in live]
        if len(going) != self.batch:
            raise ParamError(f"live of {len(going)} rows", expected=f"{self.batch}")
        whole = self._buffer.push(torch.from_numpy(samples)[:, None])[:, 0]
        return [self._moment(frame, going) for frame in whole.split(self.frame_samples, dim=1) if frame.shape[1]]

    def flush(self) -> list[Moment]:
        """What the last frame brings, filled up with silence, and the texts that were held; nothing goes on from it."""
        last = self._buffer.flush()[:, 0]
        moments = [self._moment(last, [True] * self.batch)] if last.shape[1] else []
        rests = [TextPiece(rest, self._frames[row] * self.frame_s, row) for row, rest in self._rests() if rest]
        if rests:
            none = (None,) * self.batch
            moments.append(Moment(np.zeros((self.batch, 0), np.float32), tuple(rests), (), none))
        return moments

    def _rests(self) -> list[tuple[int, str]]:
        return [(row, text.flush()) for row, text in enumerate(self._texts)]

    def reset(
        self,
        rows: Sequence[int] | None = None,
        *,
        seed: int | Sequence[int] | None = None,
        opening: Opening | None = None,
        keep_opening: bool = True,
    ) -> None:
        """Lets rows begin anew and leaves the others as they are; arguments and errors as ``Dialogue.reset``.

        In the midst of a frame, what of it had come for these rows is silence then.
        """
        if self._closed:
            raise SessionError("the session is closed", fix="Begin a new one")
        self._duplex.reset(rows, seed=seed, opening=opening, keep_opening=keep_opening)
        numbers = list(range(self.batch)) if rows is None else list(rows)
        if len(numbers) == self.batch:
            self._buffer.clear()
        else:
            self._buffer.silence(numbers)
        for row in numbers:
            self._frames[row] = 0
            self._texts[row].flush()
            for trackers in self._speakers.values():
                trackers[row].reset()

    def _checked(self, pcm: Any) -> np.ndarray:
        """float32 (B, n)."""
        if isinstance(pcm, Tensor):
            pcm = pcm.detach().float().cpu().numpy()
        array = np.asarray(pcm)
        if array.dtype.kind != "f" and array.size:
            raise ParamTypeError(f"samples of {array.dtype}", expected="floats, nominally in [-1, 1]")
        if array.ndim == 1 and self.batch == 1:
            array = array[None]
        if array.ndim != 2 or len(array) != self.batch:
            raise ParamError(f"samples of shape {array.shape}", expected=f"({self.batch}, samples)")
        check_finite(array, "the samples")
        return np.ascontiguousarray(array, dtype=np.float32)

    def _moment(self, frame: Tensor, going: list[bool]) -> Moment:
        (out,) = self._duplex.push(frame, going)
        samples = out.samples.cpu().numpy()
        texts, entropies = out.own.text.tolist(), out.own.entropy.tolist()
        pieces: list[TextPiece] = []
        events: list[SpeechEvent] = []
        measured: list[Entropy | None] = [None] * self.batch
        for row in (row for row, goes in enumerate(going) if goes):
            begun_s = self._frames[row] * self.frame_s
            self._frames[row] += 1
            heard_s = self._frames[row] * self.frame_s
            events += self._changes("user", row, frame[row].numpy(), begun_s)
            if not out.own.heard[row]:
                continue
            measured[row] = Entropy(heard_s, entropies[row][0], tuple(entropies[row][1:]))
            text = self._texts[row].push(texts[row])
            if text:
                pieces.append(TextPiece(text, heard_s, row))
            word = texts[row] not in self._quiet
            events += self._changes("moshi", row, samples[row], heard_s, word=word)
        if not any(out.own.whole):
            samples = samples[:, :0]
        return Moment(samples, tuple(pieces), tuple(events), tuple(measured))

    def _changes(
        self, who: Speaker, row: int, samples: np.ndarray, begun_s: float, *, word: bool = False
    ) -> list[SpeechEvent]:
        power = float(np.mean(np.square(samples, dtype=np.float64)))
        change = self._speakers[who][row].push(10 * math.log10(power) if power > 0 else -math.inf, word=word)
        if change is None:
            return []
        return [SpeechEvent(who, change, begun_s + (self.frame_s if change == "stop" else 0.0), row)]
