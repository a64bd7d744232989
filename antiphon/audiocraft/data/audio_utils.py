"""Changing the rate and the channels of a sound, under audiocraft's name."""

from __future__ import annotations

import torch
from torch import Tensor

from antiphon.audio.resampling import resample
from antiphon.audio.samples import as_samples
from antiphon.errors import ParamTypeError


def convert_audio(wav: Tensor, from_rate: float, to_rate: float, to_channels: int) -> Tensor:
    """The sounds (..., C, N) at another rate and with another number of channels, float32 (..., to_channels, N').

    Args:
        from_rate, to_rate: in Hz, whole numbers.
        to_channels: 1 averages; more repeats a sound of one channel.

    Raises:
        ParamTypeError: ``wav`` is no tensor of two dimensions or more. AudioError, ParamError: sounds, rates or
            channels that cannot be used.

    Source: the resampler is soxr's, whose samples are not exactly those of audiocraft's julius.
    """
    if not isinstance(wav, Tensor) or wav.dim() < 2:
        shape = tuple(wav.shape) if isinstance(wav, Tensor) else None
        what = type(wav).__name__ if shape is None else f"a tensor of shape {shape}"
        raise ParamTypeError(f"wav is {what}", expected="a tensor (..., channels, samples)")
    rows = [
        torch.from_numpy(resample(as_samples(row, channels=to_channels, name="wav"), int(from_rate), int(to_rate)))
        for row in wav.reshape(-1, *wav.shape[-2:])
    ]
    return torch.stack(rows).reshape(*wav.shape[:-2], *rows[0].shape).to(wav.device)
