"""audiocraft's reading, writing and converting of sounds."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from antiphon.audiocraft.data.audio import audio_read, audio_write
from antiphon.audiocraft.data.audio_utils import convert_audio
from antiphon.errors import AudioError, ParamError, ParamTypeError

RATE_HZ = 32_000


def sine(seconds: float = 0.5, amplitude: float = 0.5, channels: int = 1) -> torch.Tensor:
    return amplitude * torch.sin(torch.arange(round(seconds * RATE_HZ)) / 20).repeat(channels, 1)


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg"])
def test_a_sound_is_written_under_its_stem_and_read_again(tmp_path: Path, format: str) -> None:
    path = audio_write(tmp_path / "new" / "some.name", sine(channels=2), RATE_HZ, format=format)
    assert path == tmp_path / "new" / f"some.name.{format}"
    read, rate_hz = audio_read(path)
    assert (read.shape, read.dtype, rate_hz) == ((2, 16_000), torch.float32, RATE_HZ)
    assert float(read.abs().max()) == pytest.approx(10 ** (-1 / 20), abs=0.02)  # by its peak, 1 dB below full scale


def test_a_sound_may_be_one_row_and_its_path_whole(tmp_path: Path) -> None:
    path = audio_write(str(tmp_path / "sound"), sine()[0], RATE_HZ, add_suffix=False, strategy="none")
    assert path == tmp_path / "sound"
    read, _ = audio_read(path)
    assert torch.allclose(read, sine(), atol=2**-15)


def test_a_missing_folder_is_made_only_if_asked(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="folder"):
        audio_write(tmp_path / "new" / "x", sine(), RATE_HZ, make_parent_dir=False)


def test_peaks_between_the_headroom_and_full_scale_stay_with_rms_and_loudness(tmp_path: Path) -> None:
    loud = sine(amplitude=0.97)
    for strategy in ("rms", "loudness"):
        quiet = {f"{strategy}_headroom_db": 0} if strategy == "rms" else {"loudness_headroom_db": 3.3}
        path = audio_write(tmp_path / strategy, loud, RATE_HZ, strategy=strategy, normalize=False, **quiet)
        read, _ = audio_read(path)
        assert float(read.abs().max()) > 0.95


@pytest.mark.parametrize("told", [True, False])
def test_turned_down_peaks_are_told_unless_nobody_wants_to_know(tmp_path: Path, caplog: Any, told: bool) -> None:
    spiky = sine(amplitude=0.05)
    spiky[0, 8000] = 0.9
    with caplog.at_level(logging.WARNING, "antiphon.audiocraft"):
        audio_write(tmp_path / "x", spiky, RATE_HZ, strategy="rms", rms_headroom_db=12, log_clipping=told)
    assert [record.name for record in caplog.records] == ["antiphon.audiocraft.data.audio"] * told


@pytest.mark.parametrize(
    ("error", "settings"),
    [
        (ParamTypeError, {"wav": torch.zeros(1, 10, dtype=torch.int16)}),
        (ParamTypeError, {"wav": np.zeros((1, 10), np.float32)}),
        (AudioError, {"wav": torch.full((1, 10), float("nan"))}),
        (AudioError, {"wav": torch.zeros(1, 1, 10)}),
        (AudioError, {"format": "xyz"}),
        (ParamError, {"mp3_rate": 128}),
        (ParamError, {"ogg_rate": 128}),
        (ParamTypeError, {"strategy": "loud"}),
        (ParamError, {"peak_clip_headroom_db": -1}),
        (ParamError, {"sample_rate": 0}),
    ],
    ids=str,
)
def test_what_cannot_be_written_leaves_no_file(tmp_path: Path, error: Any, settings: dict[str, Any]) -> None:
    given = {"wav": sine(), "sample_rate": RATE_HZ, **settings}
    with pytest.raises(error):
        audio_write(tmp_path / "x", **given)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_a_file_is_read(tmp_path: Path) -> None:
    sound = torch.linspace(-0.5, 0.5, RATE_HZ)[None]
    path = audio_write(tmp_path / "x", sound, RATE_HZ, strategy="none")
    assert torch.allclose(audio_read(path, 0.25, 0.5)[0], sound[:, 8000:24_000], atol=2**-15)
    assert audio_read(path, 0.75, 0.5)[0].shape == (1, 8000)
    padded, _ = audio_read(path, 0.75, 0.5, pad=True)
    assert padded.shape == (1, 16_000)
    assert not padded[:, 8000:].any()
    for seek_time in (-1, 1.5, float("nan")):
        with pytest.raises(ParamError, match="seek_time"):
            audio_read(path, seek_time)


def test_rate_and_channels_are_converted() -> None:
    sounds = torch.stack([sine(channels=2), sine(amplitude=0.1, channels=2)])
    assert convert_audio(sounds, RATE_HZ, 16_000, 1).shape == (2, 1, 8000)
    assert torch.equal(convert_audio(sounds[0], RATE_HZ, RATE_HZ, 1), sounds[0, :1])
    assert torch.equal(convert_audio(sounds[:, :1], RATE_HZ, RATE_HZ, 2), sounds)
    for wav in (sine()[0], sine().numpy()):
        with pytest.raises(ParamTypeError, match="wav"):
            convert_audio(wav, RATE_HZ, 16_000, 1)
