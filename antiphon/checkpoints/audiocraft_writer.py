"""audiocraft's own files, written from a composite of the documents' layout."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from antiphon import __version__
from antiphon.checkpoints import text_encoders
from antiphon.checkpoints.atomic_files import atomic_write
from antiphon.checkpoints.audiocraft_codec import codec_values, table_of, xp_of_codec
from antiphon.checkpoints.audiocraft_folder import CODEC_FILE, LANGUAGE_MODEL_FILE
from antiphon.checkpoints.audiocraft_language_model import (
    ACTIVATIONS,
    MELODY,
    language_model_values,
    xp_of_language_model,
)
from antiphon.checkpoints.audiocraft_names import (
    AUDIO_ENCODER,
    CHROMA_WINDOW,
    LANGUAGE_MODEL,
    TEXT_ENCODER,
    plain_name,
    stored_from,
)
from antiphon.checkpoints.audiocraft_record import AudiocraftRecord, FileRecord, digest_of
from antiphon.checkpoints.keys import KeyTable
from antiphon.checkpoints.weight_writer import cast, stored_alone, total_bytes
from antiphon.checkpoints.xp_config import XpConfig
from antiphon.errors import ConfigError, ParamError

log = logging.getLogger(__name__)

_WITHOUT_EFFECT = ("dropout", "attention_dropout", "activation_dropout")
_KEPT = Path("the kept configuration")
_VERSION = f"antiphon {__version__}"


@dataclass(frozen=True)
class Composite:
    """A MusicGen or MusicGen Melody of the documents' layout.

    Attributes:
        values: of its configuration, every field with a value. features: of its feature extractor.
        guidance: the scale. segment_s: seconds of a window. tensors: under the documents' names.
    """

    values: Mapping[str, Any]
    features: Mapping[str, Any]
    guidance: float
    segment_s: float
    tensors: Mapping[str, torch.Tensor]

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors under a prefix, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def write_audiocraft(
    folder: Path,
    model: Composite,
    *,
    record: AudiocraftRecord | None = None,
    text_encoder: str | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Writes ``state_dict.bin`` and ``compression_state_dict.bin``.

    The text encoder's weights are in neither: audiocraft takes them by name.

    Args:
        folder: where to. model: what. record: of the files it came from; what of it still fits is used again.
        text_encoder: audiocraft's name of the text encoder; told by its sizes where it is not given. dtype: of the
            floating point tensors, as they are by default.

    Raises:
        ParamError: a model that audiocraft has no form for. CheckpointError: the files cannot be written.
    """
    _check(model)
    _write(folder / LANGUAGE_MODEL_FILE, _language_model(model, record, text_encoder, dtype))
    _write(folder / CODEC_FILE, _codec(model, record.codec if record else None, dtype))


def _check(model: Composite) -> None:
    """Refuses what audiocraft's own modules do not have."""
    decoder = model.values["decoder"]
    if decoder["scale_embedding"]:
        raise ParamError("a decoder with scale_embedding=True", expected="False: audiocraft does not scale embeddings")
    if decoder["activation_function"] not in ACTIVATIONS:
        raise ParamError(
            f"a decoder with activation_function={decoder['activation_function']!r}", expected=f"one of {ACTIVATIONS}"
        )
    if "enc_to_dec_proj.weight" not in model.tensors:
        raise ParamError(
            "a text encoder as wide as the decoder, without a projection between them",
            expected="enc_to_dec_proj, which audiocraft always has",
        )


def _language_model(
    model: Composite, record: AudiocraftRecord | None, text_encoder: str | None, dtype: torch.dtype | None
) -> dict[str, Any]:
    kept = record.language_model if record is not None else None
    if kept is not None and not _fits_language_model(kept.config, model, text_encoder):
        log.warning("the configuration that was kept describes another model, so a new one is written")
        kept = None
    if kept is None:
        values = xp_of_language_model(
            model.values,
            model.features,
            text_encoder=text_encoder or _text_encoder(model),
            guidance=model.guidance,
            segment_s=model.segment_s,
        )
        config = XpConfig(values, _KEPT).text
    else:
        config = kept.config
    trained_text = kept is not None and any(".t5." in name for name in kept.names)
    left_out = (AUDIO_ENCODER,) if trained_text else (AUDIO_ENCODER, TEXT_ENCODER)
    tensors = {name: tensor for name, tensor in model.tensors.items() if not name.startswith(left_out)}
    more = dict(record.tensors) if record is not None and kept is not None else {}
    if model.values["model_type"] == MELODY and not more:
        more = {CHROMA_WINDOW: torch.hann_window(model.features["n_fft"])}
    state = _state(tensors, LANGUAGE_MODEL, kept.names if kept else (), more, dtype)
    return _package(state, config, kept.version if kept else _VERSION)


def _codec(model: Composite, record: FileRecord | None, dtype: torch.dtype | None) -> dict[str, Any]:
    tensors = model.part(AUDIO_ENCODER)
    values = model.values["audio_encoder"]
    if record is not None and record.pretrained is not None:
        if digest_of(tensors) == record.digest:
            return {"pretrained": record.pretrained, "exported": True, "version": record.version}
        log.warning("the codec is no longer %s, so its weights are written", record.pretrained)
        record = None
    if record is not None and not _fits_codec(record.config, values):
        log.warning("the configuration that was kept describes another codec, so a new one is written")
        record = None
    config = record.config if record else XpConfig(xp_of_codec(values), _KEPT).text
    state = _state(tensors, table_of(values), record.names if record else (), {}, dtype)
    return _package(state, config, record.version if record else _VERSION)


def _package(state: OrderedDict[str, torch.Tensor], config: str, version: str) -> dict[str, Any]:
    return {"best_state": state, "xp.cfg": config, "version": version, "exported": True}


def _state(
    tensors: Mapping[str, torch.Tensor],
    table: KeyTable,
    kept: Iterable[str],
    more: Mapping[str, torch.Tensor],
    dtype: torch.dtype | None,
) -> OrderedDict[str, torch.Tensor]:
    """The tensors under audiocraft's names, in the spelling and order that was kept where it is of the same tensors."""
    parts = stored_from(tensors, table)
    spelled = {plain_name(name): name for name in kept}
    if spelled.keys() != parts.keys() | more.keys():
        spelled = {name: name for name in [*parts, *more]}
    state: dict[str, torch.Tensor] = {}
    for plain, name in spelled.items():
        whole = more[plain] if plain in more else _joined([tensors[part] for part in parts[plain]])
        state[name] = cast(whole, dtype)
    return stored_alone(state)


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _fits_language_model(text: str, model: Composite, text_encoder: str | None) -> bool:
    try:
        told = language_model_values(XpConfig.of_text(text, _KEPT))
    except ConfigError:
        return False
    if told.model_type != model.values["model_type"] or text_encoder not in (None, told.text_encoder):
        return False
    return _agree(told.decoder, model.values["decoder"])


def _fits_codec(text: str, values: Mapping[str, Any]) -> bool:
    try:
        told = codec_values(XpConfig.of_text(text, _KEPT))
    except ConfigError:
        return False
    told["target_bandwidths"] = told["target_bandwidths"][-1:]
    return _agree(told, {**values, "target_bandwidths": values["target_bandwidths"][-1:]})


def _agree(told: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(values.get(key) == value for key, value in told.items() if key not in _WITHOUT_EFFECT)


def _text_encoder(model: Composite) -> str:
    name = text_encoders.name_of(model.values["text_encoder"])
    if name is None:
        raise ParamError(
            "the text encoder has the sizes of none that audiocraft knows",
            expected=f"one of {', '.join(text_encoders.KNOWN)}",
            fix="Name the one that audiocraft shall take: text_encoder='t5-base' (--text-encoder)",
        )
    return name


def _write(path: Path, package: dict[str, Any]) -> None:
    with atomic_write(path, needed_bytes=total_bytes(package.get("best_state", {}))) as part:
        torch.save(package, part)
