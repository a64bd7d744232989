"""Faults C of the Melody classes: what a call and ``generate`` answer to bad melodies and masks that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import antiphon
from antiphon.errors import AntiphonError, NumericError, ParamError

from .conftest import tiny_config

FRAMES = 5


@pytest.fixture(scope="module")
def model() -> Any:
    """A tiny Melody model with two layers; tests must not change it."""
    parts = tiny_config().to_dict()
    parts["decoder"]["model_type"] = "musicgen_melody_decoder"
    config = antiphon.MusicgenMelodyConfig(
        **{name: parts[name] for name in ("text_encoder", "audio_encoder", "decoder")}, chroma_length=FRAMES
    )
    torch.manual_seed(0)
    made = antiphon.MusicgenMelodyForConditionalGeneration(config).eval()
    made.generation_config.update(decoder_start_token_id=32, max_length=12)
    return made


@pytest.fixture
def make(model: Any) -> Callable[..., torch.Tensor]:
    """Eight greedy columns under two texts and whatever is given."""

    def run(**given: Any) -> torch.Tensor:
        ids = torch.tensor([[5, 6, 1], [7, 1, 0]])
        texts = {"input_ids": ids, "attention_mask": (ids > 0).long()}
        sound: torch.Tensor = model.generate(**{**texts, "do_sample": False, "max_new_tokens": 8, **given})
        return sound

    return run


def melody(*shape: int) -> torch.Tensor:
    """The second note throughout."""
    features = torch.zeros(*shape)
    features[..., 1] = 1
    return features


BAD = {
    "one row's own shape": torch.ones(5, 12),
    "a number": torch.tensor(1.0),
    "five dimensions": torch.ones(2, 1, 5, 12, 1),
    "thirteen notes": torch.ones(2, 5, 13),
    "one note": torch.ones(2, 5, 1),
    "no frames": torch.ones(2, 0, 12),
    "not a number": torch.full((2, 5, 12), float("nan")),
    "infinity": torch.full((2, 5, 12), float("inf")),
    "complex": torch.ones(2, 5, 12, dtype=torch.complex64),
    "a list": [[[1.0] * 12] * 5] * 2,
    "a text": "la la la",
}


@pytest.mark.parametrize("features", BAD.values(), ids=BAD)
def test_F064_what_is_no_melody_is_refused_by_name_in_every_call(
    features: Any, model: Any, make: Callable[..., torch.Tensor]
) -> None:
    with pytest.raises(AntiphonError, match="input_features"):
        make(input_features=features)
    with pytest.raises(AntiphonError, match="input_features"):
        model(input_features=features, decoder_input_ids=torch.full((8, 1), 32))
    with pytest.raises(AntiphonError, match="input_features"):
        model.stream(input_features=features, max_new_tokens=8)


@pytest.mark.parametrize("rows", [1, 3])
def test_F055_another_number_of_melodies_than_texts_is_refused_with_both_numbers(
    rows: int, model: Any, make: Callable[..., torch.Tensor]
) -> None:
    with pytest.raises(ParamError, match=rf"(?s)({rows}.*2|2.*{rows})"):
        make(input_features=melody(rows, 5, 12))
    with pytest.raises(ParamError, match=rf"(?s)({rows}.*2|2.*{rows})"):
        model(
            input_ids=torch.tensor([[5, 1]] * 2),
            input_features=melody(rows, 5, 12),
            decoder_input_ids=torch.full((8, 1), 32),
        )


MASKS = {
    "another length": torch.ones(2, 4),
    "another number of rows": torch.ones(3, 5),
    "one dimension": torch.ones(5),
    "three dimensions": torch.ones(2, 5, 12),
    "a row without a frame": torch.tensor([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]),
    "a two": torch.full((2, 5), 2),
    "not a number": torch.full((2, 5), float("nan")),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_F055_a_mask_that_does_not_fit_the_melody_is_refused_by_name(
    mask: torch.Tensor, make: Callable[..., torch.Tensor]
) -> None:
    with pytest.raises(ParamError, match="input_features_mask"):
        make(input_features=melody(2, 5, 12), input_features_mask=mask)


def test_F055_a_mask_without_a_melody_is_refused_by_name(make: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(ParamError, match="input_features_mask"):
        make(input_features_mask=torch.ones(2, 5))


def test_F055_masks_of_another_shape_than_their_text_or_prefix_are_refused(
    model: Any, make: Callable[..., torch.Tensor]
) -> None:
    with pytest.raises(AntiphonError, match="attention_mask"):
        make(attention_mask=torch.ones(2, 5))
    with pytest.raises(AntiphonError, match="encoder_attention_mask"):
        model.decoder(
            torch.full((8, 1), 32), encoder_hidden_states=torch.zeros(2, 4, 16), encoder_attention_mask=torch.ones(2, 3)
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool])
def test_F064_a_melody_of_any_real_type_is_taken(dtype: torch.dtype, make: Callable[..., torch.Tensor]) -> None:
    features = melody(2, 5, 12)
    assert torch.equal(make(input_features=features.to(dtype)), make(input_features=features))


def test_F059_guidance_without_text_and_without_melody_weighs_nothing_against_nothing(
    model: Any, make: Callable[..., torch.Tensor]
) -> None:
    asked = {"do_sample": False, "max_new_tokens": 8}
    for scale in (1.0, 3.0, 1e9):
        assert model.generate(**asked, guidance_scale=scale).isfinite().all()
        assert model.generate(**asked, guidance_scale=scale, input_features=melody(1, 5, 12)).isfinite().all()
    with pytest.raises(ParamError, match="guidance_scale"):
        make(input_features=melody(2, 5, 12), guidance_scale=float("nan"))


def test_F061_a_misspelt_melody_is_an_error_that_names_the_argument(
    model: Any, make: Callable[..., torch.Tensor]
) -> None:
    with pytest.raises(TypeError, match="input_features"):
        make(input_feature=melody(2, 5, 12))
    with pytest.raises(TypeError, match="input_features"):
        model(input_feature=melody(2, 5, 12), decoder_input_ids=torch.full((8, 1), 32))


def test_F064_a_melody_and_the_whole_prefix_are_not_both_taken(model: Any) -> None:
    with pytest.raises(ParamError, match="encoder_hidden_states"):
        model(
            input_features=melody(2, 5, 12),
            encoder_hidden_states=torch.zeros(2, 4, 16),
            decoder_input_ids=torch.full((8, 1), 32),
        )


def test_F068_weights_that_are_not_finite_end_the_call_with_step_and_codebook(model: Any) -> None:
    spoiled = antiphon.MusicgenMelodyForConditionalGeneration(model.config).eval()
    spoiled.generation_config.update(decoder_start_token_id=32)
    with torch.no_grad():
        spoiled.audio_enc_to_dec_proj.weight.fill_(float("nan"))
    with pytest.raises(NumericError, match="step"):
        spoiled.generate(input_features=melody(1, 5, 12), do_sample=False, max_new_tokens=8)
