from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from antiphon.audio.clip import Audio
from antiphon.audio.picture import draw, spectrogram
from antiphon.errors import AudioError, MissingExtraError


@pytest.mark.parametrize("rate_hz", [8000, 32_000, 48_000])
@pytest.mark.parametrize("hertz", [110.0, 1000.0, 3000.0])
def test_a_sine_shows_in_its_band_with_its_level(rate_hz: int, hertz: float) -> None:
    wave = (0.1 * np.sin(2 * np.pi * hertz * np.arange(rate_hz) / rate_hz)).astype(np.float32)
    levels, bands_hz, edges = spectrogram(wave, rate_hz)
    column = levels[:, levels.shape[1] // 2]
    band = int(column.argmax())
    assert bands_hz[band] - 12 < hertz < bands_hz[band + 1] + 12
    assert column[band] == pytest.approx(-20, abs=1.5)
    assert levels.shape == (len(bands_hz) - 1, len(edges) - 1)
    assert edges[0] == 0 and edges[-1] == pytest.approx(1.0)


@pytest.mark.parametrize("length", [1, 2, 100, 8000, 8001])
def test_the_edges_of_the_columns_rise_for_every_length(length: int) -> None:
    levels, _, edges = spectrogram(np.zeros(length, np.float32), 8000)
    assert (np.diff(edges) > 0).all() and np.isfinite(levels).all() and levels.max() == pytest.approx(-200)


@pytest.mark.parametrize(
    "samples, title",
    [
        (np.zeros(4000), None),
        (np.full((1, 1), 0.5), "one sample"),
        (np.random.default_rng(0).uniform(-1, 1, (2, 3000)), "stereo"),
        (np.random.default_rng(0).uniform(-1, 1, (6, 3000)), "surround"),
        (np.full(9000, 0.25), "a $broken ^formula_{ 🎹 \n in two lines " + "x" * 300),
    ],
    ids=["silence", "one", "stereo", "surround", "constant"],
)
def test_every_sound_gives_a_picture(tmp_path: Path, samples: np.ndarray, title: str | None) -> None:
    path = draw(Audio(samples, 8000, prompt="the prompt"), tmp_path / "a.png", title=title)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and [each.name for each in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("title", ["W" * 300, "i" * 300, "\ufffd\x1c" * 60, "a short one"])
def test_a_heading_ends_within_the_picture(tmp_path: Path, title: str) -> None:
    from matplotlib.image import imread

    pixels = imread(draw(Audio(np.zeros(100), 8000), tmp_path / "a.png", title=title))[:24, :, :3]
    assert (pixels[:, :8] == 1).all() and (pixels[:, -8:] == 1).all()
    written = np.flatnonzero((pixels < 1).any(axis=(0, 2)))
    share = (written[-1] - written[0]) / pixels.shape[1]
    assert share > 0.9 if len(title) > 100 else 0 < share < 0.2


def test_the_global_state_of_matplotlib_is_left_alone(tmp_path: Path) -> None:
    draw(Audio(np.zeros(100), 8000), tmp_path / "a.png")
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="cannot be written"):
        draw(Audio(np.zeros(100), 8000), tmp_path / "none" / "a.png")


def test_without_matplotlib_the_message_has_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'antiphon\[plot\]'"):
        draw(Audio(np.zeros(100), 8000), tmp_path / "a.png")
