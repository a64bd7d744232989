"""Levels are those of audiocraft's ``audio_write``, but that peaks are limited where it cuts them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from antiphon.audio.loudness import Target, loudness_lufs, normalise

from .goldens import facts

GOLDEN = facts("loudness")
RATE_HZ = GOLDEN["rate_hz"]
# audiocraft's meter cuts what is beyond full scale inside its filters; all agree on what is below
METERED = [name for name in GOLDEN["sounds"] if name != "beyond full scale"]


def sound(name: str) -> np.ndarray:
    """(C, N) float32, by the formula that the golden was made with."""
    seconds, amplitude, channels = GOLDEN["sounds"][name]
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    rows = [sum(np.sin(2 * math.pi * hertz * time) for hertz in tones) / len(tones) for tones in channels]
    return np.float32(amplitude * np.stack(rows))


def settings(case: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a case."""
    return {name: value for name, value in case.items() if name == "strategy" or name in Target.__dataclass_fields__}


def named(case: dict[str, Any]) -> str:
    """A case in words."""
    return ", ".join([case["sound"], *(f"{name}={value}" for name, value in settings(case).items())])


@pytest.mark.parametrize("name", METERED)
def test_loudness_is_what_audiocraft_measures(name: str) -> None:
    assert loudness_lufs(sound(name), RATE_HZ) == pytest.approx(GOLDEN["torchaudio_lufs"][name], abs=0.1)


@pytest.mark.parametrize(
    "case", [case for case in GOLDEN["cases"] if case["strategy"] != "loudness" or case["sound"] in METERED], ids=named
)
def test_gain_and_level_are_those_of_audiocraft(case: dict[str, Any]) -> None:
    target = Target(**settings(case))
    done = normalise(sound(case["sound"]), RATE_HZ, target)
    close = 0.1 if case["strategy"] == "loudness" else 0.001  # dB; of the meters
    assert done.gain_db == pytest.approx(case["gain_db"], abs=close)
    assert done.peak <= target.ceiling * (1 + 1e-6)
    if case["peak"] < target.ceiling / 10 ** (close / 20):  # nothing to limit: the same samples, one gain apart
        rms = float(np.sqrt(np.mean(np.square(done.samples, dtype=np.float64))))
        assert 20 * math.log10(done.peak / case["peak"]) == pytest.approx(0, abs=close)
        assert 20 * math.log10(rms / case["rms"]) == pytest.approx(0, abs=close)
