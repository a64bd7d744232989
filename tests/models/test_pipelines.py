"""The text-to-audio pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import antiphon

from .conftest import Pair
from .tiny_musicgen import HOP, TEXTS

pytestmark = pytest.mark.row("R89")


@pytest.fixture(scope="module")
def pipe(mono: Pair) -> Any:
    return antiphon.pipeline("text-to-audio", model=str(mono.folder))


def test_a_text_becomes_a_flat_float_array_and_its_rate(pipe: Any, mono: Pair) -> None:
    made = pipe(TEXTS[0])
    assert set(made) == {"audio", "sampling_rate"}
    assert made["sampling_rate"] == 32000
    assert isinstance(made["sampling_rate"], int)
    assert isinstance(made["audio"], np.ndarray)
    assert made["audio"].dtype == np.float32
    assert made["audio"].shape == (27 * HOP,)  # the checkpoint's 30 new columns


def test_a_list_of_texts_becomes_a_list_and_a_text_alone_gives_what_generate_gives(pipe: Any, mono: Pair) -> None:
    made = pipe(TEXTS, forward_params={"do_sample": False, "max_new_tokens": 10})
    assert isinstance(made, list)
    assert [one["audio"].shape for one in made] == [(7 * HOP,)] * 2
    for text, one in zip(TEXTS, made, strict=True):
        inputs = mono.processor(text=[text], return_tensors="pt")
        audio = mono.ours.generate(**inputs, do_sample=False, max_new_tokens=10)
        assert np.array_equal(one["audio"], audio[0, 0].numpy())
    assert pipe([TEXTS[0]])[0]["audio"].ndim == 1


def test_the_reference_pipeline_gives_the_same_sound(pipe: Any, mono: Pair) -> None:
    import transformers

    theirs = transformers.pipeline("text-to-audio", model=mono.theirs, tokenizer=mono.their_processor.tokenizer)
    asked = {"do_sample": False, "max_new_tokens": 12}
    one, other = pipe(TEXTS[0], forward_params=asked), theirs(TEXTS[0], forward_params=asked)
    assert one["sampling_rate"] == other["sampling_rate"]
    assert one["audio"].shape == other["audio"].shape
    assert np.allclose(one["audio"], other["audio"], atol=1e-4)


def test_generate_kwargs_win_over_forward_params_and_fields_may_be_given_directly(pipe: Any) -> None:
    def length(**asked: Any) -> int:
        return int(pipe(TEXTS[0], **asked)["audio"].shape[0] // HOP)

    assert length(forward_params={"max_new_tokens": 10}, generate_kwargs={"max_new_tokens": 12}) == 9
    assert length(max_new_tokens=8) == 5
    with pytest.raises(TypeError, match="max_new_tokens"):
        pipe(TEXTS[0], max_new_token=8)
    with pytest.raises(TypeError, match="text"):
        pipe(7)


def test_the_other_spelling_a_model_object_and_stereo(mono: Pair, stereo: Pair) -> None:
    speech = antiphon.pipeline("text-to-speech", model=mono.ours, tokenizer=mono.processor.tokenizer)
    asked = {"do_sample": False, "max_new_tokens": 10}
    assert speech(TEXTS[0], forward_params=asked)["audio"].shape == (7 * HOP,)
    wide = antiphon.pipeline(model=str(stereo.folder))
    assert wide(TEXTS[0], forward_params=asked)["audio"].shape == (2, 7 * HOP)
    with pytest.raises(ValueError, match="text-to-audio"):
        antiphon.pipeline("text-to-nothing", model=mono.folder)
    with pytest.raises(ValueError, match="no model"):
        antiphon.pipeline("text-to-audio")


def test_without_any_stated_length_256_columns_are_made(mono: Pair) -> None:
    model = antiphon.MusicgenForConditionalGeneration.from_pretrained(mono.folder)
    model.generation_config.max_length = None
    pipe = antiphon.pipeline("text-to-audio", model=model, tokenizer=mono.processor.tokenizer)
    assert pipe(TEXTS[0], seed=1)["audio"].shape == (253 * HOP,)


def test_seeds_number_the_texts_and_a_dtype_is_obeyed(pipe: Any, mono: Pair) -> None:
    asked = {"seed": 5, "max_new_tokens": 10}
    one, two = pipe([TEXTS[0], TEXTS[0]], **asked)
    assert np.array_equal(one["audio"], pipe(TEXTS[0], **asked)["audio"])
    assert np.array_equal(two["audio"], pipe(TEXTS[0], seed=6, max_new_tokens=10)["audio"])
    half = antiphon.pipeline("text-to-audio", model=str(mono.folder), dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    assert half(TEXTS[0], **asked)["audio"].dtype == np.float32
