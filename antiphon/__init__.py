"""Antiphon: audio language models. MusicGen and MusicGen Melody today; Moshi and Music Flamingo on the same parts.

Every name is loaded when it is first used, so that ``import antiphon`` is quick and imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> module
_NAMES: dict[str, str] = {
    "Audio": "antiphon.audio.clip",
    "AudioFlamingo3Processor": "antiphon.models.audio_flamingo_processor",
    "AudioFlamingo3Config": "antiphon.models.audio_flamingo",
    "AudioFlamingo3Encoder": "antiphon.models.audio_flamingo",
    "AudioFlamingo3EncoderConfig": "antiphon.models.audio_flamingo",
    "AudioFlamingo3ForConditionalGeneration": "antiphon.models.audio_flamingo",
    "AudioFlamingo3Model": "antiphon.models.audio_flamingo",
    "AudioTextToTextPipeline": "antiphon.models.pipelines",
    "AutoConfig": "antiphon.models.auto",
    "AutoFeatureExtractor": "antiphon.models.auto",
    "AutoModel": "antiphon.models.auto",
    "AutoModelForCausalLM": "antiphon.models.auto",
    "AutoModelForMultimodalLM": "antiphon.models.auto",
    "AutoModelForTextEncoding": "antiphon.models.auto",
    "AutoModelForTextToWaveform": "antiphon.models.auto",
    "AutoProcessor": "antiphon.models.auto",
    "AutoTokenizer": "antiphon.models.auto",
    "AntiphonError": "antiphon.errors",
    "BaseModelOutput": "antiphon.outputs",
    "BaseModelOutputWithPast": "antiphon.outputs",
    "BatchEncoding": "antiphon.batch",
    "BatchFeature": "antiphon.batch",
    "Cache": "antiphon.nn.kv_cache",
    "CausalLMOutputWithPast": "antiphon.outputs",
    "DynamicCache": "antiphon.nn.kv_cache",
    "EncodecConfig": "antiphon.models.encodec",
    "EncodecFeatureExtractor": "antiphon.models.encodec_features",
    "EncodecModel": "antiphon.models.encodec",
    "EncoderDecoderCache": "antiphon.nn.kv_cache",
    "GenerationConfig": "antiphon.models.generation_mixin",
    "GenerationMixin": "antiphon.models.generation_mixin",
    "LogitsProcessor": "antiphon.generation.stopping",
    "LogitsProcessorList": "antiphon.generation.stopping",
    "LoraConfig": "antiphon.checkpoints.lora_config",
    "MimiConfig": "antiphon.models.mimi",
    "MimiModel": "antiphon.models.mimi",
    "ModelOutput": "antiphon.outputs",
    "MoshiConfig": "antiphon.models.moshi",
    "MoshiDepthConfig": "antiphon.models.moshi",
    "MoshiDepthDecoder": "antiphon.models.moshi",
    "MoshiForCausalLM": "antiphon.models.moshi",
    "MoshiForConditionalGeneration": "antiphon.models.moshi",
    "MoshiModel": "antiphon.models.moshi",
    "MusicFlamingoProcessor": "antiphon.models.music_flamingo_processor",
    "MusicFlamingoConfig": "antiphon.models.music_flamingo",
    "MusicFlamingoForConditionalGeneration": "antiphon.models.music_flamingo",
    "MusicFlamingoModel": "antiphon.models.music_flamingo",
    "MusicgenConfig": "antiphon.models.musicgen",
    "MusicgenDecoderConfig": "antiphon.models.musicgen",
    "MusicgenForCausalLM": "antiphon.models.musicgen",
    "MusicgenForConditionalGeneration": "antiphon.models.musicgen",
    "MusicgenMelodyConfig": "antiphon.models.musicgen_melody",
    "MusicgenMelodyDecoderConfig": "antiphon.models.musicgen_melody",
    "MusicgenMelodyFeatureExtractor": "antiphon.models.musicgen_melody_features",
    "MusicgenMelodyForCausalLM": "antiphon.models.musicgen_melody",
    "MusicgenMelodyForConditionalGeneration": "antiphon.models.musicgen_melody",
    "MusicgenMelodyModel": "antiphon.models.musicgen_melody",
    "MusicgenMelodyProcessor": "antiphon.models.musicgen_melody_processor",
    "MusicgenModel": "antiphon.models.musicgen",
    "MusicgenProcessor": "antiphon.models.musicgen_processor",
    "Pipeline": "antiphon.models.pipelines",
    "PreTrainedConfig": "antiphon.models.configuration",
    "PreTrainedModel": "antiphon.models.pretrained",
    "PreTrainedTokenizer": "antiphon.models.tokenizers",
    "PretrainedConfig": "antiphon.models.configuration",
    "Qwen2Tokenizer": "antiphon.models.tokenizers",
    "Qwen2TokenizerFast": "antiphon.models.tokenizers",
    "Qwen2Config": "antiphon.models.qwen2",
    "Qwen2ForCausalLM": "antiphon.models.qwen2",
    "Qwen2Model": "antiphon.models.qwen2",
    "Seq2SeqLMOutput": "antiphon.outputs",
    "SequenceFeatureExtractor": "antiphon.models.features",
    "StaticCache": "antiphon.nn.kv_cache",
    "StoppingCriteria": "antiphon.generation.stopping",
    "StoppingCriteriaList": "antiphon.generation.stopping",
    "T5Config": "antiphon.models.t5",
    "T5EncoderModel": "antiphon.models.t5",
    "T5Tokenizer": "antiphon.models.tokenizers",
    "TensorType": "antiphon.batch",
    "TextToAudioPipeline": "antiphon.models.pipelines",
    "WhisperFeatureExtractor": "antiphon.models.whisper_features",
    "infer_device": "antiphon.models.devices",
    "load": "antiphon.tasks.load",
    "pipeline": "antiphon.models.pipelines",
}

__all__ = ["__version__", *sorted(_NAMES)]  # noqa: PLE0604  # built from the table above


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
    value = getattr(importlib.import_module(_NAMES[name]), name)
    globals()[name] = value  # the next access finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})


if TYPE_CHECKING:
    from antiphon.audio.clip import Audio as Audio
    from antiphon.models.musicgen import MusicgenForConditionalGeneration as MusicgenForConditionalGeneration
    from antiphon.tasks.load import load as load
