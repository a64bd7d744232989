"""The listening model that comes with the package: there, small, an ordinary checkpoint, and it hears."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from antiphon import Audio
from antiphon.checkpoints.built_in import LISTENER
from antiphon.checkpoints.store import open_weights
from antiphon.tasks.listener import Listener
from antiphon.tasks.load import load

from ..built_in_folders import folder_of
from ..tunes import tune

QUESTION = "Is it slow, mid-tempo or fast?"


@pytest.fixture(scope="module")
def folder() -> Path:
    return folder_of(LISTENER)


@pytest.fixture(scope="module")
def listener() -> Listener:
    return load(LISTENER)


def test_it_is_as_small_as_was_promised_in_16_bits(folder: Path) -> None:
    assert sum(file.stat().st_size for file in folder.iterdir()) < 16e6
    with open_weights(folder) as weights:
        assert {weights[name].dtype for name in weights} == {torch.float16}


def test_transformers_opens_it_and_gives_the_same_logits(folder: Path, listener: Listener) -> None:
    theirs = transformers.MusicFlamingoForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    sound = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    asked = [{"role": "user", "content": [{"type": "audio", "audio": sound}, {"type": "text", "text": QUESTION}]}]
    inputs = processor.apply_chat_template(asked, tokenize=True, return_dict=True, add_generation_prompt=True)
    with torch.no_grad():
        expected = theirs(**inputs).logits
        got = listener.model(**inputs).logits
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_it_answers_and_fills_in_the_form_of_what_it_hears(listener: Listener) -> None:
    sound = tune([0, 2, 4, 0, 0, 2, 4, 0])
    assert isinstance(sound, Audio)
    assert listener.ask(sound, "Is it major or minor?").text in ("major", "minor")
    assert listener.ask(sound, QUESTION).text in ("slow", "mid-tempo", "fast")
    assert listener.ask(sound, "Is it major or minor?").finish == "end"
