"""What a checkpoint holds, told from its configuration and the headers of its weights; no weight is read."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from antiphon.checkpoints import hub
from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
from antiphon.errors import CheckpointError
from antiphon.models import registry
from antiphon.models.configuration import CONFIG_NAME, PreTrainedConfig
from antiphon.models.musicgen_melody_config import MusicgenMelodyConfig
from antiphon.models.quantization import KINDS, Quantization, stated_in
from antiphon.models.quantized import forecast_bytes, layers_to_round

FORECAST_SECONDS = 30
UNSTATED_LICENCE = "not stated; weights of facebook/musicgen-* are CC-BY-NC-4.0"
_COMPOSITES = registry.model_types(registry.MUSIC)
_PROJECTIONS = {"enc_to_dec_proj": "projection", "audio_enc_to_dec_proj": "melody input"}
_README_BYTES = 1 << 20
_LICENCE_CHARACTERS = 200
_SMALL_FILES = [CONFIG_NAME, "README.md"]


@dataclass(frozen=True)
class Part:
    """A part of a model and how many parameters it has."""

    name: str
    parameters: int


@dataclass(frozen=True)
class Summary:
    """What a checkpoint holds.

    Attributes:
        dtypes: of the stored weights, the most frequent first; empty where the weights are not on this machine.
        files: bytes by name of the files with weights. codebooks: streams of codes; frame_rate_hz: codes a second in
            each; tokens_per_second: of all streams, for a second of sound. Zero where the model makes no sound.
        pitch_classes, melody_frames: of the melody that it can follow; zero where it follows none.
        rounding: how the stored weights are rounded, such as ``int4, groups of 64``; empty where they are not.
        weights_bytes: of the weights in memory as ``fp32`` and ``bf16``, and where there are layers for it as ``int8``
            and ``int4`` (what is not rounded stays fp32). cache_bytes: of the keys and values while
            ``FORECAST_SECONDS`` of sound are made with guidance.
    """

    name: str
    model_type: str
    licence: str
    parts: list[Part]
    dtypes: list[str]
    rounding: str
    files: dict[str, int]
    codebooks: int
    channels: int
    sampling_rate: int
    frame_rate_hz: float
    tokens_per_second: float
    pitch_classes: int
    melody_frames: int
    weights_bytes: dict[str, int]
    cache_bytes: dict[str, int]

    @property
    def parameters(self) -> int:
        """Of all parts."""
        return sum(part.parameters for part in self.parts)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**asdict(self), "parameters": self.parameters}


def summarise(name_or_dir: str | os.PathLike[str]) -> Summary:
    """The summary of a folder, or of a checkpoint on the Hub, of which only the small files are fetched.

    Raises:
        CheckpointError: no such checkpoint, or damaged weights. ConfigError: a configuration of no known model.
    """
    folder = hub.described(name_or_dir, patterns=[*_SMALL_FILES, "*.safetensors.index.json"])
    stated = CheckpointFolder(folder).values()
    model_type = stated.get("model_type")
    config: PreTrainedConfig = registry.model_class(model_type, "config").from_pretrained(folder)
    model = _hollow(config)
    dtypes, files = _stored(folder, must_exist=os.path.isdir(os.path.expanduser(name_or_dir)))
    sound = _sound(config)
    follows = isinstance(config, MusicgenMelodyConfig)
    return Summary(
        name=os.fspath(name_or_dir),
        model_type=str(model_type),
        licence=licence_of(folder),
        parts=_parts(model, str(model_type)),
        dtypes=dtypes,
        rounding=_rounding(stated, folder),
        files=files,
        **sound,
        tokens_per_second=sound["codebooks"] * sound["frame_rate_hz"],
        pitch_classes=config.num_chroma if follows else 0,
        melody_frames=config.chroma_length if follows else 0,
        weights_bytes=_weights_bytes(model),
        cache_bytes=_cache_bytes(config),
    )


def licence_of(folder: Path) -> str:
    """What the front matter of the checkpoint's README states as its licence."""
    try:
        with open(folder / "README.md", encoding="utf-8", errors="replace") as file:
            text = file.read(_README_BYTES)
    except OSError:
        return UNSTATED_LICENCE
    head, mark, _ = text.removeprefix("\ufeff").removeprefix("---").partition("\n---")
    if not (mark and text.removeprefix("\ufeff").startswith("---")):
        return UNSTATED_LICENCE
    try:
        stated = yaml.safe_load(head)
    except (yaml.YAMLError, RecursionError, ValueError):
        return UNSTATED_LICENCE
    licence = stated.get("license") if isinstance(stated, dict) else None
    if isinstance(licence, list):
        licence = ", ".join(str(one) for one in licence)
    return licence[:_LICENCE_CHARACTERS] if isinstance(licence, str) and licence else UNSTATED_LICENCE


def _hollow(config: PreTrainedConfig) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = registry.model_class(config.model_type, "model")(config)
    return model


def _stored(folder: Path, *, must_exist: bool) -> tuple[list[str], dict[str, int]]:
    try:
        with CheckpointFolder(folder).own_weights() as weights:
            counts: Counter[str] = Counter()
            for name in weights.names():
                info = weights.info(name)
                counts[str(info.dtype).removeprefix("torch.")] += info.numel
            return [dtype for dtype, _ in counts.most_common()], {
                path.name: path.stat().st_size for path in weights.paths
            }
    except CheckpointError:
        if must_exist:
            raise
        return [], {}  # a snapshot of which only the small files were fetched


def _parts(model: nn.Module, model_type: str) -> list[Part]:
    named = [(_PROJECTIONS.get(name, name), part) for name, part in model.named_children()]
    if model_type not in _COMPOSITES:
        named = [(model_type, model)]
    return [Part(name, sum(p.numel() for p in part.parameters())) for name, part in named]


def _sound(config: Any) -> dict[str, Any]:
    if config.model_type in _COMPOSITES:
        codec, decoder = config.audio_encoder, config.decoder
        channels = 2 if decoder.audio_channels == 2 else codec.audio_channels
        codebooks = decoder.num_codebooks
    elif config.model_type in ("encodec", "mimi"):
        codec, channels, codebooks = config, config.audio_channels, config.num_quantizers
    else:
        return {"codebooks": 0, "channels": 0, "sampling_rate": 0, "frame_rate_hz": 0}
    return {
        "codebooks": codebooks,
        "channels": channels,
        "sampling_rate": codec.sampling_rate,
        "frame_rate_hz": codec.frame_rate,
    }


def _rounding(stated: dict[str, Any], folder: Path) -> str:
    try:
        plan = stated_in(stated, str(folder))
    except CheckpointError:  # of another program: told, though it cannot be loaded
        return f"by {stated['quantization_config'].get('quant_method')}"
    return "" if plan is None else f"{plan.kind}, groups of {plan.inputs_a_scale}"


def _weights_bytes(model: nn.Module) -> dict[str, int]:
    sizes = {"fp32": forecast_bytes(model, torch.float32), "bf16": forecast_bytes(model, torch.bfloat16)}
    plans = {kind: Quantization(bits) for kind, bits in KINDS.items()}
    return sizes | {
        kind: forecast_bytes(model, torch.float32, plan) for kind, plan in plans.items() if layers_to_round(model, plan)
    }


def _cache_bytes(config: Any) -> dict[str, int]:
    """Keys and values of a decoder's own columns and of a melody before them, for the two passes of guidance; those of
    the text are small.
    """
    if config.model_type not in _COMPOSITES:
        return {}
    decoder = config.decoder
    columns = FORECAST_SECONDS * config.audio_encoder.frame_rate + decoder.num_codebooks // decoder.audio_channels
    columns += config.chroma_length if isinstance(config, MusicgenMelodyConfig) else 0
    numbers = 2 * 2 * decoder.num_hidden_layers * decoder.hidden_size * columns
    return {"fp32": 4 * numbers, "bf16": 2 * numbers}
