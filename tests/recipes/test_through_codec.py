"""The built-in listener hears pieces as the codec gives them back too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import antiphon
from antiphon.checkpoints.built_in import MUSIC
from antiphon.tasks.transcoder import Transcoder
from antiphon.training.coded_format import CodedFormat, CodedItem
from antiphon.training.coded_music import CodedMusic
from recipes.builtin import hearing
from recipes.builtin.asked import AskedPieces
from recipes.builtin.through_codec import ThroughCodec

from ..built_in_folders import folder_of

HOP, FRAMES = 640, 600


@pytest.fixture(scope="module")
def codec() -> Path:
    return folder_of(MUSIC)


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Codes of twelve seconds for the five pieces, in another order than theirs."""
    folder = tmp_path_factory.mktemp("coded") / "codes"
    random = np.random.default_rng(0)
    names = ["3", "0", "4", "1", "2"]
    items = [
        CodedItem(codes=random.integers(0, 1024, (4, FRAMES)), texts=("a piece",), key=name, name=name)
        for name in names
    ]
    form = CodedFormat(codebooks=4, codebook_size=1024, sampling_rate=32_000, hop_samples=HOP)
    CodedMusic.write(folder, items, format=form)
    return folder


def test_a_passage_is_what_its_codes_decode_to_from_the_frame_in_which_it_begins(coded: Path, codec: Path) -> None:
    random = np.random.default_rng(0)
    codes = torch.from_numpy(random.integers(0, 1024, (4, FRAMES)))  # of piece 3, which was written first
    model = antiphon.EncodecModel.from_pretrained(codec, dtype=torch.float32).eval()
    sound, start = ThroughCodec(coded, codec).sound("3", 10 * HOP + 7, 20 * HOP)
    assert start == 10 * HOP
    assert sound.shape == (20 * HOP,)
    with torch.no_grad():
        wanted = model.decode(codes[None, None, :, 10:30], [None]).audio_values[0, 0]
    assert torch.equal(torch.from_numpy(sound), wanted)


def test_a_render_is_judged_after_the_codec_too(codec: Path) -> None:
    transcoder = Transcoder.load(codec)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 32_000).astype(np.float32)
    plain, through = (hearing.heard(antiphon.Audio(tone, 32_000), 16_000, by) for by in (None, transcoder))
    assert plain.shape == through.shape == (16_000,)
    assert not np.allclose(plain, through, atol=1e-2)
    spectrum = np.abs(np.fft.rfft(through))
    assert abs(int(spectrum[20:].argmax()) + 20 - 440) <= 2  # still that tone
    assert len(hearing.heard(antiphon.Audio(np.zeros(12 * 32_000, np.float32), 32_000), 16_000)) == 160_000


def test_half_of_the_passages_are_heard_through_it_and_begin_where_they_say(
    begun: Path, pieces: Path, coded: Path, codec: Path
) -> None:
    processor = antiphon.AutoProcessor.from_pretrained(begun)
    asked = begun.parent / "asked"
    data = AskedPieces(pieces, asked, processor, seconds=2, through_codec=ThroughCodec(coded, codec))
    plain = AskedPieces(pieces, asked, processor, seconds=2)
    changed = 0
    for seed in range(24):
        one, other = (given.example(3, np.random.default_rng(seed)) for given in (data, plain))
        assert one["name"] == other["name"] == "3"
        assert one["turns"] == other["turns"]
        assert one["samples"].shape == other["samples"].shape == (32_000,)
        if np.array_equal(one["samples"], other["samples"]):
            assert one["start_s"] == other["start_s"]
        else:
            changed += 1
            assert 0 <= other["start_s"] - one["start_s"] < HOP / 32_000
            assert one["start_s"] * 32_000 % HOP == pytest.approx(0, abs=1e-6)
    assert 6 <= changed <= 18
