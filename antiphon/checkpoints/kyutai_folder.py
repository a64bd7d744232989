"""A folder as kyutai's own checkpoints have it, presented as the documents' layout: values, weights, settings.

The language model lies in ``model.safetensors`` and the codec in a file named after its training run, unless
``config.json`` names others; the first repositories have no ``config.json`` at all.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from antiphon.checkpoints import hub, store
from antiphon.checkpoints.json_files import CONFIG_NAME, JsonFileError, read_json
from antiphon.checkpoints.kyutai_codec import MODEL_TYPE as CODEC_TYPE
from antiphon.checkpoints.kyutai_codec import PUBLISHED, codec_values
from antiphon.checkpoints.kyutai_config import KyutaiConfig
from antiphon.checkpoints.kyutai_language_model import LEGACY, MODEL_TYPE, language_model_values
from antiphon.checkpoints.kyutai_names import (
    AUDIO_ENCODER,
    codec_layout,
    codec_pieces,
    language_model_layout,
    language_model_pieces,
)
from antiphon.checkpoints.kyutai_weights import MeantWeights
from antiphon.checkpoints.rebuilt_file import RebuiltFile
from antiphon.checkpoints.renamed_file import RenamedFile
from antiphon.checkpoints.store import WeightFile, Weights
from antiphon.errors import CheckpointError, ConfigError

MODEL_FILE, ROUNDED_FILE = "model.safetensors", "model.q8.safetensors"
CODEC_FILE, TOKENIZER_FILE = "tokenizer-e351c8d8-checkpoint125.safetensors", "tokenizer_spm_32k_3.model"
CODEC_CONFIG_FILE = "mimi.json"  # beside a codec alone that is not the published one
# keys of config.json that are not the language model's: file names, and what is known about it
FILE_KEYS = ("moshi_name", "mimi_name", "mimi_config_name", "tokenizer_name", "lora_name")
OTHER_KEYS = ("model_type", "lm_gen_config", "tts_config", "stt_config", "model_id")
LORA_KEYS = ("lora", "lora_rank", "lora_scaling", "quantize")
_REMOTE, _LOCAL = "hf://", "file://"


def is_kyutai_config(values: Mapping[str, Any]) -> bool:
    """Whether the values of a ``config.json`` are kyutai's and not the documents'."""
    return "hidden_size" not in values and "dim" in values and ("n_q" in values or "dep_q" in values)


class KyutaiFolder:
    """kyutai's files.

    Args:
        path: their folder. values: of ``config.json``; ``None`` where there is none.
    """

    def __init__(self, path: Path, values: Mapping[str, Any] | None) -> None:
        self.path = path
        self.stated = values
        self._values = dict(LEGACY if values is None else values)

    @classmethod
    def found(cls, place: Path) -> Self | None:
        """The checkpoint in a folder; ``None`` where there is none of kyutai's."""
        if (place / CONFIG_NAME).exists():
            try:
                values = read_json(place / CONFIG_NAME)
            except JsonFileError:  # whoever wants the values will say so
                return None
            return cls(place, values) if is_kyutai_config(values) else None
        files = (CODEC_FILE, TOKENIZER_FILE, ROUNDED_FILE)
        return cls(place, None) if any(os.path.lexists(place / name) for name in files) else None

    # what the documents' files would hold

    @property
    def has_language_model(self) -> bool:
        """Whether there is one, or a codec alone."""
        return self.stated is not None or any(os.path.lexists(self.path / n) for n in (MODEL_FILE, ROUNDED_FILE))

    def model_type(self) -> str:
        """Of the configuration."""
        return MODEL_TYPE if self.has_language_model else CODEC_TYPE

    def config(self) -> dict[str, Any]:
        """The values of ``config.json``.

        Raises:
            CheckpointError: a file cannot be read. ConfigError: it describes what cannot be computed here.
        """
        if not self.has_language_model:
            return self._codec_values
        return {**self._language_model_values, "audio_encoder_config": self._codec_values}

    def generation(self) -> dict[str, Any]:
        """The values of ``generation_config.json``: how the package talks, by default or as its file says."""
        told = self._stated_generation()
        books, start = self._language_model_values["num_codebooks"], self._language_model_values["vocab_size"]
        sampled = bool(told.get("use_sampling", True))
        return {
            "bos_token_id": start,
            "pad_token_id": start,
            "do_sample": sampled,
            "temperature": told.get("temp_text", 0.7),
            "top_k": told.get("top_k_text", 25),
            "depth_decoder_config": {
                "do_sample": sampled,
                "temperature": told.get("temp", 0.8),
                "top_k": told.get("top_k", 250),
                "min_length": books + 1,
                "max_length": books + 1,
            },
        }

    def _stated_generation(self) -> Mapping[str, Any]:
        told = self._values.get("lm_gen_config") or {}
        if not isinstance(told, Mapping):
            raise ConfigError(f"{self._source} has lm_gen_config={told!r}", expected="an object of settings")
        return told

    def features(self) -> dict[str, Any]:
        """The values of ``preprocessor_config.json``."""
        return {
            "feature_extractor_type": "EncodecFeatureExtractor",
            "feature_size": self._codec_values["audio_channels"],
            "sampling_rate": self._codec_values["sampling_rate"],
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
        }

    def tokenizer(self) -> Path:
        """The tokenizer's file.

        Raises:
            CheckpointError: it cannot be reached.
        """
        return self.file("tokenizer_name", TOKENIZER_FILE)

    def open(self, part: str = "") -> Weights:
        """The weights under the documents' names.

        Args:
            part: a prefix such as ``"decoder."``: only files that hold tensors under it are opened; all by default.

        Raises:
            CheckpointError: a file is missing, damaged or unsafe, or not of the sizes that its configuration says.
        """
        opened: list[WeightFile] = []
        try:
            for file in self._files(part):
                opened.append(file)
        except BaseException:
            for file in opened:
                file.close()
            raise
        return Weights(opened)

    def open_own(self) -> Weights:
        """The weights in kyutai's files, under the documents' names: all of them.

        Raises:
            CheckpointError: as ``open``.
        """
        return self.open()

    def _files(self, part: str) -> Iterator[WeightFile]:
        if not self.has_language_model:
            yield self._codec_file("")
            return
        if not part.startswith(AUDIO_ENCODER):
            yield self._language_model_file()
        if not part or part.startswith(AUDIO_ENCODER):
            yield self._codec_file(AUDIO_ENCODER)

    # the parts

    @property
    def _source(self) -> Path:
        return self.path / CONFIG_NAME

    @functools.cached_property
    def _language_model_values(self) -> dict[str, Any]:
        stated = self._values.get("model_type", MODEL_TYPE)
        if stated != MODEL_TYPE:
            raise ConfigError(f"{self._source} is of model_type {stated!r}", expected=repr(MODEL_TYPE))
        other = {*FILE_KEYS, *OTHER_KEYS, *LORA_KEYS}
        sizes = {key: value for key, value in self._values.items() if key not in other}
        return language_model_values(KyutaiConfig(sizes, self._source))

    @functools.cached_property
    def _codec_values(self) -> dict[str, Any]:
        stated = self.codec_config
        return codec_values(PUBLISHED if stated is None else stated, self.path)

    @functools.cached_property
    def codec_config(self) -> dict[str, Any] | None:
        """kyutai's configuration of the codec; ``None`` where it has no file of its own, and is the published one.

        Raises:
            CheckpointError: the file that is named cannot be read.
        """
        named = self._values.get("mimi_config_name") is not None
        beside = self.stated is None and (self.path / CODEC_CONFIG_FILE).exists()
        return read_json(self.file("mimi_config_name", CODEC_CONFIG_FILE)) if named or beside else None

    @property
    def language_model_path(self) -> Path:
        """The file of the language model.

        Raises:
            CheckpointError: it is missing.
        """
        alone = self.stated is None and not os.path.lexists(self.path / MODEL_FILE)
        return self.file("moshi_name", ROUNDED_FILE if alone else MODEL_FILE)

    @property
    def codec_path(self) -> Path:
        """The file of the codec.

        Raises:
            CheckpointError: it is missing.
        """
        return self.file("mimi_name", CODEC_FILE)

    def _language_model_file(self) -> WeightFile:
        values = self._language_model_values
        spelled = self._spelled(self.language_model_path)
        adapter = self._adapter()
        if adapter is None:
            meant = MeantWeights(spelled)
        else:
            config = KyutaiConfig(self._values, self._source)
            rank, scaling = config.number("lora_rank", 128), config.number("lora_scaling", 2.0, kind=float, least=0)
            meant = MeantWeights(spelled, adapter, rank=rank, scaling=scaling)
        return RebuiltFile(meant, language_model_layout(values).ours(meant.infos))

    def _adapter(self) -> WeightFile | None:
        if not self._values.get("lora", False):
            if self._values.get("lora_name"):
                raise ConfigError(
                    f"{self._source} names {self._values['lora_name']!r} with lora=false", expected="lora=true, or none"
                )
            return None
        if not self._values.get("lora_name"):
            return None
        return self._spelled(self.file("lora_name", ""))

    def _spelled(self, path: Path) -> WeightFile:
        (file,) = store.open_file(path, pick=state_of).files
        return RenamedFile(file, language_model_pieces(file.infos, self._language_model_values["num_codebooks"]))

    def _codec_file(self, prefix: str) -> WeightFile:
        (file,) = store.open_file(self.codec_path, pick=state_of).files
        spelled = RenamedFile(file, codec_pieces(file.infos))
        layout = codec_layout(self._codec_values, spelled.infos)
        return RebuiltFile(spelled, {prefix + name: made for name, made in layout.ours(spelled.infos).items()})

    def file(self, key: str, default: str) -> Path:
        """The file that the configuration names under a key.

        A plain name is a file beside the configuration, ``hf://user/repository/name`` one on the Hub, and
        ``file://path`` one of this machine.

        Raises:
            CheckpointError: it leads out of the folder, or cannot be reached.
        """
        name = self._values.get(key) or default
        if not isinstance(name, str):
            raise ConfigError(f"{self._source} has {key}={name!r}", expected="the name of a file")
        if name.startswith(_REMOTE):
            user, _, rest = name.removeprefix(_REMOTE).partition("/")
            repository, _, inner = rest.partition("/")
            place = hub.locate(f"{user}/{repository}", patterns=[inner]) / inner
        elif name.startswith(_LOCAL):
            place = Path(name.removeprefix(_LOCAL))
        elif set(name) & set("/\\:\0") or name.startswith("."):
            raise CheckpointError(f"{self._source} has {key}={name!r}", expected="the plain name of a file beside it")
        else:
            place = self.path / name
        if not place.exists():
            raise CheckpointError(
                f"{place} is missing", fix=f"Fetch the whole checkpoint, or mend {key} in {CONFIG_NAME}"
            )
        return place


def state_of(content: Any) -> Mapping[str, Any]:
    """The tensors in a training run's file."""
    for path in (("fsdp_best_state", "model"), ("model",), ()):
        inner = content
        for key in path:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        if isinstance(inner, Mapping) and inner:
            return inner
    raise CheckpointError("the file holds no weights", expected="fsdp_best_state.model, or model")
