"""EnCodec segment by segment: for codecs, as that of 48 kHz, which normalise over each segment as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from antiphon.codecs.encodec import EncodecCodec, triangle_of
from antiphon.errors import ParamError, SessionError


@dataclass(frozen=True)
class Segments:
    """How a codec cuts its sound.

    Attributes:
        size, stride: samples of a segment and between the starts of two. hop: samples of a frame.

    Raises:
        ParamError: sizes that leave gaps, or no sizes.
    """

    size: int
    stride: int
    hop: int

    def __post_init__(self) -> None:
        if not 1 <= self.stride <= self.size:
            raise ParamError(
                f"segment={self.size} with stride={self.stride}", expected="at least 1 sample, and a stride up to it"
            )

    @property
    def frames(self) -> int:
        """Frames of a whole segment."""
        return -(-self.size // self.hop)


def _checked_batch(batch: int) -> int:
    if batch < 1:
        raise ParamError(f"batch={batch}", expected="at least 1 row")
    return batch


def _check_open(ended: bool) -> None:
    if ended:
        raise SessionError("the stream has ended", expected="a stream that was not flushed", fix="Call reset()")


class EncodecSegmentDecoderStream:
    """Sound from whole segments of codes; all pieces joined are what the codec gives for all segments at once.

    Args:
        codec: the codec. segment, stride: samples of a segment and between the starts of two. batch: B.

    Attributes:
        segment_frames: T of a whole segment.

    Raises:
        ParamError: sizes out of range.
    """

    def __init__(self, codec: EncodecCodec, *, segment: int, stride: int, batch: int = 1) -> None:
        self._codec, self._batch = codec, _checked_batch(batch)
        self._cut = Segments(segment, stride, codec.decoder.hop_samples)
        self.segment_frames = self._cut.frames
        self.reset()

    def reset(self) -> None:
        """Forgets the sound so far and begins a new one."""
        weight = next(self._codec.decoder.parameters())
        self._dtype = weight.dtype
        # sums from the next segment's start on: of the weighted segments, and of the weights
        precise = torch.promote_types(weight.dtype, torch.float32)
        self._sound = torch.zeros(self._batch, self._codec.channels, 0, dtype=precise, device=weight.device)
        self._weights = self._sound.new_zeros(0)
        self._begun = self._ended = False

    def push(self, codes: Tensor, scales: Sequence[Tensor | None]) -> Tensor:
        """The samples (B, C, F * stride) that became final with F whole segments.

        Args:
            codes: (F, B, K, ``segment_frames``) integers, F from 0. scales: F volumes (B, 1), or ``None`` each.

        Raises:
            ParamError: parts of segments, or codes outside the tables; the stream is as it was.
            SessionError: the stream has ended.
        """
        _check_open(self._ended)
        self._check(codes, scales)
        if len(codes) and codes.shape[-1] != self.segment_frames:
            raise ParamError(
                f"a segment of {codes.shape[-1]} frames",
                expected=f"whole segments of {self.segment_frames}, over which this codec normalises",
                fix="Gather a whole segment first; what is left at the end goes to flush(codes, scales, missing)",
            )
        decoded = [self._decoded(segment, scale) for segment, scale in zip(codes, scales, strict=True)]
        out = [self._moved_on(samples) for samples in decoded]
        return torch.cat(out, dim=-1) if out else self._sound[..., :0].to(self._dtype, copy=True)

    def flush(self, codes: Tensor | None = None, scales: Sequence[Tensor | None] = (), *, missing: int = 0) -> Tensor:
        """The rest of the samples; the stream has then ended.

        Args:
            codes: (F, B, K, T), the last segments, as a codec's or a stream's encoding leaves them. Without them, the
                segment pushed last is the last one. missing: frames to leave out at the end of the last.

        Raises:
            ParamError: parts of segments after whole ones, or codes outside the tables; the stream is as it was.
            SessionError: the stream had ended before.
        """
        _check_open(self._ended)
        out = []
        if codes is not None and len(codes):
            self._check(codes, scales)
            if not (0 <= missing < codes.shape[-1] <= self.segment_frames):
                raise ParamError(
                    f"a segment of {codes.shape[-1]} frames of which {missing} are missing",
                    expected=f"at most {self.segment_frames} frames, and at least 1 that is there",
                )
            if not self._begun:  # also the one case in which several segments may be shorter than whole ones
                with torch.no_grad():
                    whole = self._codec.decode(
                        codes, scales, segment=self._cut.size, stride=self._cut.stride, missing=missing
                    )
                self._ended = True
                return whole
            last = self._decoded(codes[-1][..., : codes.shape[-1] - missing], scales[-1])
            out = [self.push(codes[:-1], scales[:-1])]
            self._add(last)
            self._sound = self._sound[..., : last.shape[-1]]  # the last segment's end is the end of the sound
        self._ended = True
        rest = self._sound / self._weights[: self._sound.shape[-1]]
        return torch.cat([*out, rest.to(self._dtype)], dim=-1)

    def _check(self, codes: Tensor, scales: Sequence[Tensor | None]) -> None:
        if codes.dim() != 4 or codes.shape[1] != self._batch or len(codes) != len(scales):
            raise ParamError(
                f"codes of shape {tuple(codes.shape)} with {len(scales)} volumes",
                expected=f"(segments, {self._batch}, codebooks, frames), and a volume or None for each segment",
            )

    def _decoded(self, codes: Tensor, scale: Tensor | None) -> Tensor:
        with torch.no_grad():
            return self._codec.decode_segment(codes, scale)

    def _add(self, samples: Tensor) -> None:
        triangle = triangle_of(self._sound.new_empty(self.segment_frames * self._cut.hop))
        more = max(0, samples.shape[-1] - self._sound.shape[-1])
        self._sound = nn.functional.pad(self._sound, (0, more))
        self._weights = nn.functional.pad(self._weights, (0, more))
        weights = triangle[: samples.shape[-1]]
        self._sound[..., : samples.shape[-1]] += weights * samples
        self._weights[: samples.shape[-1]] += weights
        self._begun = True

    def _moved_on(self, samples: Tensor) -> Tensor:
        """Adds a whole segment and gives what lies before the next one's start."""
        self._add(samples)
        stride = self._cut.stride
        final = self._sound[..., :stride] / self._weights[:stride]
        self._sound, self._weights = self._sound[..., stride:].clone(), self._weights[stride:].clone()
        return final.to(self._dtype)


class EncodecSegmentEncoderStream:
    """Segments of codes from sound that comes piece by piece; joined they are the codec's for the whole sound.

    Args:
        codec: the codec. codebooks: K. segment, stride: samples of a segment and between the starts of two. batch: B.

    Attributes:
        segment_frames: T of a whole segment.

    Raises:
        ParamError: sizes out of range.
    """

    def __init__(self, codec: EncodecCodec, codebooks: int, *, segment: int, stride: int, batch: int = 1) -> None:
        if not 1 <= codebooks <= len(codec.quantizer.codebooks):
            raise ParamError(f"codebooks={codebooks}", expected=f"1 to {len(codec.quantizer.codebooks)}")
        self._codec, self._codebooks, self._batch = codec, codebooks, _checked_batch(batch)
        self._cut = Segments(segment, stride, codec.decoder.hop_samples)
        self.segment_frames = self._cut.frames
        self.reset()

    def reset(self) -> None:
        """Forgets the sound so far and begins a new one."""
        weight = next(self._codec.encoder.parameters())
        # the sound from the next segment's start on
        self._held = torch.zeros(self._batch, self._codec.channels, 0, dtype=weight.dtype, device=weight.device)
        self._begun = self._ended = False

    def push(self, samples: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        """The codes (F, B, K, T) int64 of the F segments that became whole, F from 0, and their volumes.

        Args:
            samples: (B, C, N) float, N from 0.

        Raises:
            ParamError: samples of another shape or not floating point; the stream is as it was.
            SessionError: the stream has ended.
        """
        _check_open(self._ended)
        if samples.dim() != 3 or samples.shape[:2] != self._held.shape[:2] or not samples.is_floating_point():
            raise ParamError(
                f"samples of shape {tuple(samples.shape)} and dtype {samples.dtype}",
                expected=f"({self._batch}, {self._codec.channels}, samples), floating point",
            )
        held = torch.cat([self._held, samples.to(self._held)], dim=-1)
        pieces = []
        while held.shape[-1] >= self._cut.size:
            pieces.append(held[..., : self._cut.size])
            held = held[..., self._cut.stride :]
        encoded = self._encoded(pieces)
        self._held = held.clone()
        self._begun = self._begun or bool(pieces)
        return encoded

    def flush(self) -> tuple[Tensor, list[Tensor | None], int]:
        """The codes (F, B, K, T) of what is left, their volumes, and the frames by which the last was filled up.

        Raises:
            SessionError: the stream had ended before.
        """
        _check_open(self._ended)
        starts = range(0, self._held.shape[-1], self._cut.stride)
        pieces = [self._held[..., start:] for start in starts]
        longest = self.segment_frames if self._begun or not pieces else -(-pieces[0].shape[-1] // self._cut.hop)
        codes, scales = self._encoded(pieces, longest)
        self._ended = True
        return codes, scales, longest - -(-pieces[-1].shape[-1] // self._cut.hop) if pieces else 0

    def _encoded(self, pieces: Sequence[Tensor], frames: int | None = None) -> tuple[Tensor, list[Tensor | None]]:
        frames = frames or self.segment_frames
        codes, scales = [], []
        for piece in pieces:
            with torch.no_grad():
                code, scale = self._codec.encode_segment(piece, self._codebooks)
            codes.append(nn.functional.pad(code, (0, frames - code.shape[-1])))
            scales.append(scale)
        empty = torch.zeros(0, self._batch, self._codebooks, frames, dtype=torch.int64, device=self._held.device)
        return torch.stack(codes) if codes else empty, scales
