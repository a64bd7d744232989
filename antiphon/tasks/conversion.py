"""A checkpoint in the other format: from audiocraft's own files to the documents' layout, and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antiphon.checkpoints import hub, store
from antiphon.checkpoints.audiocraft_folder import AudiocraftFolder, Elsewhere
from antiphon.checkpoints.audiocraft_names import AUDIO_ENCODER
from antiphon.checkpoints.audiocraft_record import AudiocraftRecord
from antiphon.checkpoints.audiocraft_writer import Composite, write_audiocraft
from antiphon.checkpoints.json_files import CONFIG_NAME, read_json
from antiphon.checkpoints.new_folder import copy_beside, new_folder
from antiphon.checkpoints.weight_writer import total_bytes
from antiphon.errors import CheckpointError, ParamError
from antiphon.generation.config import GenerationConfig
from antiphon.models import registry
from antiphon.models.auto import AutoConfig
from antiphon.models.configuration import dtype_of
from antiphon.models.features import FEATURES_NAME, PROCESSOR_NAME, feature_settings
from antiphon.models.loading import fit, stored_names
from antiphon.models.pretrained import PreTrainedModel
from antiphon.models.processing import tokenizer_in
from antiphon.models.quantization import stated_in

FORMATS = HF, AUDIOCRAFT = "hf", "audiocraft"
_TEXTS = ("README.md", "LICENSE*")  # a licence goes where the weights go

# the names that the documents' scripts give
_SIZES = ("small", "medium", "large", "melody", "melody-large")
SHORT_NAMES = (*_SIZES, *(f"stereo-{size}" for size in _SIZES))

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Converted:
    """What was written: the format, and how many tensors and bytes of weights it has."""

    to: str
    tensors: int
    weights_bytes: int


def convert(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    to: str | None = None,
    dtype: Any = None,
    text_encoder: str | os.PathLike[str] | None = None,
    codec: str | os.PathLike[str] | None = None,
    safe_serialization: bool = True,
    force: bool = False,
    tell: Tell = lambda text: None,
) -> Converted:
    """Writes a MusicGen or MusicGen Melody in the other format.

    Weights keep the precision they are stored in, part by part, unless ``dtype`` names one; what audiocraft's files
    hold beyond the documents' layout is kept in ``audiocraft.json``, so that the way back gives the same tensors, names
    and configurations. Weights are seen through their files: to ``hf`` no more than a shard is in memory, and that only
    where it is cast; to ``audiocraft`` the projections, which lie fused there, and all that is cast.

    Args:
        source: a folder, one file of audiocraft's, a name on the Hub, or a short name such as ``"small"`` or
            ``"stereo-melody"``. destination: a folder that is empty or does not exist.
        to: ``"hf"`` or ``"audiocraft"``; the other one than the source's by default.
        text_encoder, codec: for the way to ``hf`` a folder or a name on the Hub with the part that audiocraft's files
            only name. For the way back ``text_encoder`` is audiocraft's name of the T5, where its sizes do not say.
        safe_serialization: ``False`` writes pickles. force: write into a folder that holds something.
        tell: is told what is being done.

    Raises:
        CheckpointError: no such checkpoint, damaged files, weights that do not fit, a destination that cannot be
            written. ConfigError: a model that cannot be computed here. ParamError: arguments that make no sense.
    """
    if to not in (None, *FORMATS):
        raise ParamError(f"to={to!r}", expected=f"one of {FORMATS}")
    elsewhere = Elsewhere(text_encoder, codec)
    place = _place(source)
    original = None if to == AUDIOCRAFT else _original(place, elsewhere)
    if original is None and to == HF:
        raise CheckpointError(
            f"{os.fspath(source)} holds no files of audiocraft's",
            expected="state_dict.bin and compression_state_dict.bin, or a training run's checkpoint.th",
        )
    cast, target = dtype_of(dtype), Path(destination)
    if original is not None:
        return _to_hf(original, target, dtype=cast, safe_serialization=safe_serialization, force=force, tell=tell)
    if codec is not None:
        raise ParamError(f"codec={os.fspath(codec)!r} on the way to {AUDIOCRAFT}", expected="the checkpoint's own")
    named = None if text_encoder is None else os.fspath(text_encoder)
    return _to_audiocraft(hub.fetched(place), target, dtype=cast, text_encoder=named, force=force, tell=tell)


def _place(source: str | os.PathLike[str]) -> str | os.PathLike[str]:
    short = source in SHORT_NAMES and not Path(source).exists()
    return f"facebook/musicgen-{source}" if short else source


def _original(place: str | os.PathLike[str], elsewhere: Elsewhere) -> AudiocraftFolder | None:
    path = Path(place).expanduser()
    if path.is_file():
        return AudiocraftFolder.within(path, elsewhere)
    return AudiocraftFolder.within(hub.locate(place, patterns=[*hub.ORIGINALS, *_TEXTS]), elsewhere)


# to the documents' layout


def _to_hf(
    original: AudiocraftFolder,
    target: Path,
    *,
    dtype: torch.dtype | None,
    safe_serialization: bool,
    force: bool,
    tell: Tell,
) -> Converted:
    if original.language_model is None:
        raise CheckpointError(f"{original.codec} is a codec alone", expected="a language model beside it")
    config = _config(original.config())
    with torch.device("meta"):
        model: PreTrainedModel = registry.model_class(config.model_type, registry.MUSIC)(config)
    config.architectures = [type(model).__name__]
    for part in (config, config.text_encoder, config.audio_encoder, config.decoder):
        part.dtype = dtype or torch.float32
    processor = _processor(config.model_type, original)  # which may not be in reach: known before anything is written
    with original.open() as weights, new_folder(target, force=force) as folder:
        tensors = _fitting(model, weights)
        tell(f"writing {len(tensors)} tensors, {total_bytes(tensors, dtype) / 2**20:.1f} MiB")
        store.write_weights(folder, tensors, safe_serialization=safe_serialization, dtype=dtype)
        codec = {n.removeprefix(AUDIO_ENCODER): t for n, t in tensors.items() if n.startswith(AUDIO_ENCODER)}
        AudiocraftRecord.of(original, codec).write(folder)
        config.save_pretrained(folder)
        GenerationConfig.from_dict(original.generation()).save_pretrained(folder)
        processor.save_pretrained(folder)
        copy_beside(original.language_model.parent, folder, _TEXTS)
        return Converted(HF, len(tensors), total_bytes(tensors, dtype))


def _config(values: dict[str, Any]) -> Any:
    return registry.model_class(values["model_type"], "config").from_dict(values)


def _processor(model_type: str, original: AudiocraftFolder) -> Any:
    settings = original.features()
    features = registry.processing_class(settings["feature_extractor_type"]).from_dict(settings)
    name = registry.processing_names(model_type)[0]
    return registry.processing_class(str(name))(features, tokenizer_in(original.tokenizer()))


def _fitting(model: PreTrainedModel, weights: store.Weights) -> dict[str, Tensor]:
    """The model's tensors under the documents' names, seen in their files where that is possible.

    Raises:
        CheckpointError: listing what is missing, too much or of another shape.
    """
    stored = stored_names(weights, model)
    fit(model, weights, stored)
    places = {name: stored[name] for name in model.tensors_to_save()}
    views = weights.mapped(list(places.values()))
    return {name: views[place] if place in views else weights.read(place) for name, place in places.items()}


# to audiocraft's files


def _to_audiocraft(
    folder: Path, target: Path, *, dtype: torch.dtype | None, text_encoder: str | None, force: bool, tell: Tell
) -> Converted:
    if stated_in(read_json(folder / CONFIG_NAME), str(folder)) is not None:
        raise ParamError(f"{folder} has rounded weights", expected="weights in floating point, as audiocraft has them")
    config = AutoConfig.from_pretrained(folder)
    families = registry.model_types(registry.MUSIC)
    if config.model_type not in families:
        raise ParamError(f"{folder} holds a model of type {config.model_type!r}", expected=f"one of {families}")
    with torch.device("meta"):
        model: PreTrainedModel = registry.model_class(config.model_type, registry.MUSIC)(config)
    with ExitStack() as stack:
        weights = stack.enter_context(store.open_weights(folder))
        composite = _composite(folder, config, _fitting(model, weights))
        new = stack.enter_context(new_folder(target, force=force))
        tell(f"writing {len(composite.tensors)} tensors")
        write_audiocraft(new, composite, record=AudiocraftRecord.read(folder), text_encoder=text_encoder, dtype=dtype)
        copy_beside(folder, new, _TEXTS)
        return Converted(AUDIOCRAFT, len(composite.tensors), total_bytes(composite.tensors, dtype))


def _feature_settings(folder: Path, model_type: str) -> dict[str, Any]:
    """Those of the folder, or, in one that a model was saved into without its processor, those of a new extractor."""
    if (folder / FEATURES_NAME).exists() or (folder / PROCESSOR_NAME).exists():
        return feature_settings(folder)
    settings: dict[str, Any] = registry.processing_class(str(registry.processing_names(model_type)[1]))().to_dict()
    return settings


def _composite(folder: Path, config: Any, tensors: Mapping[str, Tensor]) -> Composite:
    generation = (
        GenerationConfig.from_pretrained(folder)
        if (folder / "generation_config.json").exists()
        else GenerationConfig.from_model_config(config)
    )
    guidance, frames = generation.guidance_scale, generation.max_length
    rate_hz = config.audio_encoder.frame_rate
    return Composite(
        config.to_dict(),
        _feature_settings(folder, config.model_type),
        3.0 if guidance is None else float(guidance),
        round(frames / rate_hz, 3) if frames and frames >= rate_hz else 30.0,
        tensors,
    )
