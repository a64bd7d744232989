"""A checkpoint of musicgen-small's published sizes with random weights: what a step costs does not depend on them."""

from __future__ import annotations

from pathlib import Path

import torch

from antiphon.models.configuration import CONFIG_NAME
from antiphon.models.encodec import EncodecConfig
from antiphon.models.musicgen import MusicgenForConditionalGeneration
from antiphon.models.musicgen_config import MusicgenConfig, MusicgenDecoderConfig
from antiphon.models.t5 import T5Config


def published_small() -> MusicgenConfig:
    """The configuration of ``facebook/musicgen-small``: 587 million parameters."""
    return MusicgenConfig(
        text_encoder=T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12),
        audio_encoder=EncodecConfig(
            sampling_rate=32_000,
            target_bandwidths=[2.2],
            num_filters=64,
            upsampling_ratios=[8, 5, 4, 4],
            codebook_size=2048,
            use_causal_conv=False,
            use_conv_shortcut=False,
        ),
        decoder=MusicgenDecoderConfig(),
    )


def write_random(folder: Path, config: MusicgenConfig) -> Path:
    """Writes a checkpoint with random weights of seed 0 into ``folder``, unless one is there, and gives the folder.

    There is no tokenizer in it: whoever measures passes numbers.
    """
    if (folder / CONFIG_NAME).exists():
        return folder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MusicgenForConditionalGeneration(config)
        for codebook in model.audio_encoder.codec.quantizer.codebooks:
            codebook.vectors.normal_()
    start = config.decoder.vocab_size  # the token before the codes
    model.generation_config.update(decoder_start_token_id=start, max_length=1500, do_sample=True, guidance_scale=3.0)
    model.save_pretrained(folder)
    return folder
