"""The model of a training job with its processor, from a checkpoint or as a configuration says."""

from __future__ import annotations

from typing import Any

import torch

from antiphon.checkpoints.json_files import read_json
from antiphon.errors import ConfigError
from antiphon.models import registry
from antiphon.models.auto import AutoConfig, AutoModelForTextToWaveform, AutoProcessor, AutoTokenizer
from antiphon.models.encodec import EncodecModel
from antiphon.models.mimi import MimiModel
from antiphon.models.moshi import MoshiConfig, MoshiForConditionalGeneration
from antiphon.models.t5 import T5EncoderModel
from antiphon.training.job_file import JobFile


def place(file: JobFile, name: str) -> str:
    """A folder beside the file where there is one, else a name on the Hub."""
    beside = file.path(name)
    return str(beside) if beside.exists() else name


def stated(file: JobFile) -> Any:
    """The configuration that the file names."""
    values = read_json(file.path(file.model.config or ""))
    return AutoConfig.for_model(values.pop("model_type", ""), **values)


def composite(file: JobFile) -> tuple[Any, Any]:
    """The model with its processor, from a checkpoint or as a configuration and checkpoints of its parts say."""
    section = file.model
    if section.start is not None:
        name = place(file, section.start)
        model = AutoModelForTextToWaveform.from_pretrained(name, dtype=torch.float32)
        return model, AutoProcessor.from_pretrained(name)
    config = stated(file)
    parts = {
        part: kind.from_pretrained(place(file, name), dtype=torch.float32)
        for part, kind, name in (
            ("audio_encoder", EncodecModel, section.codec),
            ("text_encoder", T5EncoderModel, section.text_encoder),
        )
        if name is not None
    }
    for part, made in parts.items():
        setattr(config, part, made.config)
    torch.manual_seed(file.run.seed)
    model = registry.model_class(config.model_type, registry.MUSIC)(config, **parts)
    if section.processor is None:
        raise ConfigError("[model] config without processor", expected="a folder with its tokenizer's files")
    return model, AutoProcessor.from_pretrained(place(file, section.processor))


def moshi(file: JobFile) -> tuple[MoshiForConditionalGeneration, Any]:
    """The model with its tokenizer, from a checkpoint or from a configuration."""
    section = file.model
    if section.train_text_encoder or section.text_encoder is not None:
        raise ConfigError("a text encoder for a speech model", expected="none: it thinks in text itself")
    if section.start is not None:
        name = place(file, section.start)
        model = MoshiForConditionalGeneration.from_pretrained(name, dtype=torch.float32)
    else:
        config = stated(file)
        if not isinstance(config, MoshiConfig):
            raise ConfigError(f"a model of type {config.model_type!r}", expected="moshi")
        torch.manual_seed(file.run.seed)
        model = MoshiForConditionalGeneration(config)
        if section.codec is not None:
            model.audio_encoder = MimiModel.from_pretrained(place(file, section.codec), dtype=torch.float32)
    words = section.processor or section.start
    if words is None:
        raise ConfigError("[model] config without processor", expected="a folder with its tokenizer's files")
    return model, AutoTokenizer.from_pretrained(place(file, words))


def flamingo(file: JobFile) -> tuple[Any, Any]:
    """The model with its processor, from a checkpoint or from a configuration."""
    section = file.model
    if section.train_text_encoder or section.text_encoder is not None or section.codec is not None:
        raise ConfigError("a text encoder or a codec for a listening model", expected="neither")
    known = registry.model_types(registry.LISTEN)
    if section.start is not None:
        name = place(file, section.start)
        config = AutoConfig.from_pretrained(name)
    else:
        config = stated(file)
    if config.model_type not in known:
        raise ConfigError(f"a model of type {config.model_type!r}", expected=f"one of {known}")
    kind = registry.model_class(config.model_type, registry.LISTEN)
    if section.start is not None:
        return kind.from_pretrained(name, dtype=torch.float32), AutoProcessor.from_pretrained(name)
    if section.processor is None:
        raise ConfigError("[model] config without processor", expected="a folder with the processor's files")
    torch.manual_seed(file.run.seed)
    return kind(config), AutoProcessor.from_pretrained(place(file, section.processor))
