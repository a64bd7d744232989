"""A checkpoint in the other format: from audiocraft's or kyutai's files to the documents' layout, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antiphon.checkpoints import hub, store
from antiphon.checkpoints.audiocraft_folder import AudiocraftFolder, Elsewhere
from antiphon.checkpoints.audiocraft_names import AUDIO_ENCODER
from antiphon.checkpoints.audiocraft_record import AudiocraftRecord
from antiphon.checkpoints.audiocraft_writer import Composite, write_audiocraft
from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
from antiphon.checkpoints.json_files import CONFIG_NAME, read_json
from antiphon.checkpoints.kyutai_folder import KyutaiFolder
from antiphon.checkpoints.new_folder import copy_beside, new_folder
from antiphon.checkpoints.weight_writer import total_bytes
from antiphon.errors import CheckpointError, ParamError
from antiphon.generation.config import GenerationConfig
from antiphon.models import registry
from antiphon.models.auto import AutoConfig
from antiphon.models.configuration import dtype_of
from antiphon.models.features import FEATURES_NAME, PROCESSOR_NAME, feature_settings
from antiphon.models.pretrained import PreTrainedModel
from antiphon.models.processing import tokenizer_in
from antiphon.models.quantization import stated_in
from antiphon.tasks import kyutai_conversion
from antiphon.tasks.converted import AUDIOCRAFT, FORMATS, HF, KYUTAI, TEXTS, Converted, Tell, fitting

# the names that the documents' scripts give
_SIZES = ("small", "medium", "large", "melody", "melody-large")
SHORT_NAMES = (*_SIZES, *(f"stereo-{size}" for size in _SIZES))


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
    """Writes a MusicGen, a MusicGen Melody, a Moshi or a Mimi in the other format.

    Weights keep the precision they are stored in, part by part, unless ``dtype`` names one; what the original's files
    hold beyond the documents' layout is kept in ``audiocraft.json`` or ``kyutai.json``, so that the way back gives the
    same tensors, names and configurations. Weights are seen through their files: what is in memory is what is cast (a
    shard on the way to ``hf``), and the projections of attention, which lie fused in the originals.

    Args:
        source: a folder, one file of audiocraft's, a name on the Hub, or a short name such as ``"small"`` or
            ``"stereo-melody"``. destination: a folder that is empty or does not exist.
        to: ``"hf"``, or the original's, ``"audiocraft"`` or ``"kyutai"``; the other one than the source's by default.
        text_encoder, codec: of a MusicGen, on the way to ``hf``: a folder or a name on the Hub with the part that
            audiocraft's files only name. For the way back ``text_encoder`` is audiocraft's name of the T5, where its
            sizes do not say.
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
    original = _original(place, elsewhere) if to in (None, HF) else None
    if original is None and to == HF:
        raise CheckpointError(
            f"{os.fspath(source)} holds no files of audiocraft's or kyutai's",
            expected="state_dict.bin and compression_state_dict.bin, a training run's checkpoint.th, or kyutai's "
            "config.json with the files that it names",
        )
    cast, target = dtype_of(dtype), Path(destination)
    if isinstance(original, KyutaiFolder):
        CheckpointFolder(original.path, elsewhere)  # which has none of its parts elsewhere
        return kyutai_conversion.to_hf(
            original, target, dtype=cast, safe_serialization=safe_serialization, force=force, tell=tell
        )
    if original is not None:
        return _to_hf(original, target, dtype=cast, safe_serialization=safe_serialization, force=force, tell=tell)
    folder = hub.fetched(place)
    family = KYUTAI if CheckpointFolder(folder).model_type() in kyutai_conversion.FAMILIES else AUDIOCRAFT
    if to not in (None, family):
        raise ParamError(f"to={to!r} for what {folder} holds", expected=repr(family))
    if codec is not None:
        raise ParamError(f"codec={os.fspath(codec)!r} on the way to {family}", expected="the checkpoint's own")
    named = None if text_encoder is None else os.fspath(text_encoder)
    if family == KYUTAI:
        if named is not None:
            raise ParamError(f"text_encoder={named!r} on the way to {KYUTAI}", expected="none: these models have none")
        return kyutai_conversion.to_kyutai(folder, target, dtype=cast, force=force, tell=tell)
    return _to_audiocraft(folder, target, dtype=cast, text_encoder=named, force=force, tell=tell)


def _place(source: str | os.PathLike[str]) -> str | os.PathLike[str]:
    short = source in SHORT_NAMES and not Path(source).exists()
    return f"facebook/musicgen-{source}" if short else source


def _original(place: str | os.PathLike[str], elsewhere: Elsewhere) -> AudiocraftFolder | KyutaiFolder | None:
    path = Path(place).expanduser()
    if path.is_file():
        return AudiocraftFolder.within(path, elsewhere)
    folder = hub.locate(place, patterns=[CONFIG_NAME, *hub.ORIGINALS, *TEXTS])
    found = AudiocraftFolder.within(folder, elsewhere)
    if found is not None or KyutaiFolder.found(folder) is None:
        return found
    return KyutaiFolder.found(hub.fetched(place))


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
        tensors = fitting(model, weights)
        tell(f"writing {len(tensors)} tensors, {total_bytes(tensors, dtype) / 2**20:.1f} MiB")
        store.write_weights(folder, tensors, safe_serialization=safe_serialization, dtype=dtype)
        codec = {n.removeprefix(AUDIO_ENCODER): t for n, t in tensors.items() if n.startswith(AUDIO_ENCODER)}
        AudiocraftRecord.of(original, codec).write(folder)
        config.save_pretrained(folder)
        GenerationConfig.from_dict(original.generation()).save_pretrained(folder)
        processor.save_pretrained(folder)
        copy_beside(original.language_model.parent, folder, TEXTS)
        return Converted(HF, len(tensors), total_bytes(tensors, dtype))


def _config(values: dict[str, Any]) -> Any:
    return registry.model_class(values["model_type"], "config").from_dict(values)


def _processor(model_type: str, original: AudiocraftFolder) -> Any:
    settings = original.features()
    features = registry.processing_class(settings["feature_extractor_type"]).from_dict(settings)
    name = registry.processing_names(model_type)[0]
    return registry.processing_class(str(name))(features, tokenizer_in(original.tokenizer()))


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
        composite = _composite(folder, config, fitting(model, weights))
        new = stack.enter_context(new_folder(target, force=force))
        tell(f"writing {len(composite.tensors)} tensors")
        write_audiocraft(new, composite, record=AudiocraftRecord.read(folder), text_encoder=text_encoder, dtype=dtype)
        copy_beside(folder, new, TEXTS)
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
