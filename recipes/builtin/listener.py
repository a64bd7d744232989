"""The listening model before it has learnt: a vocabulary of its own, and random weights."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE

from antiphon import (
    MusicFlamingoConfig,
    MusicFlamingoForConditionalGeneration,
    MusicFlamingoProcessor,
    WhisperFeatureExtractor,
)
from antiphon.nn.positions import sinusoids
from antiphon.text.qwen2_tokenizer import END_OF_TEXT, WORDS, Qwen2Tokenizer
from recipes.builtin.asked import conversations_in

log = logging.getLogger(__name__)

CHUNK_S = 10
_TEMPLATE = Path(__file__).with_name("chat_template.jinja")
_TOKENS = 1024
_BANDS, _HEADS = 128, 4
# most is in the ear: what is said about music is short, and always in the same words
_EAR_WIDTH, _EAR_LAYERS = 256, 4
_WIDTH, _LAYERS = 192, 3
_SPECIAL = ("<|im_start|>", "<|im_end|>", "<sound>", "<|sound_bos|>", "<|sound_eos|>")
# the 0.02 of the published sizes is meant for layers five times as wide and more
_DEVIATION = 0.05


def vocabulary(texts: Iterable[str], *, tokens: int = _TOKENS) -> Qwen2Tokenizer:
    """Gives a tokenizer as Qwen2's whose merges are those of these texts, with the tokens of a model that listens."""
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    special = [AddedToken(token, normalized=False, special=True) for token in (END_OF_TEXT, *_SPECIAL)]
    trainer = trainers.BpeTrainer(
        vocab_size=tokens,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return Qwen2Tokenizer(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token=END_OF_TEXT,
        additional_special_tokens=list(_SPECIAL),
        padding_side="left",
    )


def begin_listener(folder: Path, asked: Path) -> None:
    """Writes a Music Flamingo that knows nothing yet, with a vocabulary of what is said about the pieces."""
    texts = {text for piece in conversations_in(asked) for told in piece for one in told for text in vars(one).values()}
    tokenizer = vocabulary(sorted(texts))
    features = WhisperFeatureExtractor(feature_size=_BANDS, chunk_length=CHUNK_S)
    template = _TEMPLATE.read_text(encoding="utf-8")
    processor = MusicFlamingoProcessor(features, tokenizer, chat_template=template, max_audio_len=CHUNK_S)
    torch.manual_seed(0)
    model = MusicFlamingoForConditionalGeneration(listener_config(processor))
    place_positions(model)
    model.generation_config.update(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=200
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    size = sum(parameter.numel() for parameter in model.parameters())
    log.info("%.2f million parameters, %d tokens", size / 1e6, len(tokenizer))


def listener_config(
    processor: Any,
    *,
    ear: tuple[int, int] = (_EAR_WIDTH, _EAR_LAYERS),
    width: int = _WIDTH,
    layers: int = _LAYERS,
    heads: int = _HEADS,
) -> MusicFlamingoConfig:
    """Gives the configuration of a small Music Flamingo for a processor.

    Args:
        ear: width and layers of the audio encoder. width, layers: of the language model. heads: of both.
    """
    tokenizer, features = processor.tokenizer, processor.feature_extractor
    common = {"num_attention_heads": heads, "initializer_range": _DEVIATION}
    return MusicFlamingoConfig(
        audio_config={
            **common,
            "hidden_size": ear[0],
            "num_hidden_layers": ear[1],
            "intermediate_size": 4 * ear[0],
            "num_mel_bins": features.feature_size,
            "max_source_positions": features.nb_max_frames // 2,
        },
        text_config={
            **common,
            "hidden_size": width,
            "num_hidden_layers": layers,
            "vocab_size": len(tokenizer),
            "num_key_value_heads": heads // 2,
            "intermediate_size": 3 * width,
            "max_position_embeddings": 4096,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        audio_token_id=processor.audio_token_id,
        audio_bos_token_id=processor.audio_bos_token_id,
        audio_eos_token_id=processor.audio_eos_token_id,
    )


def place_positions(model: MusicFlamingoForConditionalGeneration) -> None:
    """Gives the audio encoder the positions that it keeps: sines, as Whisper's are."""
    positions = model.model.audio_tower.encoder.positions.weight
    with torch.no_grad():
        positions.copy_(sinusoids(*positions.shape))
