"""The models that come with the package: there, small, ordinary checkpoints, and they make music without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from antiphon import Audio
from antiphon.checkpoints.built_in import MELODY, MUSIC
from antiphon.checkpoints.store import open_weights
from antiphon.cli.app import run
from antiphon.tasks.composer import Composer
from antiphon.tasks.load import load

from ..built_in_folders import folder_of
from ..tunes import tune

TEXTS = ["80s pop track with bassy drums and synth", "90s rock song with loud guitars and heavy drums"]
_KINDS = {MUSIC: "MusicgenForConditionalGeneration", MELODY: "MusicgenMelodyForConditionalGeneration"}


def _megabytes(files: Any) -> float:
    return sum(file.stat().st_size for file in files) / 1e6


@pytest.fixture(scope="module")
def compose() -> Composer:
    return load()


@pytest.fixture(scope="module")
def follow() -> Composer:
    return load(MELODY)


def test_they_are_as_small_as_was_promised() -> None:
    assert _megabytes(folder_of(MUSIC).iterdir()) < 35
    own = [f for f in folder_of(MELODY).iterdir() if not (folder_of(MUSIC) / f.name).exists() or _differ(f)]
    assert _megabytes(own) < 22


def _differ(file: Path) -> bool:
    return file.read_bytes() != (folder_of(MUSIC) / file.name).read_bytes()


def test_they_share_the_files_of_codec_and_text_encoder() -> None:
    for number in (1, 2):
        assert not _differ(folder_of(MELODY) / f"model-{number:05d}-of-00003.safetensors")
    assert _differ(folder_of(MELODY) / "model-00003-of-00003.safetensors")


@pytest.mark.parametrize("name", [MUSIC, MELODY])
def test_every_number_has_16_bits(name: str) -> None:
    with open_weights(folder_of(name)) as weights:
        assert {tensor.dtype for tensor in map(weights.__getitem__, weights)} <= {torch.float16, torch.int64}


@pytest.mark.parametrize("name", [MUSIC, MELODY])
def test_transformers_opens_them_and_gives_the_same_logits(name: str) -> None:
    theirs = getattr(transformers, _KINDS[name]).from_pretrained(folder_of(name), dtype=torch.float32).eval()
    inputs = transformers.AutoTokenizer.from_pretrained(folder_of(name))(TEXTS, padding=True, return_tensors="pt")
    ours = load(name).model
    codes = torch.randint(0, 1024, (2 * 4, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(**inputs, decoder_input_ids=codes).logits
        got = ours(**inputs, decoder_input_ids=codes).logits
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_a_piece_is_sound_and_the_same_seed_repeats_it(compose: Composer) -> None:
    piece, again = (compose(TEXTS[0], seconds=2, seed=3) for _ in range(2))
    assert np.array_equal(piece.samples, again.samples)
    assert piece.seconds == pytest.approx(2, abs=0.05)
    assert -40 < piece.rms_dbfs < -6
    assert piece.peak <= 1
    assert not np.array_equal(piece.samples, compose(TEXTS[0], seconds=2, seed=4).samples)


def test_other_words_make_another_piece(compose: Composer) -> None:
    one, other = (compose(text, seconds=2, seed=3).samples for text in TEXTS)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.5


def test_a_melody_leads(follow: Composer, compose: Composer) -> None:
    melody = tune([0, 2, 4, 0, 4, 5, 7, 7, 7, 5, 4, 0])
    led = [follow.agreement(follow("piano", seconds=6, seed=seed, melody=melody), melody) for seed in (1, 2, 3)]
    free = [follow.agreement(follow("piano", seconds=6, seed=seed), melody) for seed in (1, 2, 3)]
    assert np.mean([one.share for one in led]) > np.mean([one.share for one in free]) + 0.15


def test_the_command_needs_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTIPHON_MODEL", raising=False)
    out = tmp_path / "a.wav"
    assert run(["generate", TEXTS[1], "--seconds", "1", "--seed", "1", "-o", str(out)]) == 0
    assert Audio.load(out).model == MUSIC
