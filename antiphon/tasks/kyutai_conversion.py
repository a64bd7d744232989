"""A Moshi or a Mimi in the other format: from kyutai's own files to the documents' layout, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from antiphon.checkpoints import store
from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.checkpoints.json_files import CONFIG_NAME, read_json
from antiphon.checkpoints.kyutai_folder import TOKENIZER_FILE, KyutaiFolder
from antiphon.checkpoints.kyutai_language_model import MODEL_TYPE
from antiphon.checkpoints.kyutai_names import AUDIO_ENCODER
from antiphon.checkpoints.kyutai_record import KyutaiRecord
from antiphon.checkpoints.kyutai_writer import write_kyutai
from antiphon.checkpoints.new_folder import copy_beside, new_folder
from antiphon.checkpoints.weight_writer import total_bytes
from antiphon.errors import ParamError
from antiphon.generation.config import GenerationConfig
from antiphon.models import registry
from antiphon.models.auto import AutoConfig
from antiphon.models.moshi import MoshiForConditionalGeneration
from antiphon.models.pretrained import PreTrainedModel
from antiphon.models.processing import tokenizer_in
from antiphon.models.quantization import stated_in
from antiphon.tasks.converted import HF, KYUTAI, TEXTS, Converted, Tell, fitting
from antiphon.text.tokenizer_folder import SENTENCEPIECE_FILES

FAMILIES = (MODEL_TYPE, "mimi")
# what the package calls the settings of generation, and where the documents have them
_TEXT_SETTINGS = {"use_sampling": "do_sample", "temp_text": "temperature", "top_k_text": "top_k"}
_DEPTH_SETTINGS = {"temp": "temperature", "top_k": "top_k"}
_USUAL = {"use_sampling": True, "temp_text": 0.7, "top_k_text": 25, "temp": 0.8, "top_k": 250}


def to_hf(
    original: KyutaiFolder,
    target: Path,
    *,
    dtype: torch.dtype | None,
    safe_serialization: bool,
    force: bool,
    tell: Tell,
) -> Converted:
    """Writes the documents' layout; what it has no place for is kept in ``kyutai.json``.

    Adapters are added to the weights and weights in 8 bits are widened.

    Raises:
        CheckpointError, ConfigError: files that cannot be read, or are of a model that cannot be computed here.
    """
    config = registry.model_class(original.model_type(), "config").from_dict(original.config())
    model = _on_meta(config)
    config.architectures = [type(model).__name__]
    tokenizer = tokenizer_in(original.path) if original.has_language_model else None  # known before anything is written
    with original.open() as weights, new_folder(target, force=force) as folder:
        tensors = fitting(model, weights)
        tell(f"writing {len(tensors)} tensors, {total_bytes(tensors, dtype) / 2**20:.1f} MiB")
        store.write_weights(folder, tensors, safe_serialization=safe_serialization, dtype=dtype)
        language_model = (tensor for name, tensor in tensors.items() if not name.startswith(AUDIO_ENCODER))
        config.dtype = dtype or next(language_model).dtype
        config.save_pretrained(folder)
        KyutaiRecord.of(original).write(folder)
        settings = original.features()
        registry.processing_class(settings["feature_extractor_type"]).from_dict(settings).save_pretrained(folder)
        if tokenizer is not None:
            GenerationConfig.from_dict(original.generation()).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        copy_beside(original.path, folder, TEXTS)
        return Converted(HF, len(tensors), total_bytes(tensors, dtype))


def to_kyutai(folder: Path, target: Path, *, dtype: torch.dtype | None, force: bool, tell: Tell) -> Converted:
    """Writes kyutai's own files; the codec keeps its precision.

    Raises:
        ParamError: a model that kyutai's package has no form for.
        CheckpointError: files that cannot be read or written.
    """
    if KyutaiFolder.found(folder) is not None:
        raise ParamError(f"{folder} holds kyutai's own files", expected="the documents' layout, or to='hf'")
    values = read_json(folder / CONFIG_NAME)
    if stated_in(values, str(folder)) is not None:
        raise ParamError(f"{folder} has rounded weights", expected="weights in floating point, to be written plainly")
    config = AutoConfig.from_pretrained(folder)
    with store.open_weights(folder) as weights, new_folder(target, force=force) as new:
        tensors = fitting(_on_meta(config), weights)
        tell(f"writing {len(tensors)} tensors")
        record, settings = KyutaiRecord.read(folder), _settings(folder)
        write_kyutai(new, config.to_dict(), tensors, record=record, generation=settings, dtype=dtype)
        if config.model_type == MODEL_TYPE and not _copy_tokenizer(folder, new):
            tell(f"{folder} has no SentencePiece file: put {TOKENIZER_FILE} beside what was written")
        copy_beside(folder, new, TEXTS)
        return Converted(KYUTAI, len(tensors), total_bytes(tensors, dtype))


def _on_meta(config: Any) -> PreTrainedModel:
    cls = MoshiForConditionalGeneration if config.model_type == MODEL_TYPE else registry.model_class("mimi", "model")
    with torch.device("meta"):
        model: PreTrainedModel = cls(config)
    return model


def _settings(folder: Path) -> dict[str, Any]:
    """What ``generation_config.json`` says otherwise than the package by itself, under the package's names."""
    path = folder / "generation_config.json"
    values = read_json(path) if path.exists() else {}
    depth = values.get("depth_decoder_config")
    found = {theirs: values.get(ours) for theirs, ours in _TEXT_SETTINGS.items()}
    if isinstance(depth, Mapping):
        found |= {theirs: depth.get(ours) for theirs, ours in _DEPTH_SETTINGS.items()}
    return {key: value for key, value in found.items() if value not in (None, _USUAL[key])}


def _copy_tokenizer(folder: Path, new: Path) -> bool:
    names = [*SENTENCEPIECE_FILES, *(path.name for path in sorted(folder.glob("*_spm_*.model")))]
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        return False
    with atomic_write(new / TOKENIZER_FILE) as part:
        part.write_bytes(found.read_bytes())
    return True
