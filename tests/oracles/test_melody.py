"""What stands in front of the columns, the logits and the codes to melodies are audiocraft's."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .given_text import without_text
from .melodies import CASES, composed, one_hot, text_inputs


@torch.no_grad()
def test_logits_and_what_stands_in_front_are_those_of_audiocraft(melody_model: Any) -> None:
    source, model = melody_model
    texts = ["one", "brief", None, None]
    # melody and text in two rows, behind them two with the null melody and no text, as guidance has them
    tokens = without_text(model.text_encoder.tokenizer(["one", "brief", "brief", "brief"]), texts)
    pitches = torch.cat([source["chroma"], torch.zeros_like(source["chroma"])])
    out = model(**tokens, input_features=one_hot(pitches), decoder_input_ids=source["columns"].flatten(0, 1))
    assert (out.encoder_hidden_states[..., ::2] - source["prefix"]).abs().max() < 1e-5
    logits = out.logits[:, -source["columns"].shape[-1] :]
    assert (logits[..., ::8] - source["logits"].flatten(0, 1)).abs().max() < 1e-4 * source["logits"].abs().max()


def test_audiocraft_sees_pads_and_no_text_as_zeros_behind_the_melody(melody_model: Any) -> None:
    source, _ = melody_model
    melody, text = source["prefix"].split([source["chroma"].shape[-1], 7], dim=1)
    places = text.abs().amax(-1) > 0
    assert places.tolist() == [[True] * 7, [True] * 4 + [False] * 3, [False] * 7, [False] * 7]
    assert torch.equal(melody[1:], melody[2, :1].expand_as(melody[1:]))  # no melody is the same in every frame
    assert not torch.equal(melody[0], melody[1])


@torch.no_grad()
def test_no_melody_is_the_melody_of_silence(melody_model: Any) -> None:
    source, model = melody_model
    tokens = text_inputs(model, ["one", "brief"])
    columns = source["columns"][:2].flatten(0, 1)
    without = model(**tokens, decoder_input_ids=columns).logits
    silence = one_hot(torch.zeros_like(source["chroma"]))
    assert torch.equal(without, model(**tokens, input_features=silence, decoder_input_ids=columns).logits)


@pytest.mark.parametrize("name", CASES)
def test_codes_are_those_of_audiocraft(melody_model: Any, name: str) -> None:
    source, model = melody_model
    case, inputs = CASES[name], {}
    if case["melodies"]:
        heard = one_hot(source[f"chroma.{name}"]).transpose(0, 1)  # (W, B, F, C) to (B, W, F, C)
        inputs["input_features"] = heard if heard.shape[1] > 1 else heard[:, 0]
    assert torch.equal(composed(model, source, case, **inputs), source[f"codes.{name}"])


@pytest.mark.parametrize("name", ["melodies_of_two_lengths", "texts_of_two_lengths", "one_text"])
def test_a_neighbour_that_is_longer_changes_what_audiocraft_makes_of_an_item(melody_model: Any, name: str) -> None:
    source, _ = melody_model
    same = [bool((a == b).all()) for a, b in zip(source[f"codes.{name}"], source[f"alone.{name}"], strict=True)]
    assert sorted(same) == [False, True]
