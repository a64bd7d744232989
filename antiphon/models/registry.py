"""Which class stands for which ``model_type``: one table behind all the ``Auto`` names."""

from __future__ import annotations

import importlib
from typing import Any

from antiphon.errors import ConfigError

# model_type -> (module, {role: class}). Roles: config, model (AutoModel), and the heads by their Auto name.
_MODELS: dict[str, tuple[str, dict[str, str]]] = {
    "audioflamingo3_encoder": (
        "antiphon.models.audio_flamingo",
        {"config": "AudioFlamingo3EncoderConfig", "model": "AudioFlamingo3Encoder"},
    ),
    "audioflamingo3": (
        "antiphon.models.audio_flamingo",
        {
            "config": "AudioFlamingo3Config",
            "model": "AudioFlamingo3Model",
            "multimodal_lm": "AudioFlamingo3ForConditionalGeneration",
        },
    ),
    "musicflamingo": (
        "antiphon.models.music_flamingo",
        {
            "config": "MusicFlamingoConfig",
            "model": "MusicFlamingoModel",
            "multimodal_lm": "MusicFlamingoForConditionalGeneration",
        },
    ),
    "encodec": ("antiphon.models.encodec", {"config": "EncodecConfig", "model": "EncodecModel"}),
    "mimi": ("antiphon.models.mimi", {"config": "MimiConfig", "model": "MimiModel"}),
    "qwen2": (
        "antiphon.models.qwen2",
        {"config": "Qwen2Config", "model": "Qwen2Model", "causal_lm": "Qwen2ForCausalLM"},
    ),
    "t5": ("antiphon.models.t5", {"config": "T5Config", "model": "T5EncoderModel", "text_encoding": "T5EncoderModel"}),
    "musicgen_decoder": (
        "antiphon.models.musicgen",
        {"config": "MusicgenDecoderConfig", "model": "MusicgenModel", "causal_lm": "MusicgenForCausalLM"},
    ),
    "musicgen": (
        "antiphon.models.musicgen",
        {
            "config": "MusicgenConfig",
            # the documents show music made through AutoModel, which only the composite can do
            "model": "MusicgenForConditionalGeneration",
            "causal_lm": "MusicgenForCausalLM",
            "text_to_waveform": "MusicgenForConditionalGeneration",
        },
    ),
    "musicgen_melody_decoder": (
        "antiphon.models.musicgen_melody",
        {
            "config": "MusicgenMelodyDecoderConfig",
            "model": "MusicgenMelodyModel",
            "causal_lm": "MusicgenMelodyForCausalLM",
        },
    ),
    "musicgen_melody": (
        "antiphon.models.musicgen_melody",
        {
            "config": "MusicgenMelodyConfig",
            "model": "MusicgenMelodyForConditionalGeneration",
            "causal_lm": "MusicgenMelodyForCausalLM",
            "text_to_waveform": "MusicgenMelodyForConditionalGeneration",
        },
    ),
    "moshi": (
        "antiphon.models.moshi",
        {
            "config": "MoshiConfig",
            "model": "MoshiModel",
            "causal_lm": "MoshiForCausalLM",
            "conversation": "MoshiForConditionalGeneration",
        },
    ),
    "moshi_depth": (
        "antiphon.models.moshi",
        {"config": "MoshiDepthConfig", "model": "MoshiDepthDecoder", "causal_lm": "MoshiDepthDecoder"},
    ),
}

# the roles of a composite that makes music, of one that listens and speaks, and of one that listens and writes
MUSIC = "text_to_waveform"
TALK = "conversation"
LISTEN = "multimodal_lm"

# class named in a processor or tokenizer file -> module
_PROCESSORS: dict[str, str] = {
    "MusicgenProcessor": "antiphon.models.musicgen_processor",
    "EncodecFeatureExtractor": "antiphon.models.encodec_features",
    "MusicgenMelodyFeatureExtractor": "antiphon.models.musicgen_melody_features",
    "MusicgenMelodyProcessor": "antiphon.models.musicgen_melody_processor",
    "MusicFlamingoProcessor": "antiphon.models.music_flamingo_processor",
    "AudioFlamingo3Processor": "antiphon.models.audio_flamingo_processor",
    "WhisperFeatureExtractor": "antiphon.models.whisper_features",
    "Qwen2Tokenizer": "antiphon.text.qwen2_tokenizer",
    "Qwen2TokenizerFast": "antiphon.text.qwen2_tokenizer",
    "T5Tokenizer": "antiphon.text.t5_tokenizer",
    "T5TokenizerFast": "antiphon.text.t5_tokenizer",
    "PreTrainedTokenizerFast": "antiphon.text.tokenizer",
}

# what a checkpoint is processed with when its own files do not say: model_type -> (processor, features, tokenizer)
_PROCESSED_BY: dict[str, tuple[str | None, str | None, str | None]] = {
    "musicgen": ("MusicgenProcessor", "EncodecFeatureExtractor", "T5Tokenizer"),
    "musicgen_melody": ("MusicgenMelodyProcessor", "MusicgenMelodyFeatureExtractor", "T5Tokenizer"),
    "encodec": (None, "EncodecFeatureExtractor", None),
    "mimi": (None, "EncodecFeatureExtractor", None),
    "moshi": (None, "EncodecFeatureExtractor", "PreTrainedTokenizerFast"),
    "t5": (None, None, "T5Tokenizer"),
    "musicflamingo": ("MusicFlamingoProcessor", "WhisperFeatureExtractor", "Qwen2Tokenizer"),
    "audioflamingo3": ("AudioFlamingo3Processor", "WhisperFeatureExtractor", "Qwen2Tokenizer"),
    "qwen2": (None, None, "Qwen2Tokenizer"),
}


def model_types(role: str | None = None) -> list[str]:
    """The model types known, sorted; those that have a class in a role where one is given."""
    return sorted(name for name, (_, roles) in _MODELS.items() if role is None or role in roles)


def model_class(model_type: Any, role: str) -> Any:
    """The class of ``model_type`` in a role.

    Raises:
        ConfigError: the type is unknown, or has no class in that role.
    """
    if not isinstance(model_type, str) or model_type not in _MODELS:
        raise ConfigError(f"model_type {model_type!r}", expected=f"one of {model_types()}")
    module, roles = _MODELS[model_type]
    if role not in roles:
        raise ConfigError(
            f"model_type {model_type!r} cannot be loaded as {role}", expected=f"one of {model_types(role)}"
        )
    return getattr(importlib.import_module(module), roles[role])


def processing_class(name: str) -> Any:
    """The processor, feature extractor or tokenizer class called ``name`` in a checkpoint's files.

    Raises:
        ConfigError: no such class here.
    """
    if name not in _PROCESSORS:
        raise ConfigError(f"processing class {name!r}", expected=f"one of {sorted(_PROCESSORS)}")
    return getattr(importlib.import_module(_PROCESSORS[name]), name.removesuffix("Fast"))


def processing_names(model_type: Any) -> tuple[str | None, str | None, str | None]:
    """Names of the processor, feature extractor and tokenizer that belong to ``model_type``."""
    return _PROCESSED_BY.get(model_type, (None, None, None))


def is_processing_class(name: Any) -> bool:
    """Whether a class of that name exists here."""
    return name in _PROCESSORS
