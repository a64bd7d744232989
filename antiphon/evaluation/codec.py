"""What a codec loses: the distance of mel spectra and the SI-SDR, beside the same with less and with nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from antiphon.audio import mel
from antiphon.audio.clip import Audio
from antiphon.errors import AudioError
from antiphon.tasks.transcoder import Transcoder


@dataclass(frozen=True)
class Loss:
    """How far a sound is from the one it stands for, in dB: less is better of the first, more of the second."""

    mel_db: float
    si_sdr_db: float


def mel_distance_db(sound: Audio, wanted: Audio) -> float:
    """How far the mel spectra of two sounds lie apart, in dB; 0 for equal ones.

    In each of five resolutions (windows of 2048 to 128 samples, 96 to 16 bands) the mean over bands, windows and
    channels of the absolute difference in level, and of these the mean. Levels count from -60 dB of a sine of full
    scale, into which softer ones run smoothly.

    Raises:
        AudioError: different rates, channels or lengths.
    """
    _check(sound, wanted)
    scales = mel.MultiScaleMel(wanted.sampling_rate)
    with torch.no_grad():
        ours, theirs = (scales(torch.from_numpy(audio.samples)) for audio in (sound, wanted))
        return float(mel.mel_distance_db(ours, theirs).mean())


def si_sdr_db(sound: Audio, wanted: Audio) -> float:
    """The power of what a sound has of the wanted one, at whatever level, over that of the rest, in dB.

    It is infinite for equal sounds and -infinite for silence and for sounds that have nothing in common.

    Raises:
        AudioError: different rates, channels or lengths, or a wanted sound that is silent.

    Source: J. Le Roux et al., "SDR - half-baked or well done?" (2019), without taking the means away.
    """
    _check(sound, wanted)
    ours, theirs = (audio.samples.astype(np.float64).ravel() for audio in (sound, wanted))
    power = float(theirs @ theirs)
    if not power > 0:
        raise AudioError("the wanted sound is silent", expected="one that sounds")
    part = (float(ours @ theirs) / power) * theirs
    rest = float(((ours - part) ** 2).sum())
    kept = float(part @ part)
    if kept == 0:
        return -math.inf
    return 10 * math.log10(kept / rest) if rest > 0 else math.inf


def codec_losses(transcoder: Transcoder, sounds: Sequence[Audio]) -> Iterator[dict[str, Loss]]:
    """For each sound what the codec loses with all codebooks and with one, and what silence and the next sound lose.

    Args:
        sounds: of any rate; the last is compared with the first. All are cut to the shortest.

    Raises:
        AudioError: sounds that cannot be read, or silent ones.
    """
    wanted = [transcoder.converted(sound) for sound in sounds]
    length = min((len(sound) for sound in wanted), default=0)
    wanted = [replace(sound, samples=sound.samples[:, :length]) for sound in wanted]
    for place, sound in enumerate(wanted):
        codes = transcoder.encode(sound)
        one = replace(codes, codes=codes.codes[: codes.channels // transcoder.codec.config.audio_channels])
        others = {
            "all codebooks": transcoder.decode(codes),
            "one codebook": transcoder.decode(one),
            "silence": replace(sound, samples=np.zeros_like(sound.samples)),
            "another piece": wanted[(place + 1) % len(wanted)],
        }
        yield {name: Loss(mel_distance_db(other, sound), si_sdr_db(other, sound)) for name, other in others.items()}


def _check(sound: Audio, wanted: Audio) -> None:
    own, theirs = [(*audio.samples.shape, audio.sampling_rate) for audio in (sound, wanted)]
    if own != theirs:
        raise AudioError(f"sounds of (channels, samples, Hz) {own} and {theirs}", expected="equal ones")
