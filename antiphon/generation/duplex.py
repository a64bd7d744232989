"""The duplex session: a frame of everybody's sound in, a frame of the model's sound and text out, without an end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import torch
from torch import Tensor

from antiphon.errors import ParamError, SessionError
from antiphon.generation.dialogue import Dialogue, OwnFrame, SpeechModel, Streams
from antiphon.generation.duplex_settings import DuplexSettings, Opening

FirstFrame = Literal["forgotten", "kept", "heard"]


class SpeechCodec(Protocol):
    """Sound to codes and back, frame by frame, with what is remembered held outside; rows go on alone."""

    frame_samples: int

    def encoder_state(self, batch: int, codebooks: int | None = None) -> Any:
        """What ``encode_frames`` remembers; its ``reset(rows)`` lets rows with these numbers begin anew."""
        ...

    def decoder_state(self, batch: int, codebooks: int | None = None) -> Any:
        """What ``decode_frames`` remembers; its ``reset(rows)`` lets rows with these numbers begin anew."""
        ...

    def encode_frames(self, x: Tensor, state: Any, live: Tensor | None = None) -> Tensor:
        """(B, 1, N) to (B, K, n) int64."""
        ...

    def decode_frames(self, codes: Tensor, state: Any, live: Tensor | None = None) -> Tensor:
        """(B, K, n) int64 to (B, 1, N)."""
        ...


@dataclass(frozen=True, eq=False)
class DuplexFrame:
    """What comes out for one frame that went in.

    Attributes:
        samples: (B, S) float32, silent in rows of which nothing is heard. own: text, codes and entropies of the same
            time, and whose they are.
    """

    samples: Tensor
    own: OwnFrame


class Duplex:
    """B sessions on one set of weights. Memory and time of a step do not grow once the model's window is full.

    The first column of a row is the model's initial tokens, whatever is said. What happens to the user's first frame is
    a choice:

    - ``"forgotten"``, as kyutai's server has it: neither the model nor the codec hears it; the codec begins with the
      second one;
    - ``"kept"``: the model does not hear it, the codec goes on from it;
    - ``"heard"``, as kyutai's script for files has it: the model makes a step before it, so that all is heard.

    Args:
        lm, streams, rows, settings, seed, opening, device: as for ``Dialogue``. codec: its ears and its voice.
        first_frame: what happens to the first frame.
        still_shapes: as for ``Dialogue``. With ``"heard"`` and several rows it is always so, because rows that begin
            anew take a step by themselves, which would change the others in their last bits.

    Attributes:
        dialogue: the tokens' side. frame_samples: S.

    Raises:
        ParamError: as ``Dialogue``, or another ``first_frame``.
    """

    def __init__(
        self,
        lm: SpeechModel,
        codec: SpeechCodec,
        streams: Streams,
        *,
        rows: int = 1,
        settings: DuplexSettings | None = None,
        seed: int | Sequence[int] | None = None,
        opening: Opening | Sequence[Opening | None] | None = None,
        first_frame: FirstFrame = "forgotten",
        still_shapes: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        if first_frame not in get_args(FirstFrame):
            raise ParamError(f"first_frame={first_frame!r}", expected=f"one of {get_args(FirstFrame)}")
        if first_frame == "heard" and streams.own.max_delay < 1:
            raise ParamError("first_frame='heard' for streams without delays", expected="another choice")
        self.dialogue = Dialogue(
            lm,
            streams,
            rows=rows,
            settings=settings,
            seed=seed,
            opening=opening,
            still_shapes=still_shapes or (first_frame == "heard" and rows > 1),
            device=device,
        )
        self.frame_samples = codec.frame_samples
        self._codec, self._books, self._first_frame = codec, streams.codebooks, first_frame
        self._device = torch.device(device)
        self._ears = codec.encoder_state(rows, self._books)
        self._voice = codec.decoder_state(rows, self._books)
        self._broken = False

    @property
    def rows(self) -> int:
        """B."""
        return self.dialogue.rows

    def reset(
        self,
        rows: Sequence[int] | None = None,
        *,
        seed: int | Sequence[int] | None = None,
        opening: Opening | None = None,
        keep_opening: bool = True,
    ) -> None:
        """Lets rows begin anew and leaves the others as they are, bit by bit; arguments as ``Dialogue.reset``.

        Raises:
            ParamError: as ``Dialogue.reset``. SessionError: a step failed, and only some rows are to begin anew.
        """
        if self._broken and rows is not None:
            raise SessionError("a step of this session failed", fix="Reset all of its rows")
        self.dialogue.reset(rows, seed=seed, opening=opening, keep_opening=keep_opening)
        every = rows is None or len(list(rows)) == self.rows
        if self._broken:  # a codec's state is of no use after an error
            self._ears = self._codec.encoder_state(self.rows, self._books)
            self._voice = self._codec.decoder_state(self.rows, self._books)
            self._broken = False
            return
        for state in (self._ears, self._voice):
            state.reset(None if every else rows)

    def push(self, samples: Tensor, live: Sequence[bool] | None = None) -> list[DuplexFrame]:
        """What comes out for n frames, n from 0; they are computed one after the other, so that no cut changes a bit.

        Args:
            samples: (B, ``frame_samples * n``) float. live: rows that go on, by default all; the others stand still.

        Raises:
            ParamError: samples or ``live`` of another shape; nothing is changed then. NumericError: numbers that are
                not finite. SessionError: a step failed before; then all rows have to be reset.
        """
        if self._broken:
            raise SessionError("a step of this session failed", fix="Reset it, or begin a new one")
        going = [True] * self.rows if live is None else [bool(goes) for goes in live]
        size = self.frame_samples
        if samples.dim() != 2 or len(samples) != self.rows or samples.shape[1] % size or len(going) != self.rows:
            raise ParamError(
                f"samples of shape {tuple(samples.shape)} and live of {len(going)} rows",
                expected=f"({self.rows}, a multiple of {size}) and {self.rows} rows",
            )
        self._broken = True  # until every state has gone the whole way
        frames = [self._step(frame, going) for frame in samples.split(size, dim=1)] if samples.shape[1] else []
        self._broken = False
        return frames

    def _step(self, frame: Tensor, going: list[bool]) -> DuplexFrame:
        fresh = [goes and step == 0 for goes, step in zip(going, self.dialogue.steps, strict=True)]
        if self._first_frame == "forgotten":
            codes = self._encoded(frame, [goes and not new for goes, new in zip(going, fresh, strict=True)])
        else:
            codes = self._encoded(frame, going)
            if self._first_frame == "heard" and any(fresh):
                self.dialogue.step(codes, fresh)
        own = self.dialogue.step(codes, going)
        return DuplexFrame(self._decoded(own), own)

    def _encoded(self, frame: Tensor, going: list[bool]) -> Tensor:
        if not any(going):
            return torch.zeros(self.rows, self._books, dtype=torch.int64)
        return self._codec.encode_frames(frame[:, None], self._ears, self._mask(going))[..., 0]

    def _decoded(self, own: OwnFrame) -> Tensor:
        if not any(own.whole):
            return torch.zeros(self.rows, self.frame_samples, device=self._device)
        samples = self._codec.decode_frames(own.codes[..., None], self._voice, self._mask(own.whole))[:, 0].float()
        if own.heard == own.whole:
            return samples
        return samples * torch.tensor(own.heard, device=self._device)[:, None]

    def _mask(self, going: list[bool]) -> Tensor | None:
        """One row that goes on needs none; several always have one, so that no row's bits depend on the others."""
        return None if going == [True] else torch.tensor(going, device=self._device)
