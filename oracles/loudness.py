"""What audiocraft's ``audio_write`` does to the level of a sound: writes goldens/loudness.json.

The sounds are formulas (``SOUNDS`` in the golden says which), so that both sides make them. For each strategy and its
settings: the gain, the peak and the root mean square after it, and how many samples audiocraft clipped.
"""

from __future__ import annotations

import json
import math
import warnings
from typing import Any

import tiny_audiocraft as tiny
import torch
from audiocraft.data.audio_utils import normalize_audio
from torch import Tensor

RATE_HZ = 32_000
# name: (seconds, amplitude, [frequencies in Hz of each channel]); a sound is amplitude times the mean of sines
SOUNDS: dict[str, tuple[float, float, list[list[float]]]] = {
    "quiet sine": (1.0, 0.05, [[997.0]]),
    "loud sine": (1.0, 0.9, [[440.0]]),
    "beyond full scale": (1.0, 1.7, [[220.0, 331.0]]),
    "low chord": (1.5, 0.4, [[55.0, 82.4, 110.0]]),
    "stereo": (1.0, 0.5, [[440.0, 660.0], [523.25]]),
    "near silence": (1.0, 0.001, [[440.0]]),
}
CASES: list[dict[str, Any]] = [
    {"strategy": "peak"},
    {"strategy": "peak", "normalize": False},
    {"strategy": "peak", "peak_clip_headroom_db": 3.0},
    {"strategy": "clip"},
    {"strategy": "rms"},
    {"strategy": "rms", "normalize": False},
    {"strategy": "rms", "rms_headroom_db": 12.0},
    {"strategy": "loudness"},
    {"strategy": "loudness", "loudness_headroom_db": 20.0},
    {"strategy": "loudness", "loudness_compressor": True},
]


def sound(seconds: float, amplitude: float, channels: list[list[float]]) -> Tensor:
    """(C, N) float32."""
    time = torch.arange(round(seconds * RATE_HZ), dtype=torch.float64) / RATE_HZ
    rows = [sum(torch.sin(2 * math.pi * f * time) for f in tones) / len(tones) for tones in channels]
    return (amplitude * torch.stack(rows)).float()


def measured(name: str, case: dict[str, Any]) -> dict[str, Any]:
    """The figures of a case."""
    before = sound(*SOUNDS[name])
    after = normalize_audio(before.clone(), sample_rate=RATE_HZ, **case)
    # the gain of the samples that are soft enough to be clipped or bent by nothing
    soft = (before.abs() > 1e-3 * before.abs().max()) & (before.abs() < 0.02 * before.abs().max())
    gain = float((after[soft].double() / before[soft].double()).median())
    return {
        "sound": name,
        **case,
        "gain_db": round(20 * math.log10(gain), 4),
        "peak": round(float(after.abs().max()), 9),
        "rms": round(float(after.double().pow(2).mean().sqrt()), 9),
        "clipped": int((after.abs() >= 1).sum()),
    }


def main() -> None:
    """Writes the golden."""
    from torchaudio.transforms import Loudness

    warnings.simplefilter("ignore")
    loudness = {name: round(float(Loudness(RATE_HZ)(sound(*SOUNDS[name]))), 3) for name in SOUNDS}
    cases = [measured(name, case) for name in SOUNDS for case in CASES]
    golden = {"rate_hz": RATE_HZ, "sounds": SOUNDS, "torchaudio_lufs": loudness, "cases": cases}
    (tiny.GOLDENS / "loudness.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    print(f"loudness: {len(cases)} cases")


if __name__ == "__main__":
    main()
