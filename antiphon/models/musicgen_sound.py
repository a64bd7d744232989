"""Between sound and codes for MusicGen's decoders: one channel, or two whose codebooks lie in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from antiphon.errors import ParamError


def encode_whole(codec: Any, values: Tensor, padding: Tensor | None, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """The codes (B, K, T) of a sound (B, C, N) in one piece, and its volume, where the codec keeps it.

    Raises:
        ParamError: the codec cuts the sound into segments.
    """
    out = codec.encode(values, padding_mask=padding, return_dict=True, **kwargs)
    if out.audio_codes.shape[0] != 1:
        raise ParamError(
            f"Expected 1 frame in the audio code outputs, got {out.audio_codes.shape[0]} frames",
            fix="Ensure chunking is disabled by setting chunk_length_s=None in the audio encoder",
        )
    return out.audio_codes[0], out.audio_scales[0]


def encode(model: Any, values: Tensor, padding: Tensor | None) -> tuple[Tensor, Any]:
    """The codes (B, K, T) of a sound (B, C, N), a stereo model's channels in turn; and its volumes, where kept.

    Raises:
        ParamError: the channels are not the model's, or the codec cuts the sound into segments.
    """
    codec = model.audio_encoder
    values = values.to(device=codec.device, dtype=codec.dtype)
    padding = None if padding is None else padding.to(codec.device)
    channels = model.decoder.config.audio_channels
    if channels == 2 and values.shape[1] != 2:
        raise ParamError(
            f"Expected stereo audio (2-channels) but example has {values.shape[1]} channel",
            fix="Pass the same sound on both channels, or resample=True to the processor, which converts",
        )
    sounds = values.split(1, dim=1) if channels == 2 else [values]
    encoded = [encode_whole(codec, sound, padding) for sound in sounds]
    codes = torch.stack([c for c, _ in encoded], dim=2).flatten(1, 2)  # (B, K, 2, T) -> (B, 2 K, T), left first
    kept = [scale for _, scale in encoded if scale is not None]
    return codes, torch.stack(kept, dim=1) if kept else None  # (B, channels, 1)


def decode(model: Any, codes: Tensor, scales: Tensor | None = None) -> Tensor:
    """The sound (B, C, N) of codes (B, K, T); a stereo model's channels are decoded apart."""
    codec = model.audio_encoder
    codes = codes.to(codec.device)
    channels = model.decoder.config.audio_channels
    if not codes.shape[-1]:  # stopped before the first frame was whole
        return torch.zeros((len(codes), channels, 0), device=codec.device, dtype=codec.dtype)
    sounds = []
    for channel in range(channels):
        volume = None if scales is None else scales[:, channel]
        # the codec counts volumes by segment; the reference passes one empty place an item
        volumes = [None] * len(codes) if volume is None else [volume]
        sounds.append(
            codec.decode(codes[None, :, channel::channels], audio_scales=volumes, return_dict=True).audio_values
        )
    return torch.cat(sounds, dim=1) if channels == 2 else sounds[0]


def decode_apart(
    model: Any,
    codes: Tensor,
    counts: Sequence[int],
    *,
    offsets: Sequence[int] | None = None,
    silence: Sequence[int] | None = None,
    scales: Tensor | None = None,
) -> tuple[Tensor, list[int]]:
    """Every row decoded by itself, so that no padding frame reaches its edges; rows are joined with silence.

    Args:
        counts: frames at which each row ends. offsets: frames before its own first one.
        silence: samples of silence before each row's sound. scales: volumes, where the codec keeps them.

    Returns:
        (B, C, N), and the samples of sound in each row.
    """
    offsets = offsets or [0] * len(codes)
    silence = silence or [0] * len(codes)
    rows = []
    for number, count in enumerate(counts):
        own = codes[number : number + 1, :, offsets[number] : max(count, offsets[number])]
        volume = None if scales is None else scales[number : number + 1]
        rows.append(decode(model, own, volume)[0])
    total = max(row.shape[-1] + silent for row, silent in zip(rows, silence, strict=True))
    audio = rows[0].new_zeros(len(rows), rows[0].shape[0], total)
    for number, (row, silent) in enumerate(zip(rows, silence, strict=True)):
        audio[number, :, silent : silent + row.shape[-1]] = row
    return audio, [row.shape[-1] for row in rows]
