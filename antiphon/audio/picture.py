"""A picture of a sound: its waveform above, its spectrogram on a logarithmic frequency axis below."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from antiphon.audio.clip import Audio
from antiphon.audio.figure import GRID, INK, LIGHT, TEAL, clean, new_figure, round_ticks, write
from antiphon.audio.samples import to_channels

_COLUMNS = 1200  # about one a pixel
_BANDS = 240
_LOWEST_HZ = 40.0
_RANGE_DB = 80.0
_WINDOW_SECONDS = 0.064


def draw(audio: Audio, path: str | os.PathLike[str], *, title: str | None = None) -> Path:
    """Writes a PNG with the waveform (one panel a channel, at most two) and the spectrogram of the mono mix.

    Args:
        audio: the sound, of any length from one sample on.
        path: the file; replaced, whole, if it exists.
        title: above the picture; the prompt unless told, ``""`` for none.

    Raises:
        MissingExtraError: matplotlib is not installed.
        AudioError: the file cannot be written.
    """
    figure = new_figure(12, 6.4)
    waves = audio.samples if audio.channels <= 2 else to_channels(audio.samples, 1)
    rows = len(waves)
    panels = figure.subplots(rows + 1, 1, sharex=True, height_ratios=[1.6 / rows] * rows + [3.4])
    for row, (axes, wave) in enumerate(zip(panels[:-1], waves, strict=True)):
        _draw_wave(axes, wave, audio, label=("left", "right")[row] if rows == 2 else "amplitude")
    _draw_spectrogram(figure, panels[-1], list(panels), audio)
    return write(figure, path, title=(audio.prompt or "") if title is None else title)


def spectrogram(samples: np.ndarray, rate_hz: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives levels in dB (bands, columns) and the edges of the bands in Hz and of the columns in seconds.

    ``samples`` is float32 (N,), N >= 1. 0 dB is a sine of full scale; silence is -200 dB.
    """
    n_fft = 1 << max(6, round(np.log2(rate_hz * _WINDOW_SECONDS)))
    hop = max(n_fft // 8, -(-samples.shape[0] // _COLUMNS))
    window = torch.hann_window(n_fft)
    # zeros around the sound: reflections would need more samples than a very short sound has
    padded = torch.nn.functional.pad(torch.from_numpy(samples), (n_fft // 2, n_fft // 2))
    spectrum = torch.stft(padded, n_fft, hop, window=window, center=False, return_complex=True)
    levels = (spectrum.abs() * (2.0 / float(window.sum()))).numpy()  # (n_fft / 2 + 1, columns)
    nyquist = rate_hz / 2
    bands_hz = np.geomspace(min(_LOWEST_HZ, nyquist / 8), nyquist, _BANDS + 1)
    picked = _in_bands(levels, bands_hz / (rate_hz / n_fft))
    edges = (np.arange(levels.shape[1] + 1) - 0.5) * hop / rate_hz
    # the first and last column are centred on the ends of the sound; nothing is drawn outside of it
    edges = edges.clip(0, samples.shape[0] / rate_hz)
    edges[-1] = samples.shape[0] / rate_hz
    return 20 * np.log10(np.maximum(picked, 1e-10)), bands_hz, edges


def _in_bands(levels: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The strongest bin of each band, or, where a band is narrower than a bin, the value between the two nearest."""
    out = np.empty((len(edges) - 1, levels.shape[1]), np.float32)
    for band, (low, high) in enumerate(pairwise(edges)):
        first, last = int(np.ceil(low)), min(int(np.floor(high)), levels.shape[0] - 1)
        if first <= last:
            out[band] = levels[first : last + 1].max(axis=0)
            continue
        below = int((low + high) / 2)
        part = (low + high) / 2 - below
        out[band] = levels[below] * (1 - part) + levels[min(below + 1, levels.shape[0] - 1)] * part
    return out


def _draw_wave(axes: Any, wave: np.ndarray, audio: Audio, *, label: str) -> None:
    # one scale for both channels, or their balance would not show
    seconds, peak = audio.seconds, audio.peak
    count = min(_COLUMNS, wave.shape[0])
    starts = np.arange(count) * wave.shape[0] // count
    lengths = np.diff(np.append(starts, wave.shape[0]))
    low, high = np.minimum.reduceat(wave, starts), np.maximum.reduceat(wave, starts)
    if wave.shape[0] < 4 * _COLUMNS:  # columns of one sample have no height of their own
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    rms = np.sqrt(np.add.reduceat(wave.astype(np.float64) ** 2, starts) / lengths)
    times = np.append(starts, wave.shape[0]) / wave.shape[0] * seconds
    axes.stairs(high, times, baseline=low, fill=True, color=LIGHT, linewidth=0)
    axes.stairs(np.minimum(rms, high), times, baseline=np.maximum(-rms, low), fill=True, color=TEAL, linewidth=0)
    # a quiet sound is drawn larger, silence keeps the full scale
    axes.set_ylim(*((-1.05, 1.05) if peak == 0 else (-1.1 * peak, 1.1 * peak)))
    axes.axhline(0, color=TEAL, linewidth=0.6)
    axes.set_xlim(0, seconds)
    axes.set_ylabel(label, color=INK)
    axes.yaxis.set_major_locator(round_ticks(3))
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    clean(axes)


def _draw_spectrogram(figure: Any, axes: Any, panels: list[Any], audio: Audio) -> None:
    levels, bands_hz, edges = spectrogram(to_channels(audio.samples, 1)[0], audio.sampling_rate)
    top = float(np.clip(np.ceil(levels.max() / 10) * 10, -60, 0))
    mesh = axes.pcolormesh(edges, bands_hz, levels, cmap="magma", vmin=top - _RANGE_DB, vmax=top, rasterized=True)
    axes.set_yscale("log")
    ticks = [hertz for hertz in (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000) if hertz <= bands_hz[-1]]
    ticks = [hertz for hertz in ticks if hertz >= bands_hz[0]]
    axes.set_yticks(ticks, [f"{hertz // 1000} k" if hertz >= 1000 else str(hertz) for hertz in ticks])
    axes.minorticks_off()
    axes.set_ylim(bands_hz[0], bands_hz[-1])
    axes.set_ylabel("frequency in Hz", color=INK)
    axes.set_xlabel("time in s", color=INK)
    axes.xaxis.set_major_locator(round_ticks(12))
    clean(axes)
    bar = figure.colorbar(mesh, ax=axes, pad=0.012, aspect=24)
    bar.set_label("level in dBFS", color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK, labelsize=9)
    figure.align_ylabels(panels)
