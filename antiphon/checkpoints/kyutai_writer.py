"""kyutai's own files, written from a Moshi or a Mimi of the documents' layout."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from antiphon.checkpoints.destinations import TensorInfo
from antiphon.checkpoints.json_files import CONFIG_NAME, write_json
from antiphon.checkpoints.kyutai_codec import MODEL_TYPE as CODEC_TYPE
from antiphon.checkpoints.kyutai_codec import PUBLISHED, codec_values, kyutai_codec
from antiphon.checkpoints.kyutai_config import KyutaiConfig
from antiphon.checkpoints.kyutai_folder import (
    CODEC_CONFIG_FILE,
    CODEC_FILE,
    FILE_KEYS,
    LORA_KEYS,
    MODEL_FILE,
    OTHER_KEYS,
    TOKENIZER_FILE,
)
from antiphon.checkpoints.kyutai_language_model import LEGACY, kyutai_values, language_model_values
from antiphon.checkpoints.kyutai_names import (
    AUDIO_ENCODER,
    codec_layout,
    codec_pieces,
    joined_spelling,
    language_model_layout,
    language_model_pieces,
)
from antiphon.checkpoints.kyutai_record import KyutaiRecord
from antiphon.checkpoints.rebuilt_file import Layout
from antiphon.checkpoints.renamed_file import Piece
from antiphon.checkpoints.weight_writer import cast, write_tensors
from antiphon.errors import ConfigError

log = logging.getLogger(__name__)

_KEPT = Path("the kept configuration")


def write_kyutai(
    folder: Path,
    values: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    record: KyutaiRecord | None = None,
    generation: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Writes the language model, the codec and their configurations, or a codec alone.

    Args:
        folder: where to. values: of the documents' configuration, every field with a value. tensors: under the
            documents' names. record: of the files it came from; what of it still fits is used again. generation: the
            keys of ``lm_gen_config``, for a configuration that is made anew. dtype: of the language model, as it is by
            default; the codec stays as it is.

    Raises:
        ParamError: a model that kyutai's package has no form for. CheckpointError: the files cannot be written.
    """
    if values["model_type"] == CODEC_TYPE:
        _write_codec(folder, values, tensors, record)
        return
    codec = {name.removeprefix(AUDIO_ENCODER): t for name, t in tensors.items() if name.startswith(AUDIO_ENCODER)}
    stated = _write_codec(folder, values["audio_encoder_config"], codec, record)
    config = _kept_config(record, values)
    if config is None:
        config = kyutai_values(values) | ({"lm_gen_config": dict(generation)} if generation else {})
    legacy = record is not None and record.config is None and config == LEGACY and not stated
    if not legacy:
        write_json(folder / CONFIG_NAME, config | ({"mimi_config_name": CODEC_CONFIG_FILE} if stated else {}))
    pieces = language_model_pieces(record.language_model if record else (), values["num_codebooks"])
    own = {name: tensor for name, tensor in tensors.items() if not name.startswith(AUDIO_ENCODER)}
    state = _state(own, language_model_layout(values), pieces)
    write_tensors(folder / MODEL_FILE, {name: cast(tensor, dtype) for name, tensor in state.items()})


def _write_codec(
    folder: Path, values: Mapping[str, Any], tensors: Mapping[str, Tensor], record: KyutaiRecord | None
) -> bool:
    """Writes the codec, and whether its configuration had to be written too."""
    kept = record.codec_config if record else None
    if kept is not None and not _agree(codec_values(kept, _KEPT), values):
        log.warning("the configuration that was kept describes another codec, so a new one is written")
        kept = None
    config = kyutai_codec(values) if kept is None else dict(kept)
    pieces = codec_pieces(record.codec if record else ())
    write_tensors(folder / CODEC_FILE, _state(tensors, codec_layout(values), pieces))
    stated = config != PUBLISHED
    if stated:
        write_json(folder / CODEC_CONFIG_FILE, config)
    return stated


def _kept_config(record: KyutaiRecord | None, values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The kept configuration where it describes this model, with the names that the files get now."""
    if record is None:
        return None
    config = dict(LEGACY if record.config is None else record.config)
    sizes = {key: value for key, value in config.items() if key not in (*FILE_KEYS, *OTHER_KEYS, *LORA_KEYS)}
    try:
        told = language_model_values(KyutaiConfig(sizes, _KEPT))
    except ConfigError:
        told = None
    if told is None or not _agree(told, values):
        log.warning("the configuration that was kept describes another model, so a new one is written")
        return None
    named = {"moshi_name": MODEL_FILE, "mimi_name": CODEC_FILE, "tokenizer_name": TOKENIZER_FILE}
    left_out = (
        "lora",
        "lora_rank",
        "lora_scaling",
        "lora_name",
        "quantize",
        "mimi_config_name",
    )  # all is in the weights
    return {key: named.get(key, value) for key, value in config.items() if key not in left_out}


def _agree(told: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether the values say nothing else than what was told; they may leave something unsaid."""
    for key, value in told.items():
        stated = values.get(key)
        if key == "rope_theta":
            stated = (values.get("rope_parameters") or {}).get(key, stated)
        if isinstance(value, Mapping) and isinstance(stated, Mapping):
            same = _agree(value, stated)
        else:
            same = stated is None or stated == value
        if not same:
            return False
    return True


def _state(tensors: Mapping[str, Tensor], layout: Layout, pieces: Mapping[str, Piece]) -> dict[str, Tensor]:
    """The tensors under kyutai's names, in the spelling and order that was kept where it is of the same tensors."""
    infos = {name: TensorInfo(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
    plan = layout.theirs(infos)
    spelled = _by_file(pieces) if pieces.keys() == plan.keys() else joined_spelling(plan)
    state = {}
    for name, parts in spelled.items():
        made = [plan[part]([tensors[source] for source in plan[part].sources]) for part in parts]
        state[name] = made[0] if len(made) == 1 else torch.cat(made)
    return state


def _by_file(pieces: Mapping[str, Piece]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, piece in pieces.items():
        found.setdefault(piece.name, []).append(name)
    return found
