"""A tiny MusicGen checkpoint, made by Antiphon's own classes, for faults at the level of models and calls."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from antiphon.models.encodec import EncodecConfig
from antiphon.models.encodec_features import EncodecFeatureExtractor
from antiphon.models.musicgen import MusicgenConfig, MusicgenDecoderConfig, MusicgenForConditionalGeneration
from antiphon.models.musicgen_processor import MusicgenProcessor
from antiphon.models.t5 import T5Config
from antiphon.text.t5_tokenizer import T5Tokenizer

WORDS = ["pop", "track", "with", "loud", "drums", "and", "a", "slow", "quiet", "song"]


def tiny_config(**decoder: Any) -> MusicgenConfig:
    """25 frames a second of 64 samples, 4 codebooks of 32 codes."""
    sizes = {"vocab_size": 32, "hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return MusicgenConfig(
        text_encoder=T5Config(vocab_size=48, d_model=12, d_kv=4, d_ff=16, num_layers=1, num_heads=2),
        audio_encoder=EncodecConfig(
            sampling_rate=1600,
            target_bandwidths=[0.5],
            num_filters=2,
            hidden_size=8,
            codebook_size=32,
            upsampling_ratios=[8, 4, 2],
            use_causal_conv=False,
            use_conv_shortcut=False,
            num_lstm_layers=1,
        ),
        decoder=MusicgenDecoderConfig(**{**sizes, "pad_token_id": 32, "bos_token_id": 32, **decoder}),
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The products of a tiny model are too short to share: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a whole checkpoint; tests must not change it."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    model = MusicgenForConditionalGeneration(tiny_config()).eval()
    with torch.no_grad():
        for codebook in model.audio_encoder.codec.quantizer.codebooks:
            codebook.vectors.normal_()
        for parameter in model.decoder.parameters():
            if parameter.dim() == 2:  # logits far enough apart that no choice is a tie
                parameter.mul_(8)
    model.generation_config.update(decoder_start_token_id=32, max_length=12)
    model.save_pretrained(folder)
    pieces = [(f"\u2581{word}", -3.0) for word in WORDS] + [(letter, -6.0) for letter in "abcdefghijklmnopqrst"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -4.0), *pieces]
    tokenizer = T5Tokenizer(vocabulary, extra_ids=0)
    MusicgenProcessor(EncodecFeatureExtractor(1, 1600, padding_side="left"), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that a test may spoil."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> MusicgenForConditionalGeneration:
    """The model; tests must not change it."""
    return MusicgenForConditionalGeneration.from_pretrained(tiny_folder)


@pytest.fixture(scope="session")
def tiny_processor(tiny_folder: Path) -> MusicgenProcessor:
    """The processor; tests must not change it."""
    return MusicgenProcessor.from_pretrained(tiny_folder)
