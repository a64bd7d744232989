"""Models read from files that audiocraft saved answer as audiocraft's own did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import antiphon

from ..checkpoints.originals import KINDS, answers, elsewhere, golden, write_codec, write_text_encoder


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A kind and our model of it."""
    text_encoder = write_text_encoder(tmp_path_factory.mktemp("t5"))
    places = elsewhere(request.param, text_encoder, write_codec(tmp_path_factory.mktemp("codec")))
    return request.param, antiphon.AutoModelForTextToWaveform.from_pretrained(golden(request.param), **places)


def test_logits_are_those_of_audiocraft(model: Any) -> None:
    kind, ours = model
    asked = answers(kind)
    with torch.no_grad():
        states = ours.enc_to_dec_proj(asked["text"])
        if kind == "melody":
            states = torch.cat([ours.audio_enc_to_dec_proj(asked["chroma"]), states], dim=1)
        logits = ours.decoder(asked["columns"].flatten(0, 1), encoder_hidden_states=states).logits
    logits = logits[:, -asked["columns"].shape[-1] :]
    wanted = asked["logits"].flatten(0, 1)
    assert (logits - wanted).abs().max() < 1e-5 * wanted.abs().max()


PADS, LAST = 2, 3  # places of padding, and columns whose logits are kept behind it


def test_pads_of_a_text_are_seen_by_audiocraft_and_by_us_unless_they_are_masked(model: Any) -> None:
    kind, ours = model
    asked = answers(kind)
    states = torch.nn.functional.pad(ours.enc_to_dec_proj(asked["text"]), (0, 0, 0, PADS))
    mask = torch.ones(states.shape[:2], dtype=torch.long)
    mask[:, -PADS:] = 0
    if kind == "melody":
        melody = ours.audio_enc_to_dec_proj(asked["chroma"])
        states, mask = torch.cat([melody, states], dim=1), torch.cat([torch.ones(melody.shape[:2]).long(), mask], dim=1)
    columns = asked["columns"].flatten(0, 1)
    with torch.no_grad():
        seen = ours.decoder(columns, encoder_hidden_states=states).logits[:, -LAST:]
        masked = ours.decoder(columns, encoder_hidden_states=states, encoder_attention_mask=mask).logits[:, -LAST:]
    theirs, alone = asked["logits_padded"].flatten(0, 1), asked["logits"].flatten(0, 1)[:, -LAST:]
    assert (seen - theirs).abs().max() < 1e-5 * theirs.abs().max()
    assert (theirs - alone).abs().max() > 1e-3 * alone.abs().max()
    # a melody's columns stand behind the pads, so that masked or not they are at other places
    assert bool((masked - alone).abs().max() < 1e-5 * alone.abs().max()) is (kind != "melody")


def test_codes_and_sounds_are_those_of_audiocraft(model: Any) -> None:
    _, ours = model
    asked = answers("mono")  # all kinds have the codec of this one
    with torch.no_grad():
        codes = ours.audio_encoder.encode(asked["sound"]).audio_codes
        decoded = ours.audio_encoder.decode(codes, [None]).audio_values
    assert torch.equal(codes[0], asked["codes"])
    assert (decoded - asked["decoded"]).abs().max() < 1e-5


def test_the_answers_of_the_kinds_differ() -> None:
    found = [answers(kind)["logits"][:, :4] for kind in KINDS]
    assert all((found[0] - other).abs().max() > 1e-2 for other in found[1:])


def test_the_files_are_small_enough_to_be_kept() -> None:
    files = [file for kind in KINDS for file in Path(golden(kind)).iterdir()]
    assert sum(file.stat().st_size for file in files) < 400_000
