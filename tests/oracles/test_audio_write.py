"""Files that our ``audio_write`` writes have the levels of audiocraft's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon.audiocraft import audio_read, audio_write

from .test_loudness import GOLDEN, METERED, RATE_HZ, named, sound

_FIGURES = ("sound", "gain_db", "peak", "rms", "clipped")
# what audiocraft cuts off, we turn down: beyond that there is nothing to compare
WHOLE = [
    case
    for case in GOLDEN["cases"]
    if not case["clipped"]
    and case["strategy"] != "clip"
    and (case["strategy"] != "loudness" or case["sound"] in METERED)
]


@pytest.mark.parametrize("case", WHOLE, ids=named)
def test_peak_and_power_of_a_written_file_are_those_of_audiocraft(case: dict[str, Any], tmp_path: Path) -> None:
    settings = {name: value for name, value in case.items() if name not in _FIGURES}
    path = audio_write(tmp_path / "x", torch.from_numpy(sound(case["sound"])), RATE_HZ, **settings)
    written = audio_read(path)[0].double()
    close = 10 ** (0.1 / 20) - 1 if case["strategy"] == "loudness" else 1e-3  # of the meters
    step = 2.0**-15
    assert float(written.abs().max()) == pytest.approx(case["peak"], rel=close, abs=step)
    assert float(written.pow(2).mean().sqrt()) == pytest.approx(case["rms"], rel=close, abs=step)
