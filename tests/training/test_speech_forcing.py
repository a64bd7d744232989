"""Moshi in training: the columns of generation, what counts, and that it learns."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from antiphon.errors import ParamError
from antiphon.models.moshi import MoshiForConditionalGeneration
from antiphon.training.settings import SpeechLossWeights
from antiphon.training.speech import SpeechObjective
from antiphon.training.speech_forcing import SpeechForcing
from antiphon.training.words import PADDING

from ..models.tiny_moshi import CODES, TEXTS, pair
from .overfitting import overfitted

BOOKS = 4


@functools.cache
def moshi() -> MoshiForConditionalGeneration:
    """A tiny Moshi. Shared: leave it as it is."""
    model: MoshiForConditionalGeneration = pair("MoshiForConditionalGeneration")[1]
    return model


def batch(rows: int = 2, length: int = 6, *, seed: int = 1) -> dict[str, Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    text = torch.randint(0, TEXTS, (rows, length), generator=numbers)
    text[:, ::2] = PADDING
    return {"codes": torch.randint(0, CODES, (rows, 2 * BOOKS, length), generator=numbers), "text": text}


def losses(given: dict[str, Any], **weights: float) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        total, each = SpeechForcing(moshi(), SpeechLossWeights(**weights))(given)
    return total, each


def test_what_generation_says_is_what_training_expects() -> None:
    model = moshi()
    out = model.generate(max_new_tokens=7, return_audio_codes=True)
    silent = model.audio_encoder.encode(torch.zeros(1, 1, 1920), num_quantizers=BOOKS)[0]
    own = out.audio_codes
    frames = own.shape[-1]
    text = out.sequences[:, 1 : 1 + frames]
    given = {"codes": torch.cat([own, silent.expand(-1, -1, frames)], dim=1), "text": text}
    _, said = losses(given, text_padding=1.0)
    for place in range(frames):
        for token in range(0, TEXTS, 5):
            # greedy: any other last word is less probable
            other = text[:, : place + 1].clone()
            other[:, place] = token
            shorter = {"codes": given["codes"][..., : place + 1], "text": other}
            kept = {**shorter, "text": text[:, : place + 1]}
            assert losses(shorter, text_padding=1.0)[1][0] >= losses(kept, text_padding=1.0)[1][0] - 1e-4
    other = given["codes"].clone()
    other[:, 1, frames - 2] = (other[:, 1, frames - 2] + 1) % CODES
    assert losses({**given, "codes": other}, text_padding=1.0)[1][2] > said[2]


def test_nothing_is_predicted_from_itself_or_from_what_comes() -> None:
    given = batch(1, 6)
    changed = {name: part.clone() for name, part in given.items()}
    changed["codes"][..., 5] = (changed["codes"][..., 5] + 1) % CODES
    changed["text"][:, 5] = 7
    short = {name: part[..., :5] for name, part in given.items()}
    for one in (given, changed):
        cut = {"codes": one["codes"], "text": one["text"], "frames": torch.tensor([5])}
        assert torch.allclose(losses(cut)[1], losses(short)[1], atol=1e-4)


def test_rows_of_different_lengths_are_what_they_are_alone() -> None:
    given = batch(2, 6)
    given["frames"] = torch.tensor([6, 4])
    alone = [
        losses({name: given[name][row : row + 1, ..., :count] for name in ("codes", "text")})[0]
        for row, count in ((0, 6), (1, 4))
    ]
    assert float(losses(given)[0]) == pytest.approx(float(alone[0] + alone[1]), rel=1e-5)
    assert SpeechObjective(moshi()).weight(given) == 10


def test_weights_are_those_of_padding_and_of_the_first_codebook() -> None:
    given = batch()
    (none, words), (whole, both) = losses(given, text_padding=0.0), losses(given, text_padding=1.0)
    half, middle = losses(given)
    assert float(middle[0]) == pytest.approx(float(words[0] + both[0]) / 2, rel=1e-5)
    assert float(whole - none) == pytest.approx(float(both[0] - words[0]), rel=1e-3)
    assert float(half) == pytest.approx(float(middle[0] + middle[1:].mean()), rel=1e-5)
    heavy, each = losses(given, first_codebook=100.0)
    assert float(heavy) == pytest.approx(float(each[0] + (100 * each[1] + each[2:].sum()) / 103), rel=1e-5)


def test_the_user_is_heard_and_not_learnt() -> None:
    given = batch()
    changed = given["codes"].clone()
    changed[:, BOOKS, 2] = (changed[:, BOOKS, 2] + 1) % CODES
    assert not torch.equal(losses({**given, "codes": changed})[1], losses(given)[1])
    last = given["codes"].clone()
    last[:, BOOKS:, -1] = 0
    assert torch.equal(losses({**given, "codes": last})[1], losses(given)[1])


def test_one_batch_is_learnt() -> None:
    model = MoshiForConditionalGeneration(moshi().config)
    objective = SpeechObjective(model)
    found = overfitted(objective, batch(), steps=40)
    assert found[-1] < 0.3 * found[0]
    assert all(p.grad is None for p in model.audio_encoder.parameters())
    assert any(p.grad is not None for p in model.depth_decoder.parameters())


def test_shapes_that_do_not_fit_are_refused() -> None:
    given = batch()
    for name, part in (("codes", given["codes"][:, :3]), ("text", given["text"][:, :4])):
        with pytest.raises(ParamError, match="codes of shape"):
            losses({**given, name: part})
