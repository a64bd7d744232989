"""What the language models begin as: a vocabulary and a taught text encoder; for Melody, what MusicGen has learnt."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from antiphon import (
    EncodecFeatureExtractor,
    EncodecModel,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyFeatureExtractor,
    MusicgenMelodyForConditionalGeneration,
    MusicgenMelodyProcessor,
    MusicgenProcessor,
    T5Config,
)
from antiphon.text.t5_tokenizer import T5Tokenizer
from antiphon.training.text_vocabulary import text_vocabulary
from recipes.builtin.text_lessons import STEPS, Lesson, teach

log = logging.getLogger(__name__)

_PIECES = 1024
_WIDTH, _LAYERS, _HEADS = 256, 6, 4
# Positions are sines of height 1, beside which codes of the usual 0.02 are hardly seen at first; four of these together
# are as high as a sine.
_EMBEDDING_STD = 0.35
# the length of the pieces that are learnt from, and its frames of chroma
_LEARNT_S = 12
_CHROMA_FRAMES = _LEARNT_S * 32000 // 4096 + 1


def begin_musicgen(folder: Path, codec: EncodecModel, lessons: Sequence[Lesson], *, steps: int = STEPS) -> None:
    """Writes a MusicGen with a codec, a text encoder that has had its lessons, and a decoder that knows nothing yet."""
    tokenizer = text_vocabulary([lesson.text for lesson in lessons], pieces=_PIECES)
    torch.manual_seed(0)
    config = MusicgenConfig(
        text_encoder=T5Config(
            vocab_size=len(tokenizer), d_model=192, d_kv=32, d_ff=768, num_layers=3, num_heads=6, dropout_rate=0.0
        ),
        audio_encoder=codec.config,
        decoder=MusicgenDecoderConfig(**_decoder(codec)),
    )
    model = MusicgenForConditionalGeneration(config, audio_encoder=codec)
    for embedding in model.decoder.model.decoder.embeddings:
        torch.nn.init.normal_(embedding.weight, std=_EMBEDDING_STD)
    log.info("facts told from texts: %s", teach(model.text_encoder, tokenizer, lessons, steps=steps))
    _settle(model)
    model.save_pretrained(folder)
    features = EncodecFeatureExtractor(feature_size=1, sampling_rate=codec.config.sampling_rate, padding_side="left")
    MusicgenProcessor(features, tokenizer).save_pretrained(folder)


def begin_melody(folder: Path, musicgen: Path) -> None:
    """Writes a Melody that has the codec, the text encoder and all of the decoder of MusicGen that it can have."""
    learnt = MusicgenForConditionalGeneration.from_pretrained(musicgen, dtype=torch.float32)
    torch.manual_seed(1)
    config = MusicgenMelodyConfig(
        text_encoder=learnt.config.text_encoder,
        audio_encoder=learnt.config.audio_encoder,
        decoder=MusicgenMelodyDecoderConfig(**_decoder(learnt.audio_encoder)),
        num_chroma=12,
        chroma_length=_CHROMA_FRAMES,
    )
    model = MusicgenMelodyForConditionalGeneration(
        config, text_encoder=learnt.text_encoder, audio_encoder=learnt.audio_encoder
    )
    known = learnt.decoder.state_dict()
    missing, _ = model.decoder.load_state_dict(
        {k: v for k, v in known.items() if "encoder_attn" not in k}, strict=False
    )
    if missing:
        raise RuntimeError(f"MusicGen's decoder lacks {missing[:5]}")
    projections: Any = (model.enc_to_dec_proj, learnt.enc_to_dec_proj)
    projections[0].load_state_dict(projections[1].state_dict())
    _settle(model)
    model.save_pretrained(folder)
    tokenizer = T5Tokenizer.from_pretrained(musicgen)
    features = MusicgenMelodyFeatureExtractor(chunk_length=_LEARNT_S)
    MusicgenMelodyProcessor(features, tokenizer).save_pretrained(folder)


def _decoder(codec: EncodecModel) -> dict[str, Any]:
    size = codec.config.codebook_size
    return {
        "vocab_size": size,
        "hidden_size": _WIDTH,
        "ffn_dim": 4 * _WIDTH,
        "num_hidden_layers": _LAYERS,
        "num_attention_heads": _HEADS,
        "num_codebooks": codec.config.num_quantizers,
        "dropout": 0.0,
        "pad_token_id": size,
        "bos_token_id": size,
    }


def _settle(model: Any) -> None:
    """How the model is asked to make music, unless told otherwise."""
    size = model.config.decoder.vocab_size
    model.generation_config.update(
        do_sample=True,
        guidance_scale=3.0,
        top_k=250,
        max_length=_LEARNT_S * 50 + 3,
        window_seconds=_LEARNT_S,
        pad_token_id=size,
        bos_token_id=size,
    )
    model.generation_config.decoder_start_token_id = size
