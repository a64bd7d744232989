"""The calls of audiocraft's ``MusicGen``, made through ours, give audiocraft's tokens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import antiphon
from antiphon.audiocraft.models import musicgen as interface

from .given_text import processor
from .goldens import golden
from .melodies import CASES, FACTS, tune


def music_of(model: Any, about: dict[str, Any], case: dict[str, Any], *, seconds: float, extractor: Any) -> Any:
    """The interface over a model, set as the case says."""
    music = interface.MusicGen("tiny", model, processor(model.text_encoder, extractor))
    music.max_duration, music.separate = about["window_seconds"], False
    music.set_generation_params(
        use_sampling=False, duration=seconds, cfg_coef=case["guidance"], extend_stride=about["stride_seconds"]
    )
    return music


def called(
    music: Any, texts: list[str | None], melodies: list[Any] | None, prompt: Tensor | None, patch: Any
) -> Tensor:
    """The tokens of the call that a user would make."""
    if prompt is not None:  # the codes of a sound, given by the golden and not by a codec
        patch.setattr(interface, "encode", lambda model, sounds, padding: (prompt, None))
        return music.generate_continuation(torch.zeros(len(texts), 1, 640), 32_000, texts, return_tokens=True)[1]
    if melodies is not None:
        given = [None if name is None else torch.from_numpy(tune(name))[None] for name in melodies]
        return music.generate_with_chroma(texts, given, FACTS["rate_hz"], return_tokens=True)[1]
    if not any(texts):
        return music.generate_unconditional(len(texts), return_tokens=True)[1]
    return music.generate(texts, return_tokens=True)[1]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case["prompt_frames"]])
def test_tokens_to_melodies_are_those_of_audiocraft_for_each_item_alone(
    melody_model: Any, monkeypatch: Any, name: str
) -> None:
    source, model = melody_model
    case = CASES[name]
    extractor = antiphon.MusicgenMelodyFeatureExtractor(chunk_length=round(FACTS["window_seconds"]))
    music = music_of(model, FACTS, case, seconds=case["seconds"], extractor=extractor)
    tokens = called(music, case["texts"], case["melodies"], None, monkeypatch)
    assert torch.equal(tokens, source[f"alone.{name}"])


@pytest.mark.parametrize("name", golden("windows_mono").about["cases"])
def test_tokens_to_texts_and_behind_sounds_are_those_of_audiocraft(
    language_model: Any, monkeypatch: Any, name: str
) -> None:
    source, model = language_model
    about = source.about
    case, texts = about["cases"][name], ["one", "other"]
    music = music_of(model, about, case, seconds=case["frames"] / 50, extractor=None)
    prompt = source["prompt"][..., : case["prompt_frames"]] if case["prompt_frames"] else None
    assert torch.equal(called(music, texts, None, prompt, monkeypatch), source[f"codes.{name}"])


def test_a_text_beside_a_longer_one_is_what_audiocraft_makes_of_it_alone(language_model: Any, monkeypatch: Any) -> None:
    source, model = language_model
    music = music_of(model, source.about, {"guidance": 3.0}, seconds=source.about["window_seconds"], extractor=None)
    tokens = called(music, ["one", "brief"], None, None, monkeypatch)
    assert torch.equal(tokens, source["codes.apart"])
    together = source["codes.together"]
    assert torch.equal(together[0], tokens[0])
    assert not torch.equal(together[1], tokens[1])  # there the pads of the shorter text are heard
