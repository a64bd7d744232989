"""Mimi: sound to codes and back, clips as a whole or frame by frame.

Offline the last frame is filled up layer by layer, as the documents' implementation does. Frame by frame only whole
frames are taken (``FrameBuffer`` regroups what comes, and fills the last one up with silence). For a clip of whole
frames both ways agree.

Source: Défossez et al., "Moshi: a speech-text foundation model for real-time dialogue", 2024, section 3.3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from antiphon.codecs.encodec import check_codes
from antiphon.codecs.mimi_layers import MimiDecoder, MimiEncoder, MimiShape
from antiphon.codecs.mimi_streaming import MimiDecoderState, MimiEncoderState, check_live
from antiphon.errors import ParamError
from antiphon.nn.kv_cache import KVCache
from antiphon.nn.quantizer import SplitResidualQuantizer
from antiphon.nn.transformer import Record


class MimiCodec(nn.Module):
    """The codec.

    A session of rows that come frame by frame has a state for each direction. Weights are laid out for single frames
    when a state is made, so a state that was made before the weights changed is of no further use.

    Args:
        shape: its sizes.

    Attributes:
        frame_samples: samples of a frame of codes. codebook_size: V. channels: of the sound.
    """

    def __init__(self, shape: MimiShape) -> None:
        super().__init__()
        width = shape.transformer.width
        self.encoder = MimiEncoder(shape)
        self.decoder = MimiDecoder(shape)
        self.quantizer = SplitResidualQuantizer(
            shape.semantic,
            shape.codebooks - shape.semantic,
            shape.codebook_size,
            shape.codebook_width,
            around=width if width != shape.codebook_width else None,
            means=True,
        )
        self.shape = shape
        self.frame_samples = shape.frame_samples
        self.codebook_size = shape.codebook_size
        self.channels = shape.convolutions.channels

    def encode(
        self, x: Tensor, codebooks: int, *, cache: KVCache | None = None, record: Record | None = None
    ) -> Tensor:
        """(B, C, N) float to codes (B, K, T) int64; the last frame is filled up layer by layer."""
        return self.quantizer.encode(self.encoder(x, cache=cache, record=record), codebooks)

    def decode(self, codes: Tensor, *, cache: KVCache | None = None, record: Record | None = None) -> Tensor:
        """(B, K, T) int64 to (B, C, ``T * frame_samples``) float.

        Raises:
            ParamError: codes outside the tables.
        """
        check_codes(codes, self.codebook_size, len(self.quantizer))
        latents = self.quantizer.decode(codes)
        out: Tensor = self.decoder(latents, cache=cache, record=record)
        return out

    def _codebooks(self, wanted: int | None) -> int:
        least, most = self.shape.semantic, self.shape.codebooks
        if wanted is not None and not least <= wanted <= most:
            raise ParamError(f"codebooks={wanted}", expected=f"{least} to {most}")
        return most if wanted is None else wanted

    def encoder_state(self, batch: int, codebooks: int | None = None) -> MimiEncoderState:
        """What ``encode_frames`` remembers before the first frame of ``batch`` rows.

        Args:
            batch: B. codebooks: K of the codes to come, by default all.

        Raises:
            ParamError: no rows, or another number of codebooks. ConfigError: a codec that cannot run frame by frame.
        """
        return MimiEncoderState.of(self.encoder, self.quantizer, batch, self._codebooks(codebooks))

    def decoder_state(self, batch: int, codebooks: int | None = None) -> MimiDecoderState:
        """What ``decode_frames`` remembers before the first frame of ``batch`` rows.

        Args:
            batch: B. codebooks: the most that come, by default all.

        Raises:
            ParamError: no rows, or another number of codebooks. ConfigError: a codec that cannot run frame by frame.
        """
        return MimiDecoderState.of(self.decoder, self.quantizer, batch, self._codebooks(codebooks))

    def encode_frames(self, x: Tensor, state: MimiEncoderState, live: Tensor | None = None) -> Tensor:
        """The codes (B, K, n) int64 of the next n frames.

        Args:
            x: (B, C, ``frame_samples * n``) float, n from 0. state: changed in place; after an error it is of no use.
            live: (B,) bool, the rows that go on, by default all; the others stand still and get code 0.

        Raises:
            ParamError: samples of another shape, parts of frames among them, or ``live`` of another shape.
        """
        batch, size = state.batch, self.frame_samples
        if x.dim() != 3 or x.shape[:2] != (batch, self.channels) or x.shape[-1] % size or not x.is_floating_point():
            raise ParamError(
                f"samples of shape {tuple(x.shape)} and dtype {x.dtype}",
                expected=f"({batch}, {self.channels}, a multiple of {size}), floating point",
                fix="Regroup them with a FrameBuffer",
            )
        check_live(live, batch)
        with torch.no_grad():
            codes = [state.step(self.encoder, self.quantizer, frame, live) for frame in x.split(size, dim=-1)]
            return codes[0] if len(codes) == 1 else torch.cat(codes, dim=-1)

    def decode_frames(self, codes: Tensor, state: MimiDecoderState, live: Tensor | None = None) -> Tensor:
        """The samples (B, C, ``frame_samples * n``) of the next n frames.

        Codes are not compared with the tables' size, for which a device would have to be waited for.

        Args:
            codes: (B, K, n) int64, n from 0. state: changed in place; after an error it is of no use.
            live: (B,) bool, the rows that go on, by default all; the others stand still and are silent.

        Raises:
            ParamError: codes of another shape or dtype, or ``live`` of another shape.
        """
        batch, least, most = state.batch, self.shape.semantic, state.codebooks
        fits = codes.dim() == 3 and len(codes) == batch and least <= codes.shape[1] <= most
        if not fits or codes.dtype is not torch.int64:
            raise ParamError(
                f"codes of shape {tuple(codes.shape)} and dtype {codes.dtype}",
                expected=f"({batch}, {least} to {most}, frames) of int64",
            )
        check_live(live, batch)
        with torch.no_grad():
            sound = [state.step(self.decoder, self.quantizer, frame, live) for frame in codes.split(1, dim=-1)]
            return sound[0] if len(sound) == 1 else torch.cat(sound, dim=-1)
