"""Separation with a tiny random model of Demucs' own kind, and with a model that takes sounds apart by rule."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from demucs.apply import apply_model
from demucs.htdemucs import HTDemucs
from demucs.pretrained import get_model

from antiphon.audio import separation
from antiphon.audio.separation import separate, separator
from antiphon.errors import AudioError, MissingExtraError, ParamError

SOURCES = ["drums", "bass", "other", "vocals"]
RATE_HZ = 8000


class Shares(torch.nn.Module):
    """Gives each source a known share of the sound, so that one can tell which were added up."""

    samplerate, audio_channels, segment = RATE_HZ, 2, 1.0
    sources = SOURCES

    def __init__(self) -> None:
        super().__init__()
        self.shares = torch.nn.Parameter(torch.tensor([1.0, 2.0, 4.0, 8.0]))

    def forward(self, sound: torch.Tensor) -> torch.Tensor:
        return sound[:, None] * self.shares[:, None, None]


@pytest.fixture(scope="module")
def tiny() -> Any:
    torch.manual_seed(0)
    size = {"channels": 8, "nfft": 512, "depth": 2, "dconv_comp": 4, "t_layers": 1, "t_heads": 2}
    return HTDemucs(SOURCES, samplerate=RATE_HZ, segment=1, **size).eval()


def song(channels: int, seconds: float, rate_hz: int = RATE_HZ) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return 0.1 * np.stack([np.sin(2 * np.pi * 300 * (1 + row) * time_s) for row in range(channels)]).astype(np.float32)


def test_voices_and_other_instruments_are_what_is_left(tiny: Any) -> None:
    sound = song(2, 2.5)
    with torch.no_grad():
        stems = apply_model(tiny, torch.from_numpy(sound)[None], shifts=0)[0]
    np.testing.assert_allclose(separate(sound, RATE_HZ, model=tiny), (stems[2] + stems[3]).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "stems, share", [(("drums",), 1), (("bass", "drums"), 3), (SOURCES, 15), (("vocals", "other"), 12)]
)
def test_the_stems_asked_for_are_added_up(stems: Any, share: int) -> None:
    sound = song(2, 1.5)
    np.testing.assert_allclose(separate(sound, RATE_HZ, model=Shares(), stems=stems), share * sound, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 16000, 11025])
def test_a_sound_of_any_kind_keeps_its_shape_and_its_rate(channels: int, rate_hz: int) -> None:
    sound = song(channels, 1.0, rate_hz)
    out = separate(sound, rate_hz, model=Shares())
    assert out.shape == sound.shape and out.dtype == np.float32 and out.flags.c_contiguous
    expected = sound if channels < 3 else np.broadcast_to(sound.mean(0), sound.shape)
    inner = slice(rate_hz // 10, -rate_hz // 10)
    np.testing.assert_allclose(out[:, inner], 12 * expected[:, inner], atol=5e-3)


def test_passages_of_a_long_song_join_without_a_seam(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = song(2, 7.3)
    whole = separate(sound, RATE_HZ, model=tiny)
    monkeypatch.setattr(separation, "_PASSAGE_S", 2)
    np.testing.assert_allclose(separate(sound, RATE_HZ, model=tiny), whole, atol=1e-6)


def test_the_same_song_gives_the_same_stems(tiny: Any) -> None:
    assert np.array_equal(separate(song(1, 1.2), RATE_HZ, model=tiny), separate(song(1, 1.2), RATE_HZ, model=tiny))


@pytest.mark.parametrize("samples", [1, 7, 500])
def test_F030_very_short_sounds_are_separated(tiny: Any, samples: int) -> None:
    out = separate(song(2, 1.0)[:, :samples], RATE_HZ, model=tiny)
    assert out.shape == (2, samples) and np.isfinite(out).all()


def test_F031_silence_stays_finite_and_bad_samples_are_refused(tiny: Any) -> None:
    assert np.isfinite(separate(np.zeros((2, 9000), np.float32), RATE_HZ, model=tiny)).all()
    with pytest.raises(AudioError, match="at sample 5"):
        separate(np.array([0, 0, 0, 0, 0, np.nan]), RATE_HZ, model=tiny)


def test_stems_that_the_model_has_not_are_refused(tiny: Any) -> None:
    for stems in (("piano",), ("vocals", "guitar"), ()):
        with pytest.raises(ParamError, match="some of .*vocals"):
            separate(song(1, 1.0), RATE_HZ, model=tiny, stems=stems)
    with pytest.raises(ParamError, match="sampling_rate=None"):
        separate(song(1, 1.0), None, model=tiny)  # type: ignore[arg-type]


def test_names_are_fetched_as_safetensors_and_models_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("demucs.pretrained.get_model", lambda name: asked.append(name) or Shares())
    model = separator("htdemucs")
    assert asked == ["hf://htdemucs"]
    assert separator(model) is model


@pytest.mark.parametrize("name", ["someone/htdemucs", "hf://someone/x", "../x", "", "a b"])
def test_models_out_of_other_peoples_repositories_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demucs.pretrained.get_model", None)
    with pytest.raises(ParamError, match="pass the model"):
        separator(name)


def test_a_model_that_cannot_be_had_is_one_error() -> None:
    assert callable(get_model)
    with pytest.raises(ParamError, match="'htdemucs' could not be had"):
        separator("htdemucs")  # no network in tests, and nothing in the cache


def test_F124_without_demucs_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "demucs.pretrained", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'antiphon\[separate\]'"):
        separate(song(1, 1.0), RATE_HZ)
