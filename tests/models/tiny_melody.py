"""Tiny random MusicGen Melody checkpoints, built and written by transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from . import tiny_musicgen as tiny

CHROMA = 12
CHROMA_LENGTH = 9  # frames of the melody in front of the text, where a test does not say otherwise

# The reference's feature extractor needs torchaudio even to be constructed, so its file is written out here.
FEATURES = {
    "chunk_length": 30,
    "feature_extractor_type": "MusicgenMelodyFeatureExtractor",
    "feature_size": CHROMA,
    "hop_length": 4096,
    "n_fft": 16384,
    "n_samples": 960000,
    "padding_side": "right",
    "padding_value": 0.0,
    "processor_class": "MusicgenMelodyProcessor",
    "return_attention_mask": False,
    "sampling_rate": 32000,
    "stem_indices": [3, 2],
}


def melody(channels: int = 1, *, chroma_length: int = CHROMA_LENGTH, **settings: Any) -> Any:
    """A MusicGen Melody of the oracle; further settings as ``tiny_musicgen.composite`` takes them."""
    model = tiny.composite(
        transformers.MusicgenMelodyForConditionalGeneration,
        transformers.MusicgenMelodyDecoderConfig,
        channels,
        fields={"num_chroma": CHROMA, "chroma_length": chroma_length},
        **settings,
    )
    with torch.no_grad():
        if hasattr(model, "enc_to_dec_proj"):
            model.enc_to_dec_proj.weight.mul_(8)  # a token of text among the columns' own
        if hasattr(model, "audio_enc_to_dec_proj"):
            model.audio_enc_to_dec_proj.weight.mul_(50)
            model.audio_enc_to_dec_proj.bias.normal_(std=0.3)
    return model


def write(model: Any, folder: Path, **saving: Any) -> Path:
    """Saves the model and the tokenizer as the oracle does, and the feature extractor's file as it would."""
    model.save_pretrained(folder, **saving)
    tiny.tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(FEATURES, indent=2))
    return folder


def chroma(rows: int, frames: int, *, seed: int = 3) -> Tensor:
    """Melodies (rows, frames, 12), one note a frame."""
    notes = torch.randint(0, CHROMA, (rows, frames), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.one_hot(notes, CHROMA).float()


def null(rows: int, frames: int = 1) -> Tensor:
    """What stands for no melody: the first note throughout."""
    return torch.nn.functional.one_hot(torch.zeros(rows, frames, dtype=torch.long), CHROMA).float()


def tiled(features: Tensor, length: int = CHROMA_LENGTH) -> Tensor:
    """The first ``length`` frames of a melody that is repeated without end."""
    return features[:, torch.arange(length) % features.shape[1]]
