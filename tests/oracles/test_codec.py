"""The codec's numbers are audiocraft's, padded by reflection and with zeros."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import antiphon

from .goldens import codec_config, golden

GOLDEN = golden("codec")


@pytest.fixture(scope="module", params=["reflect", "constant"])
def compared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The way of padding, and a codec read from a checkpoint with audiocraft's weights, older spellings included."""
    folder = tmp_path_factory.mktemp(request.param)
    codec_config(request.param).save_pretrained(folder)
    save_file(GOLDEN.weights("encoder.", "decoder.", "quantizer."), folder / "model.safetensors")
    return request.param, antiphon.EncodecModel.from_pretrained(folder)


def test_latents_and_codes_of_a_sound_are_those_of_audiocraft(compared: Any) -> None:
    pad_mode, codec = compared
    with torch.no_grad():
        latents = codec.encoder(GOLDEN["sounds"])
        codes = codec.encode(GOLDEN["sounds"]).audio_codes
    assert (latents - GOLDEN[f"{pad_mode}.latents"]).abs().max() < 1e-5
    assert torch.equal(codes[0], GOLDEN[f"{pad_mode}.encoded"])


def test_the_sound_of_codes_is_that_of_audiocraft(compared: Any) -> None:
    pad_mode, codec = compared
    with torch.no_grad():
        sound = codec.decode(GOLDEN["codes"][None], [None]).audio_values
    assert (sound[..., ::20] - GOLDEN[f"{pad_mode}.decoded"]).abs().max() < 1e-5


def test_the_ways_of_padding_differ_where_a_sound_begins_and_ends() -> None:
    reflected, zeros = GOLDEN["reflect.decoded"], GOLDEN["constant.decoded"]
    assert (reflected - zeros)[..., :32].abs().max() > 1e-3
