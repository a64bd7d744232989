"""Checkpoints of published sizes with random weights: what a step costs does not depend on them."""

from __future__ import annotations

from pathlib import Path

import torch

from antiphon.models import registry
from antiphon.models.configuration import CONFIG_NAME
from antiphon.models.encodec import EncodecConfig
from antiphon.models.musicgen_config import MusicCompositeConfig, MusicgenConfig, MusicgenDecoderConfig
from antiphon.models.musicgen_melody_config import MusicgenMelodyConfig, MusicgenMelodyDecoderConfig
from antiphon.models.t5 import T5Config


def published_small() -> MusicgenConfig:
    """The configuration of ``facebook/musicgen-small``: 587 million parameters."""
    return MusicgenConfig(text_encoder=_text_encoder(), audio_encoder=_codec(), decoder=MusicgenDecoderConfig())


def published_melody(layers: int = 48) -> MusicgenMelodyConfig:
    """The configuration of ``facebook/musicgen-melody``, or of its first ``layers`` layers."""
    decoder = MusicgenMelodyDecoderConfig(
        hidden_size=1536, ffn_dim=4 * 1536, num_attention_heads=24, num_hidden_layers=layers
    )
    return MusicgenMelodyConfig(text_encoder=_text_encoder(), audio_encoder=_codec(), decoder=decoder)


def _text_encoder() -> T5Config:
    return T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12)


def _codec() -> EncodecConfig:
    return EncodecConfig(
        sampling_rate=32_000,
        target_bandwidths=[2.2],
        num_filters=64,
        upsampling_ratios=[8, 5, 4, 4],
        codebook_size=2048,
        use_causal_conv=False,
        use_conv_shortcut=False,
    )


def write_random(folder: Path, config: MusicCompositeConfig) -> Path:
    """Writes a checkpoint with random weights of seed 0 into ``folder``, unless one is there, and gives the folder.

    There is no tokenizer in it: whoever measures passes numbers.
    """
    if (folder / CONFIG_NAME).exists():
        return folder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = registry.model_class(config.model_type, "text_to_waveform")(config)
        for codebook in model.audio_encoder.codec.quantizer.codebooks:
            codebook.vectors.normal_()
    start = config.decoder.vocab_size  # the token before the codes
    model.generation_config.update(decoder_start_token_id=start, max_length=1500, do_sample=True, guidance_scale=3.0)
    model.save_pretrained(folder)
    return folder
