"""Mel spectra: magnitudes of a sound in bands that grow wider as hearing does."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from antiphon.errors import ParamError

# From long windows, which tell pitches apart, to short ones, which tell onsets apart; with as many bands as fit.
SCALES = ((2048, 96), (1024, 64), (512, 48), (256, 32), (128, 16))
FLOOR = 1e-3
"""What counts as silence beside a full-scale sine: -60 dB."""


@lru_cache(maxsize=32)
def mel_filterbank(bands: int, n_fft: int, rate_hz: int) -> Tensor:
    """Triangles (bands, n_fft // 2 + 1) of height 1, evenly spaced in mel from 0 Hz to half the rate, as float32.

    A band narrower than the distance of two bins gets the bin at its centre.

    Raises:
        ParamError: no bands, or more than there are bins.

    Source: Stevens, Volkmann and Newman, 1937; the formula of O'Shaughnessy, 1987.
    """
    if not 1 <= bands <= n_fft // 2:
        raise ParamError(f"{bands} bands of {n_fft // 2 + 1} bins", expected=f"1 to {n_fft // 2}")
    top = 2595.0 * torch.log10(torch.tensor(1 + rate_hz / 2 / 700.0, dtype=torch.float64))
    mels = torch.linspace(0, float(top), bands + 2, dtype=torch.float64)
    corners_hz = 700.0 * (10 ** (mels / 2595.0) - 1)  # (bands + 2,)
    bins_hz = torch.linspace(0, rate_hz / 2, n_fft // 2 + 1, dtype=torch.float64)
    low, centre, high = (corners_hz[i : i + bands, None] for i in range(3))
    rising, falling = (bins_hz - low) / (centre - low), (high - bins_hz) / (high - centre)
    filters = torch.minimum(rising, falling).clamp(min=0)
    empty = filters.sum(dim=1) == 0
    nearest = (bins_hz - centre).abs().argmin(dim=1)
    filters[empty] = torch.nn.functional.one_hot(nearest[empty], len(bins_hz)).to(filters)
    return filters.float()


class MultiScaleMel(nn.Module):
    """Mel spectra of one sound at several window lengths.

    Magnitudes are scaled so that a full-scale sine has the height 1 at its bin.

    Args:
        rate_hz: samples a second. scales: window lengths in samples, with the number of bands of each.
        overlap: windows that see a sample.
    """

    def __init__(self, rate_hz: int, scales: tuple[tuple[int, int], ...] = SCALES, *, overlap: int = 4) -> None:
        super().__init__()
        self.scales, self.overlap = scales, overlap
        for n_fft, bands in scales:
            self.register_buffer(f"window_{n_fft}", torch.hann_window(n_fft), persistent=False)
            self.register_buffer(f"filters_{n_fft}", mel_filterbank(bands, n_fft, rate_hz), persistent=False)

    def forward(self, samples: Tensor) -> list[Tensor]:
        """(B, N) float to one (B, bands, frames) a scale, float32. Sounds shorter than a window are given silence."""
        spectra = []
        samples = samples.float()
        for n_fft, _ in self.scales:
            window, filters = self.get_buffer(f"window_{n_fft}"), self.get_buffer(f"filters_{n_fft}")
            missing = max(0, n_fft // 2 + 1 - samples.shape[-1])
            padded = nn.functional.pad(samples, (0, missing)) if missing else samples
            spectrum = torch.stft(padded, n_fft, n_fft // self.overlap, window=window, return_complex=True)
            # not abs(): its gradient at 0 is not a number of any use
            power = spectrum.real.square() + spectrum.imag.square()
            magnitudes = (power + 1e-12).sqrt() * (2 / window.sum())
            spectra.append(filters @ magnitudes)
        return spectra


def mel_distance_db(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """How far two sounds are apart (B,), in dB: the mean difference of their log spectra, each scale counting alike.

    Below ``FLOOR`` all is silence.

    Args:
        one, other: what ``MultiScaleMel`` gives.
    """
    apart = [
        20 * ((a + FLOOR).log10() - (b + FLOOR).log10()).abs().mean(dim=(1, 2)) for a, b in zip(one, other, strict=True)
    ]
    return torch.stack(apart).mean(dim=0)
