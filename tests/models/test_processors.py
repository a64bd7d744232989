"""Processor and feature extractor beside transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import antiphon

from . import tiny_musicgen as tiny
from .conftest import Pair
from .tiny_musicgen import HOP, sound

ENCODEC_48 = {"feature_size": 2, "sampling_rate": 48000, "chunk_length_s": 0.05, "overlap": 0.1}


def same(ours: Any, theirs: Any) -> None:
    """Both batches hold the same names with equal values."""
    assert set(ours.keys()) == set(theirs.keys())
    for name in theirs:
        one, other = ours[name], theirs[name]
        assert type(one) is type(other), name
        rows = [(one, other)] if not isinstance(one, list) else list(zip(one, other, strict=True))
        for a, b in rows:
            assert np.array_equal(np.asarray(a), np.asarray(b)), name


@pytest.mark.row("R20", "R52", "R90")
@pytest.mark.parametrize("tensors", ["pt", "np"])
def test_texts_give_ids_and_a_mask_only(mono: Pair, tensors: str) -> None:
    ours = mono.processor(text=tiny.TEXTS, padding=True, return_tensors=tensors)
    same(ours, mono.their_processor(text=tiny.TEXTS, padding=True, return_tensors=tensors))
    assert set(ours.keys()) == {"input_ids", "attention_mask"}
    assert ours.input_ids is ours["input_ids"]
    same(mono.processor(text=tiny.TEXTS[0]), mono.their_processor(text=tiny.TEXTS[0]))


@pytest.mark.row("R52", "R103")
@pytest.mark.parametrize("tensors", ["pt", "np"])
@pytest.mark.parametrize("name", ["mono", "stereo"])
def test_sounds_give_values_and_a_padding_mask(name: str, tensors: str, request: Any) -> None:
    pair: Pair = request.getfixturevalue(name)
    shape = (3000,) if name == "mono" else (2, 3000)
    clips = [sound(*shape).numpy(), sound(*shape, seed=3).numpy()[..., :2000]]
    asked = {"audio": clips, "sampling_rate": 32000, "text": tiny.TEXTS, "padding": True, "return_tensors": tensors}
    ours = pair.processor(**asked)
    same(ours, pair.their_processor(**asked))
    assert ours["input_values"].shape == (2, len(shape), 3000)
    assert ours["padding_mask"].shape == (2, 3000)
    kind = torch.Tensor if tensors == "pt" else np.ndarray
    assert all(isinstance(value, kind) for value in ours.values())


@pytest.mark.row("R97")
def test_another_sampling_rate_is_refused_and_converted_on_request(mono: Pair) -> None:
    clip = sound(4000).numpy()
    with pytest.raises(ValueError, match=r"24000 Hz.*32000 Hz.*resample=True"):
        mono.processor(audio=clip, sampling_rate=24000, text=["pop"], padding=True)
    with pytest.raises(ValueError, match="resample=True"):
        mono.processor(audio=np.stack([clip, clip]), sampling_rate=32000, text=["pop"], padding=True)
    ours = mono.processor(
        audio=np.stack([clip, clip]),
        sampling_rate=16000,
        text=["pop"],
        padding=True,
        resample=True,
        return_tensors="pt",
    )
    assert ours["input_values"].shape == (1, 1, 8000)


@pytest.mark.row("R51", "R53", "R85", "E3")
def test_a_processor_is_a_feature_extractor_and_a_tokenizer_that_survive_a_round_trip(
    mono: Pair, tmp_path: Path
) -> None:
    processor = mono.processor
    assert isinstance(processor, antiphon.MusicgenProcessor)
    assert isinstance(processor.feature_extractor, antiphon.EncodecFeatureExtractor)
    assert isinstance(processor.feature_extractor, antiphon.SequenceFeatureExtractor)
    assert isinstance(processor.tokenizer, antiphon.T5Tokenizer)
    assert processor.sampling_rate == processor.feature_extractor.sampling_rate == 32000
    assert isinstance(processor.sampling_rate, int)
    ids = processor(text=tiny.TEXTS, padding=True)["input_ids"]
    assert processor.batch_decode(ids, skip_special_tokens=True) == tiny.TEXTS
    assert processor.batch_decode(ids) == mono.their_processor.tokenizer.batch_decode(ids)
    assert processor.decode(ids[1], skip_special_tokens=True) == tiny.TEXTS[1]
    processor.save_pretrained(tmp_path)
    clip = {"audio": sound(1000).numpy(), "sampling_rate": 32000, "text": ["pop"], "padding": True}
    same(antiphon.MusicgenProcessor.from_pretrained(tmp_path)(**clip), processor(**clip))
    same(
        antiphon.AutoProcessor.from_pretrained(tmp_path)(**clip),
        transformers.AutoProcessor.from_pretrained(tmp_path)(**clip),
    )


@pytest.mark.row("R104")
@pytest.mark.parametrize("side", ["left", "right"])
def test_batch_decode_takes_out_what_was_padding(mono: Pair, side: str) -> None:
    mask = np.ones((2, 3000), dtype=np.int32)
    mask[0, :1000] = 0
    if side == "right":
        mask = mask[:, ::-1].copy()
    values = sound(2, 1, 3000 + 4 * HOP)
    ours = mono.processor.batch_decode(values, padding_mask=torch.from_numpy(mask))
    theirs = mono.their_processor.batch_decode(values, padding_mask=torch.from_numpy(mask))
    assert isinstance(ours, list)
    assert [row.shape for row in ours] == [(1, 2000 + 4 * HOP), (1, 3000 + 4 * HOP)]
    for one, other in zip(ours, theirs, strict=True):
        assert np.allclose(one, other, atol=1e-7)


@pytest.mark.row("R53")
@pytest.mark.parametrize("padding", [True, "longest", "max_length"])
def test_pad_of_the_feature_extractor_is_the_references(padding: Any) -> None:
    ours, theirs = antiphon.EncodecFeatureExtractor(), transformers.EncodecFeatureExtractor()
    batch = {"input_values": [np.ones(5, np.float32), np.ones(3, np.float32)]}
    asked = {"padding": padding, "max_length": 8 if padding == "max_length" else None, "return_tensors": "np"}
    same(ours.pad(dict(batch), **asked), theirs.pad(dict(batch), **asked))


SETTINGS: list[dict[str, Any]] = [
    {},
    {"feature_size": 2},
    ENCODEC_48,
    {"padding_side": "left", "padding_value": 0.5},
]
CALLS: list[dict[str, Any]] = [
    {},
    {"padding": True},
    {"padding": False},
    {"padding": "max_length", "max_length": 9000},
    {"truncation": True, "max_length": 2000},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("call", CALLS)
def test_the_feature_extractor_gives_the_references_arrays(settings: dict[str, Any], call: dict[str, Any]) -> None:
    ours, theirs = antiphon.EncodecFeatureExtractor(**settings), transformers.EncodecFeatureExtractor(**settings)
    shape = (2, 4000) if settings.get("feature_size") == 2 else (4000,)
    clips = [sound(*shape).numpy(), sound(*shape, seed=4).numpy()[..., :2500]]
    if call.get("padding") is False:
        clips = clips[:1]
    rate = {"sampling_rate": ours.sampling_rate}
    same(ours(clips, **call, **rate), theirs(clips, **call, **rate))
    same(ours(clips[0], **call, **rate, return_tensors="pt"), theirs(clips[0], **call, **rate, return_tensors="pt"))


def test_settings_of_the_feature_extractor_survive_the_reference_and_back(tmp_path: Path) -> None:
    antiphon.EncodecFeatureExtractor(**ENCODEC_48).save_pretrained(tmp_path)
    theirs = transformers.EncodecFeatureExtractor.from_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path / "back")
    back = antiphon.EncodecFeatureExtractor.from_pretrained(tmp_path / "back")
    for name, value in ENCODEC_48.items():
        assert getattr(theirs, name) == getattr(back, name) == value


def test_a_batch_moves_and_casts_floats_only(mono: Pair) -> None:
    batch = mono.processor(
        audio=sound(100).numpy(), sampling_rate=32000, text=["pop"], padding=True, return_tensors="pt"
    ).to("cpu", torch.float16)
    assert batch["input_values"].dtype == torch.float16
    assert batch["input_ids"].dtype == torch.int64
    assert batch["padding_mask"].dtype == torch.int32


def test_nothing_or_unequal_numbers_are_refused(mono: Pair) -> None:
    with pytest.raises(ValueError, match="neither"):
        mono.processor()
    with pytest.raises(ValueError, match="2 texts and 1 sounds"):
        mono.processor(text=tiny.TEXTS, audio=sound(100).numpy(), sampling_rate=32000, padding=True)
