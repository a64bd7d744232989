"""From the sound of a melody to codes, everything is audiocraft's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import antiphon

from .melodies import CASES, FACTS, WITH_MELODY, composed, starts_s, tune


@pytest.fixture(scope="module")
def extractor() -> Any:
    """For windows of the goldens' length."""
    return antiphon.MusicgenMelodyFeatureExtractor(chunk_length=round(FACTS["window_seconds"]))


@pytest.mark.parametrize("name", WITH_MELODY)
def test_the_chroma_of_sounds_is_that_of_audiocraft(melody_model: Any, extractor: Any, name: str) -> None:
    source, model = melody_model
    heard = source[f"chroma.{name}"]  # (W, B, F)
    sounds = [tune(melody) for melody in CASES[name]["melodies"]]
    if len(heard) > 1:
        features = extractor.window_features(sounds, starts_s(len(heard)), sampling_rate=FACTS["rate_hz"])
    else:
        features = extractor(sounds, sampling_rate=FACTS["rate_hz"], truncation=False, return_tensors="pt")
    pitches = features["input_features"].argmax(-1)
    if len(heard) == 1:  # the model tiles and cuts
        length = model.config.chroma_length
        pitches = pitches[:, torch.arange(length) % pitches.shape[1]][:, None]
    assert torch.equal(pitches.transpose(0, 1), heard)


# Those in which a row has a neighbour to be independent of, or a prompt; calls of the interface go through the rest.
_NEIGHBOURS = (
    *("melodies_of_two_lengths", "texts_of_two_lengths", "one_text", "one_melody", "prompt"),
    *("windows_of_one_melody", "windows_behind_a_prompt"),
)


@pytest.mark.parametrize("name", _NEIGHBOURS)
def test_independent_rows_are_what_audiocraft_makes_of_each_item_alone(
    melody_model: Any, extractor: Any, name: str
) -> None:
    source, model = melody_model
    case, inputs = CASES[name], {}
    if case["melodies"]:
        sounds, windows = [tune(melody) for melody in case["melodies"]], len(source[f"chroma.{name}"])
        if windows > 1:
            inputs = extractor.window_features(sounds, starts_s(windows), sampling_rate=FACTS["rate_hz"])
        else:
            settings = {"truncation": False, "independent_rows": True, "return_tensors": "pt"}
            inputs = extractor(sounds, sampling_rate=FACTS["rate_hz"], **settings)
    assert torch.equal(composed(model, source, case, **inputs, independent_rows=True), source[f"alone.{name}"])


def test_the_documented_extractor_cuts_the_sound_where_audiocraft_cuts_its_chroma(extractor: Any) -> None:
    calls = ({"truncation": False}, {})
    whole, cut = (
        extractor(tune("burst"), sampling_rate=FACTS["rate_hz"], return_tensors="pt", **settings)["input_features"]
        for settings in calls
    )
    length = cut.shape[1]
    assert whole.shape[1] > length
    assert torch.equal(whole[:, : length - 1], cut[:, :-1])
    assert not torch.equal(whole[:, length - 1], cut[:, -1])
