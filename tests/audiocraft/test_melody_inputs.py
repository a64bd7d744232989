"""Melodies as audiocraft's callers give them."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from antiphon import MusicgenMelodyFeatureExtractor
from antiphon.audio import separation
from antiphon.audiocraft.models import melody_inputs as inputs
from antiphon.errors import AudioError, ParamError, ParamTypeError

RATE_HZ = 32_000


def tune(hertz: float, seconds: float, rate_hz: int = RATE_HZ) -> torch.Tensor:
    return 0.3 * torch.sin(torch.arange(round(seconds * rate_hz)) / rate_hz * hertz * 2 * torch.pi)[None]


A, C = tune(440, 1.0), tune(523.25, 3.0)


@pytest.fixture(scope="module")
def extractor() -> MusicgenMelodyFeatureExtractor:
    return MusicgenMelodyFeatureExtractor(chunk_length=2)


def pitches(made: dict[str, torch.Tensor]) -> list[Any]:
    return made["input_features"].argmax(-1).tolist()


def test_every_melody_has_the_frames_of_its_own_sound(extractor: Any) -> None:
    made = inputs.melody_inputs(extractor, [A, C, None], RATE_HZ, starts_s=[0.0], separate=False)
    assert made["input_features_mask"].sum(1).tolist() == [8, 24, 5]  # of silence those of the shortest sound there is
    assert pitches(made)[0][:8] == [9] * 8
    assert pitches(made)[1] == pitches(made)[2] == [0] * 24


def test_a_window_hears_the_melody_at_its_place_and_over_again(extractor: Any) -> None:
    song = torch.cat([A, tune(493.88, 1.0)], dim=1)  # a second of A, a second of B
    made = inputs.melody_inputs(extractor, [song, None], RATE_HZ, starts_s=[0.0, 1.0], separate=False)
    (first, second), nothing = pitches(made)
    assert (first[2], first[13]) == (9, 11)
    assert (second[2], second[13]) == (11, 9)
    assert nothing == [[0] * 16] * 2


def test_channels_are_averaged_and_any_rate_is_heard(extractor: Any) -> None:
    halves = torch.cat([2 * tune(440, 1.0, 44_100), torch.zeros(1, 44_100)])
    made = inputs.melody_inputs(extractor, [halves], 44_100, starts_s=[0.0], separate=False)
    assert pitches(made) == [[9] * 8]


def test_stems_are_taken_out_first_where_asked(extractor: Any, monkeypatch: Any) -> None:
    heard = []
    monkeypatch.setattr(separation, "separate", lambda sound, rate_hz: heard.append((sound.shape, rate_hz)) or sound)
    for separate, expected in ((True, [((1, 32_000), RATE_HZ)]), (False, [])):
        inputs.melody_inputs(extractor, [A, None], RATE_HZ, starts_s=[0.0], separate=separate)
        assert heard == expected
        heard.clear()


@pytest.mark.parametrize("installed", [True, False])
def test_nobody_asked_stems_are_taken_out_if_they_can_be(
    extractor: Any, monkeypatch: Any, caplog: Any, installed: bool
) -> None:
    heard = []
    monkeypatch.setattr(inputs.importlib.util, "find_spec", lambda name: (name == "demucs" and installed) or None)
    monkeypatch.setattr(separation, "separate", lambda sound, rate_hz: heard.append(rate_hz) or sound)
    with caplog.at_level(logging.WARNING, "antiphon.audiocraft"):
        inputs.melody_inputs(extractor, [None], RATE_HZ, starts_s=[0.0], separate=None)
        assert not caplog.records
        inputs.melody_inputs(extractor, [A], RATE_HZ, starts_s=[0.0], separate=None)
    assert heard == [RATE_HZ] * installed
    assert ["antiphon[separate]" in record.getMessage() for record in caplog.records] == [True] * (not installed)


@pytest.mark.parametrize(
    ("error", "melody", "rate_hz"),
    [
        (ParamTypeError, A[0], RATE_HZ),
        (ParamTypeError, A.numpy(), RATE_HZ),
        (ParamTypeError, "hum.wav", RATE_HZ),
        (AudioError, torch.full((1, 100), float("nan")), RATE_HZ),
        (AudioError, torch.zeros(1, 0), RATE_HZ),
        (ParamError, A, 0),
        (ParamError, A, None),
    ],
    ids=["one row", "array", "path", "not a number", "empty", "no rate", "rate missing"],
)
def test_what_is_no_melody_is_refused(extractor: Any, error: Any, melody: Any, rate_hz: Any) -> None:
    with pytest.raises(error, match=r"melody_wavs\[1\]|melody_sample_rate"):
        inputs.melody_inputs(extractor, [A, melody], rate_hz, starts_s=[0.0], separate=False)
