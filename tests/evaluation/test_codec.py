"""What a codec loses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from antiphon import Audio
from antiphon.errors import AudioError
from antiphon.evaluation.codec import codec_losses, mel_distance_db, si_sdr_db
from antiphon.tasks.transcoder import Transcoder

RATE_HZ = 32_000


def _sine(hertz: float, *, level: float = 0.5, seconds: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)).astype(np.float32)


def test_si_sdr_of_two_sines_is_the_ratio_of_their_powers() -> None:
    wanted, other = _sine(440), _sine(880, level=0.05)  # whole periods: they have nothing in common
    sound = Audio(wanted + other, RATE_HZ)
    assert si_sdr_db(sound, Audio(wanted, RATE_HZ)) == pytest.approx(20, abs=1e-3)


def test_si_sdr_knows_no_level_and_no_sign() -> None:
    wanted = Audio(_sine(440), RATE_HZ)
    sound = _sine(440) + _sine(1320, level=0.1)
    for gain in (3.0, 0.01, -1.0):
        found = si_sdr_db(Audio(gain * sound, RATE_HZ), wanted)
        assert found == pytest.approx(20 * math.log10(5), abs=1e-3)


def test_si_sdr_has_its_ends() -> None:
    wanted = Audio(_sine(440), RATE_HZ)
    assert si_sdr_db(wanted, wanted) > 120
    assert si_sdr_db(Audio(np.zeros_like(wanted.samples), RATE_HZ), wanted) == -math.inf
    with pytest.raises(AudioError, match="silent"):
        si_sdr_db(wanted, Audio(np.zeros_like(wanted.samples), RATE_HZ))


def test_the_mel_distance_counts_levels_above_the_floor() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, RATE_HZ).astype(np.float32)
    loud, soft = Audio(noise, RATE_HZ), Audio(noise / 2, RATE_HZ)
    assert mel_distance_db(loud, loud) == 0
    assert mel_distance_db(soft, loud) == pytest.approx(20 * math.log10(2), abs=0.6)
    far_below = [Audio(noise * level, RATE_HZ) for level in (1e-7, 1e-6)]
    assert mel_distance_db(*far_below) < 0.01


@pytest.mark.parametrize("measure", [mel_distance_db, si_sdr_db])
def test_sounds_of_different_lengths_are_refused(measure: object) -> None:
    with pytest.raises(AudioError, match="equal ones"):
        measure(Audio(_sine(440), RATE_HZ), Audio(_sine(440)[:-1], RATE_HZ))


def test_a_codec_is_measured_beside_one_codebook_silence_and_another_piece(checkpoint: Path) -> None:
    transcoder = Transcoder.load(checkpoint, device="cpu")
    sounds = [Audio(_sine(hertz), RATE_HZ) for hertz in (300, 500, 900)]
    sounds[1] = Audio(_sine(500, seconds=0.7), RATE_HZ)
    found = list(codec_losses(transcoder, sounds))
    assert len(found) == 3
    assert list(found[0]) == ["all codebooks", "one codebook", "silence", "another piece"]
    whole = transcoder.decode(transcoder.encode(sounds[0]))
    assert found[0]["all codebooks"].mel_db == pytest.approx(mel_distance_db(whole, sounds[0]), rel=1e-3)
    assert found[0]["all codebooks"] != found[0]["one codebook"]
    assert found[0]["silence"].si_sdr_db == -math.inf
    assert found[2]["another piece"].mel_db == pytest.approx(mel_distance_db(sounds[0], sounds[2]), rel=1e-3)
