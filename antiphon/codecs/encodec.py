"""EnCodec: SEANet around a residual quantiser, whole clips or overlapping segments.

Source: Défossez et al., "High Fidelity Neural Audio Compression", 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from antiphon.codecs.seanet import SEANetDecoder, SEANetEncoder, SEANetShape
from antiphon.errors import ParamError
from antiphon.nn.quantizer import ResidualQuantizer


def check_codes(codes: Tensor, size: int, codebooks: int) -> None:
    """Raises ``ParamError`` unless ``codes`` (..., K, T) are integers in ``0 .. size - 1`` of at most ``codebooks``.

    An index outside the table would be an unspecific error on a CPU and would end the process's use of a GPU.
    """
    if codes.is_floating_point() or codes.dtype in (torch.bool, torch.complex64, torch.complex128):
        raise ParamError(f"codes of dtype {codes.dtype}", expected="integers")
    if codes.dim() < 2 or codes.shape[-2] > codebooks:
        raise ParamError(
            f"codes of shape {tuple(codes.shape)}", expected=f"(..., at most {codebooks} codebooks, frames)"
        )
    if codes.numel():
        low, high = int(codes.min()), int(codes.max())
        if not (low >= 0 and high < size):
            raise ParamError(f"codes between {low} and {high}", expected=f"0 to {size - 1}")


def triangle_of(segment: Tensor) -> Tensor:
    """Weights (N,) that rise to the middle of a segment (..., N) and fall again, never 0; at least float32.

    In half precision the first and the last would be 0, and the sound there 0 / 0.
    """
    dtype = torch.promote_types(segment.dtype, torch.float32)
    ramp = torch.linspace(0, 1, segment.shape[-1] + 2, device=segment.device, dtype=dtype)[1:-1]
    return 0.5 - (ramp - 0.5).abs()


def overlap_add(segments: Sequence[Tensor], stride: int) -> Tensor:
    """Joins (..., N) segments that start ``stride`` samples apart, cross-faded by triangles.

    Every sample is the mean of the segments that cover it, weighted by the distance to each segment's nearer end. The
    last segment's end is the end of the sound; what others hold beyond it is left out.
    """
    total = stride * (len(segments) - 1) + segments[-1].shape[-1]
    triangle = triangle_of(segments[0])
    weights = triangle.new_zeros(total)
    out = triangle.new_zeros(*segments[0].shape[:-1], total)
    for number, segment in enumerate(segments):
        size = min(segment.shape[-1], total - number * stride)
        place = slice(number * stride, number * stride + size)
        out[..., place] += triangle[:size] * segment[..., :size]
        weights[place] += triangle[:size]
    joined: Tensor = out / weights
    return joined.to(segments[0].dtype)


class EncodecCodec(nn.Module):
    """The codec of all published kinds.

    Args:
        shape: the SEANet's sizes. codebooks: K at the highest bandwidth. codebook_size: V.
        normalise: divide each segment by its volume before encoding and keep the volume beside the codes.
    """

    def __init__(self, shape: SEANetShape, *, codebooks: int, codebook_size: int, normalise: bool) -> None:
        super().__init__()
        self.encoder = SEANetEncoder(shape)
        self.decoder = SEANetDecoder(shape)
        self.quantizer = ResidualQuantizer(codebooks, codebook_size, shape.width)
        self.channels, self.width = shape.channels, shape.width
        self.codebook_size = codebook_size
        self.normalise = normalise

    def encode_segment(self, x: Tensor, codebooks: int) -> tuple[Tensor, Tensor | None]:
        """(B, C, N) float to codes (B, K, T) int64 and volumes (B, 1), ``None`` without normalisation."""
        scale = None
        if self.normalise:
            mono = x.mean(dim=1, keepdim=True)
            scale = mono.pow(2).mean(dim=-1, keepdim=True).sqrt() + 1e-8
            x = x / scale
            scale = scale.view(-1, 1)
        return self.quantizer.encode(self.encoder(x), codebooks), scale

    def decode_segment(self, codes: Tensor, scale: Tensor | None) -> Tensor:
        """(B, K, T) int64 to (B, C, N) float, times the volumes (B, 1)."""
        check_codes(codes, self.codebook_size, len(self.quantizer.codebooks))
        frames = self.quantizer.decode(codes)
        samples: Tensor = self.decoder(frames.to(next(self.decoder.parameters()).dtype))
        return samples if scale is None else samples * scale.view(-1, 1, 1)

    def encode(
        self, x: Tensor, mask: Tensor | None, *, codebooks: int, segment: int | None, stride: int | None
    ) -> tuple[Tensor, list[Tensor | None], int]:
        """Codes of a clip, whole or in segments.

        Args:
            x: (B, C, N). mask: broadcastable to it, 0 where samples are padding and must be silent.
            segment, stride: samples of a segment and between the starts of two; ``None``: the whole clip.

        Returns:
            (F, B, K, T) int64 for F segments, F volumes (B, 1) or ``None``, and the frames by which the last segment
            was shorter than the first and has been padded with code 0.
        """
        length = x.shape[-1]
        size, step = (length, length) if segment is None else (segment, stride or segment)
        frames: list[Tensor] = []
        scales: list[Tensor | None] = []
        for start in range(0, length, step):
            piece = x[..., start : start + size]
            if mask is not None:
                piece = piece * mask[..., start : start + size].to(torch.bool)
            codes, scale = self.encode_segment(piece, codebooks)
            frames.append(codes)
            scales.append(scale)
        longest, missing = frames[0].shape[-1], frames[0].shape[-1] - frames[-1].shape[-1]
        # where segments overlap, the end of the clip can cut more of them short than the last
        filled = [nn.functional.pad(frame, (0, longest - frame.shape[-1])) for frame in frames]
        return torch.stack(filled), scales, missing

    def decode(
        self,
        codes: Tensor,
        scales: Sequence[Tensor | None],
        *,
        segment: int | None,
        stride: int | None,
        missing: int = 0,
    ) -> Tensor:
        """The sound (B, C, N) of codes (F, B, K, T); ``missing`` frames of the last segment are dropped.

        Raises:
            ParamError: several segments for a codec that takes clips whole, or codes outside the tables.
        """
        if segment is None and len(codes) != 1:
            raise ParamError(f"{len(codes)} frames of codes", expected="one, because this codec takes clips whole")
        pieces = []
        for number, (frame, scale) in enumerate(zip(codes, scales, strict=False)):
            if missing > 0 and number == len(codes) - 1:
                frame = frame[..., :-missing]
            pieces.append(self.decode_segment(frame, scale))
        return pieces[0] if segment is None else overlap_add(pieces, stride or 1)
