"""How loud a sound is, and making it as loud as it should be: peak, RMS and LUFS, without clipping."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from antiphon.audio.limiter import Limiter
from antiphon.audio.resampling import check_rate
from antiphon.audio.samples import as_samples
from antiphon.errors import ParamError, unknown_argument

logger = logging.getLogger(__name__)

Strategy = Literal["peak", "clip", "rms", "loudness", "none"]

_HOPS_PER_SECOND = 10
_HOPS_PER_BLOCK = 4  # 400 ms, 75 % of them shared with the next block
_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_OFFSET_DB = -0.691
# Left, right, centre, (low frequencies,) left and right surround; any other number of channels counts 1 each.
_WEIGHTS = {5: (1.0, 1.0, 1.0, 1.41, 1.41), 6: (1.0, 1.0, 1.0, 0.0, 1.41, 1.41)}
_SEGMENT_SECONDS = 8
_TAIL_SECONDS = 0.25  # the weighting rings for some milliseconds; after this nothing is left
_SILENT_PEAK = 1e-5  # a third of the last bit of 16
_QUIET_RMS = 2e-3  # as the reference: what is quieter is not raised to a loudness
_BLOCK_SAMPLES = 1 << 18


def loudness_lufs(samples: np.ndarray, rate_hz: int) -> float:
    """Gives the integrated loudness of a sound in LUFS; ``-inf`` for silence, NaN for less than 0.4 s.

    Args:
        samples: as ``as_samples`` takes them, (C, N) or (N,). Of 5 and 6 channels the last two are the surround, of 6
            the fourth is the low frequencies.
        rate_hz: 1000 to 384000. Every rate is weighted as the standard weights 48 kHz.

    Raises:
        AudioError, ParamError, ParamTypeError: samples or a rate that cannot be used.

    Source: ITU-R BS.1770-4, annex 1.
    """
    rate_hz, samples = check_rate(rate_hz, "rate_hz"), as_samples(samples, name="samples")
    hops = samples.shape[1] * _HOPS_PER_SECOND // rate_hz
    if hops < _HOPS_PER_BLOCK:
        return math.nan
    weights = np.array(_WEIGHTS.get(samples.shape[0], (1.0,) * samples.shape[0]))
    energies = weights @ _weighted_energies(samples, rate_hz, hops)
    blocks = np.convolve(energies, np.ones(_HOPS_PER_BLOCK), "valid") / (rate_hz * _HOPS_PER_BLOCK / _HOPS_PER_SECOND)
    loud = blocks[blocks > 10 ** ((_ABSOLUTE_GATE_LUFS - _OFFSET_DB) / 10)]
    if loud.size == 0:
        return -math.inf
    kept = loud[loud > loud.mean() * 10 ** (_RELATIVE_GATE_LU / 10)]
    return _OFFSET_DB + 10 * math.log10(float(kept.mean()))


def _weighted_energies(samples: np.ndarray, rate_hz: int, hops: int) -> np.ndarray:
    """Gives the sums of squares (C, hops) of each 100 ms of the weighted sound, in memory for a few seconds."""
    energies = np.empty((samples.shape[0], hops))
    tail = int(_TAIL_SECONDS * rate_hz)
    edges = np.arange(hops + 1) * rate_hz // _HOPS_PER_SECOND
    per_segment = _SEGMENT_SECONDS * _HOPS_PER_SECOND
    size = int(np.diff(edges[::per_segment], append=edges[-1]).max()) + tail
    response = _weighting(rate_hz, size)
    carried = np.zeros((samples.shape[0], tail))
    for first in range(0, hops, per_segment):
        cuts = edges[first : first + per_segment + 1]
        length = int(cuts[-1] - cuts[0])
        spectrum = np.fft.rfft(samples[:, cuts[0] : cuts[-1]].astype(np.float64), size)
        weighted = np.fft.irfft(spectrum * response, size)[:, : length + tail]
        weighted[:, :tail] += carried
        carried = weighted[:, length:]
        energies[:, first : first + len(cuts) - 1] = np.add.reduceat(
            weighted[:, :length] ** 2, cuts[:-1] - cuts[0], axis=1
        )
    return energies


def _weighting(rate_hz: int, size: int) -> np.ndarray:
    """The complex response of the K weighting at the frequencies of a real transform of ``size`` samples.

    The two filters of the standard are given as coefficients at 48 kHz. They are bilinear transforms of a shelf and a
    high-pass of second order, written here by their corner, gain and quality: other rates then have the same response.
    """
    hertz = np.minimum(np.fft.rfftfreq(size, 1 / rate_hz), 23_999.0)  # beyond, the response is that of the shelf

    def corner(at_hz: float) -> np.ndarray:
        ratio: np.ndarray = 1j * np.tan(np.pi * hertz / 48_000) / math.tan(math.pi * at_hz / 48_000)
        return ratio

    gain, quality = 10 ** (3.999843853973347 / 20), 0.7071752369554196
    s = corner(1681.974450955533)
    shelf = (gain * s**2 + gain**0.4996667741545416 / quality * s + 1) / (s**2 + s / quality + 1)
    quality, warped = 0.5003270373238773, math.tan(math.pi * 38.13547087602444 / 48_000)
    s = corner(38.13547087602444)
    # the numerator of the standard is 1, -2, 1 as it stands, which makes the high-pass 0.04 dB louder than one
    response: np.ndarray = shelf * (1 + warped / quality + warped**2) * s**2 / (s**2 + s / quality + 1)
    return response


@dataclass(frozen=True, kw_only=True)
class Target:
    """How loud a sound shall be.

    Args:
        strategy: ``peak`` brings the largest sample to ``peak_clip_headroom_db`` below full scale; ``clip`` only limits
            what is beyond that; ``rms`` brings the mean power of the average of the channels to ``rms_headroom_db``;
            ``loudness`` the integrated loudness to ``-loudness_headroom_db`` LUFS; ``none`` changes nothing.
        normalize: without it, sounds are turned down where they are too loud and never turned up.
        peak_clip_headroom_db: 0 to 60; no strategy but ``none`` gives a larger peak.
        rms_headroom_db, loudness_headroom_db: 0 to 70.
        loudness_compressor: with ``loudness``, bends the samples by tanh before they are limited.

    Raises:
        ParamError: a value out of range. ParamTypeError: no such strategy.

    Source: names and defaults of ``audio_write`` of audiocraft 1.3.0, which cuts peaks where this limits them.
    """

    strategy: Strategy = "peak"
    normalize: bool = True
    peak_clip_headroom_db: float = 1.0
    rms_headroom_db: float = 18.0
    loudness_headroom_db: float = 14.0
    loudness_compressor: bool = False

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Strategy):
            raise unknown_argument(str(self.strategy), get_args(Strategy), where="strategy")
        for name, most in (("peak_clip_headroom_db", 60), ("rms_headroom_db", 70), ("loudness_headroom_db", 70)):
            if not (0 <= getattr(self, name) <= most):
                raise ParamError(f"{name}={getattr(self, name)!r}", expected=f"0 to {most} dB")
        if self.loudness_compressor and self.strategy != "loudness":
            raise ParamError(f"loudness_compressor with strategy={self.strategy!r}", expected="strategy='loudness'")

    @property
    def ceiling(self) -> float:
        """The largest absolute sample that comes out, as a part of full scale."""
        return float(10 ** (-self.peak_clip_headroom_db / 20))


@dataclass(frozen=True)
class Normalised:
    """A sound after ``normalise``, and what was done to it.

    Args:
        samples: float32 (C, N).
        strategy: the one that was used, which is not always the one that was asked for.
        gain_db: by how much the whole sound was turned up.
        limited_db: by how much the limiter turned the loudest peak down, 0 or less.
        peak: the largest absolute sample now.
        lufs: the loudness now, as ``loudness_lufs`` gives it.
    """

    samples: np.ndarray
    strategy: Strategy
    gain_db: float
    limited_db: float
    peak: float
    lufs: float


def normalise(samples: np.ndarray, rate_hz: int, target: Target) -> Normalised:
    """Gives a sound at the level that ``target`` asks for; its peaks are limited, never cut.

    Silence stays as it is. A sound too short for a loudness (0.4 s), and one without RMS because its channels cancel
    out, goes by its peak; one quieter than 0.002 RMS is not raised to a loudness. Each of these is logged.

    Args:
        samples: as ``as_samples`` takes them; not changed.
        rate_hz: 1000 to 384000.
        target: the level.

    Raises:
        AudioError, ParamError, ParamTypeError: samples or a rate that cannot be used.
    """
    rate_hz, samples = check_rate(rate_hz, "rate_hz"), as_samples(samples, name="samples")
    strategy, gain = _gain(samples, rate_hz, target)
    if not target.normalize:
        gain = min(gain, 1.0)
    out, limited_db = samples, 0.0
    if strategy != "none":
        compressed = strategy == "loudness" and target.loudness_compressor
        out, limited_db = _limited(samples, rate_hz, gain=gain, compressed=compressed, ceiling=target.ceiling)
    peak = max(float(out.max()), -float(out.min()))
    done = Normalised(out, strategy, 20 * math.log10(gain), limited_db, peak, loudness_lufs(out, rate_hz))
    logger.info(
        "%s: turned up by %.2f dB, peaks down by up to %.2f dB; now %.1f LUFS",
        strategy,
        done.gain_db,
        -limited_db or 0.0,  # not -0.00
        done.lufs,
    )
    return done


def _gain(samples: np.ndarray, rate_hz: int, target: Target) -> tuple[Strategy, float]:
    """The strategy that this sound allows, and the gain it asks for."""
    strategy = target.strategy
    peak = max(float(samples.max()), -float(samples.min()))
    if peak < _SILENT_PEAK or strategy in ("none", "clip"):
        return (strategy if strategy == "clip" else "none"), 1.0
    if strategy == "loudness":
        lufs = loudness_lufs(samples, rate_hz)
        if _rms(samples) < _QUIET_RMS or lufs == -math.inf:
            logger.info("the sound is too quiet to be brought to a loudness: left as it is")
            return "none", 1.0
        if not math.isnan(lufs):
            return strategy, 10 ** ((-target.loudness_headroom_db - lufs) / 20)
        logger.info("a sound of less than 0.4 s has no loudness: its peak decides")
    if strategy == "rms":
        rms = _rms(samples.mean(axis=0, keepdims=True, dtype=np.float32))
        if rms >= _SILENT_PEAK * peak:
            return strategy, 10 ** (-target.rms_headroom_db / 20) / rms
        logger.info("the channels of the sound cancel each other out: its peak decides")
    return "peak", target.ceiling / peak


def _rms(samples: np.ndarray) -> float:
    power = 0.0
    for start in range(0, samples.shape[1], _BLOCK_SAMPLES):  # an hour as float64 would be gigabytes
        power += float(np.square(samples[:, start : start + _BLOCK_SAMPLES], dtype=np.float64).sum())
    return math.sqrt(power / samples.size)


def _limited(
    samples: np.ndarray, rate_hz: int, *, gain: float, compressed: bool, ceiling: float
) -> tuple[np.ndarray, float]:
    """The sound times ``gain``, held under ``ceiling``, and the lowest gain of the limiter in dB."""
    limiter = Limiter(samples.shape[0], rate_hz, ceiling=ceiling)
    out, done = np.empty_like(samples), 0
    for start in range(0, samples.shape[1], _BLOCK_SAMPLES):
        block = samples[:, start : start + _BLOCK_SAMPLES] * np.float32(gain)
        ready = limiter.push(np.tanh(block) if compressed else block)
        out[:, done : done + ready.shape[1]] = ready
        done += ready.shape[1]
    out[:, done:] = limiter.flush()
    return out, limiter.lowest_db
