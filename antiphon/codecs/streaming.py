"""EnCodec piece by piece: codes in, samples out as soon as they are final, and the other way round.

Every layer keeps the few inputs that its outputs to come still need, and the recurrent layers their state, so that
nothing is computed twice and the result is that of the whole, however it was cut. What a stream remembers does not grow
with the length of the sound.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.codecs.encodec import EncodecCodec, check_codes
from antiphon.codecs.seanet import SEANetDecoder, SEANetEncoder
from antiphon.errors import ParamError, SessionError
from antiphon.nn.streaming import state_bytes

# Far from the beginning, where the distance between what is in and what is out no longer changes.
_SETTLED_FRAMES = 1 << 16


class _Run:
    """One sound on its way through a network, and whether it may still grow."""

    def __init__(self, net: SEANetEncoder | SEANetDecoder, batch: int) -> None:
        if batch < 1:
            raise ParamError(f"batch={batch}", expected="at least 1 row")
        self.net, self.batch = net, batch
        self.reset()

    def reset(self) -> None:
        with torch.no_grad():
            self.state: list[Any] = self.net.state(self.batch)
        self.open = True

    def check_open(self) -> None:
        if not self.open:
            raise SessionError("the stream has ended", expected="a stream that was not flushed", fix="Call reset()")

    def push(self, x: Tensor, *, last: bool) -> Tensor:
        """Inputs (B, C, N) to final outputs; the ``last`` call brings none."""
        # what fails half way leaves the layers out of step with each other: then only a reset helps
        self.open = False
        with torch.no_grad():
            out = self.net.push(x, self.state, last=last)
        self.open = not last
        return out


def _check_whole(codec: EncodecCodec) -> None:
    if codec.normalise or any(isinstance(layer, nn.GroupNorm) for layer in codec.modules()):
        raise ParamError(
            "a codec that normalises over a whole segment cannot stream piece by piece",
            expected="one that takes clips whole, as those of 24 and 32 kHz do",
            fix="Use EncodecSegmentDecoderStream or EncodecSegmentEncoderStream, which take it segment by segment",
        )


class EncodecDecoderStream:
    """Sound from codes that come piece by piece; all pieces joined are what the codec gives for all codes at once.

    Weights are read when the stream is made and at ``reset``. Rows run together: all have the same position.

    Args:
        codec: one that takes clips whole. batch: B, rows that run side by side.

    Attributes:
        hop_samples: samples of a frame.
        lookahead_frames: how many later frames a frame's sound waits for, once under way: 0 for causal codecs.
        startup_frames: frames until the first sample comes. More than 1 where the layers reflect the beginning.

    Raises:
        ParamError: ``batch`` below 1, or a codec that works segment by segment.

    Source: the layers of Défossez et al., "High Fidelity Neural Audio Compression", 2022, each with its own memory.
    """

    def __init__(self, codec: EncodecCodec, batch: int = 1) -> None:
        _check_whole(codec)
        self._codec = codec
        self._run = _Run(codec.decoder, batch)
        self._codebooks: int | None = None
        self.hop_samples = codec.decoder.hop_samples
        behind = _SETTLED_FRAMES * self.hop_samples - codec.decoder.ready(_SETTLED_FRAMES)
        self.lookahead_frames = -(-behind // self.hop_samples)
        self.startup_frames = bisect_left(range(_SETTLED_FRAMES), 1, key=codec.decoder.ready)

    @property
    def state_bytes(self) -> int:
        """Memory of what the stream remembers, in bytes, its folded weights not counted."""
        return state_bytes(self._run.state)

    def reset(self) -> None:
        """Forgets the sound so far and begins a new one."""
        self._run.reset()
        self._codebooks = None

    def push(self, codes: Tensor) -> Tensor:
        """The samples (B, C, N) that became final, N from 0.

        Args:
            codes: (B, K, T) integers, T from 0; K as in the first piece.

        Raises:
            ParamError: codes outside the tables or of another shape; the stream is as it was.
            SessionError: the stream has ended.
        """
        self._run.check_open()
        return self._decode(codes, last=False)

    def flush(self) -> Tensor:
        """The rest of the samples (B, C, N); the stream has then ended.

        Raises:
            SessionError: the stream had ended before.
        """
        self._run.check_open()
        return self._decode(None, last=True)

    def _decode(self, codes: Tensor | None, *, last: bool) -> Tensor:
        weight = next(self._codec.decoder.parameters())
        frames = torch.zeros(self._run.batch, self._codec.width, 0, dtype=weight.dtype, device=weight.device)
        if codes is not None:
            self._check(codes)
            if codes.shape[-1]:
                frames = self._codec.quantizer.decode(codes.to(weight.device, torch.int64)).to(weight.dtype)
        return self._run.push(frames, last=last)

    def _check(self, codes: Tensor) -> None:
        batch, known = self._run.batch, self._codebooks
        fits = codes.dim() == 3 and len(codes) == batch and codes.shape[1] >= 1
        if not fits or codes.shape[1] != (known or codes.shape[1]):
            expected = f"({batch}, {known or 'codebooks'}, frames)"
            raise ParamError(f"codes of shape {tuple(codes.shape)}", expected=expected)
        check_codes(codes, self._codec.codebook_size, len(self._codec.quantizer.codebooks))
        self._codebooks = codes.shape[1]


class EncodecEncoderStream:
    """Codes from sound that comes piece by piece; all pieces joined are the codes of the whole sound.

    A code may only differ where two codewords are as near as rounding can tell. Weights are read when the stream is
    made and at ``reset``. Rows run together: all have the same position.

    Args:
        codec: one that takes clips whole. codebooks: K, the first so many of them. batch: B, rows side by side.

    Attributes:
        hop_samples: samples of a frame.
        lookahead_samples: how many samples after its own a frame's codes wait for, once under way.
        startup_samples: samples until the first frame's codes come.

    Raises:
        ParamError: ``batch`` or ``codebooks`` out of range, or a codec that works segment by segment.

    Source: as ``EncodecDecoderStream``.
    """

    def __init__(self, codec: EncodecCodec, codebooks: int, batch: int = 1) -> None:
        _check_whole(codec)
        most = len(codec.quantizer.codebooks)
        if not 1 <= codebooks <= most:
            raise ParamError(f"codebooks={codebooks}", expected=f"1 to {most}")
        self._codec = codec
        self._codebooks = codebooks
        self._run = _Run(codec.encoder, batch)
        hop = self.hop_samples = codec.decoder.hop_samples
        settled = range(_SETTLED_FRAMES * hop, 2 * _SETTLED_FRAMES * hop)
        self.lookahead_samples = bisect_left(settled, _SETTLED_FRAMES, key=codec.encoder.ready)
        self.startup_samples = bisect_left(range(settled.start), 1, key=codec.encoder.ready)

    @property
    def state_bytes(self) -> int:
        """Memory of what the stream remembers, in bytes, its folded weights not counted."""
        return state_bytes(self._run.state)

    def reset(self) -> None:
        """Forgets the sound so far and begins a new one."""
        self._run.reset()

    def push(self, samples: Tensor) -> Tensor:
        """The codes (B, K, T) int64 that became final, T from 0.

        Args:
            samples: (B, C, N) float at the codec's rate, N from 0.

        Raises:
            ParamError: samples of another shape or not floating point; the stream is as it was.
            SessionError: the stream has ended.
        """
        self._run.check_open()
        channels = self._codec.channels
        if samples.dim() != 3 or samples.shape[:2] != (self._run.batch, channels) or not samples.is_floating_point():
            raise ParamError(
                f"samples of shape {tuple(samples.shape)} and dtype {samples.dtype}",
                expected=f"({self._run.batch}, {channels}, samples), floating point",
            )
        return self._encode(samples, last=False)

    def flush(self) -> Tensor:
        """The rest of the codes (B, K, T), the last frame filled up as for the whole; the stream has then ended.

        Raises:
            SessionError: the stream had ended before.
        """
        self._run.check_open()
        return self._encode(torch.zeros(self._run.batch, self._codec.channels, 0), last=True)

    def _encode(self, samples: Tensor, *, last: bool) -> Tensor:
        weight = next(self._codec.encoder.parameters())
        samples = samples.to(device=weight.device, dtype=weight.dtype)
        latents = self._run.push(samples, last=last)
        if not latents.shape[-1]:
            return torch.zeros(self._run.batch, self._codebooks, 0, dtype=torch.int64, device=weight.device)
        with torch.no_grad():
            return self._codec.quantizer.encode(latents, self._codebooks)
