"""A folder as audiocraft's own checkpoints have it, presented as the documents' layout: values, weights, settings.

The language model lies in ``state_dict.bin`` (or a training run's ``checkpoint.th``), the codec in
``compression_state_dict.bin``, which may merely name one. The text encoder and its tokenizer are only named.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from antiphon.checkpoints.audiocraft_codec import MODEL_TYPE as CODEC_TYPE
from antiphon.checkpoints.audiocraft_codec import codec_values, table_of
from antiphon.checkpoints.audiocraft_file import AudiocraftFile
from antiphon.checkpoints.audiocraft_language_model import MELODY, LanguageModelValues, language_model_values
from antiphon.checkpoints.audiocraft_names import AUDIO_ENCODER, LANGUAGE_MODEL, TEXT_ENCODER, pieces_of
from antiphon.checkpoints.borrowed_part import BorrowedPart
from antiphon.checkpoints.json_files import CONFIG_NAME
from antiphon.checkpoints.renamed_file import RenamedFile
from antiphon.checkpoints.store import WeightFile, Weights
from antiphon.checkpoints.text_encoders import KNOWN, on_the_hub
from antiphon.checkpoints.xp_config import XpConfig
from antiphon.errors import CheckpointError

LANGUAGE_MODEL_FILE, TRAINING_FILE, CODEC_FILE = "state_dict.bin", "checkpoint.th", "compression_state_dict.bin"

# how to reach the Hub for another checkpoint than the one that names it
_SHARED_ACCESS = ("token", "cache_dir", "local_files_only", "force_download")
# a T5 has a decoder that nobody asks for
_UNUSED = ("decoder.", "lm_head.")


@dataclass(frozen=True)
class Elsewhere:
    """Where those parts are that audiocraft's files only name.

    Attributes:
        text_encoder: a folder or a name on the Hub, of a T5 or of a composite that has one; ``None`` for the one named.
        codec: the same for the codec. access: keywords of ``hub.locate``.
    """

    text_encoder: str | os.PathLike[str] | None = None
    codec: str | os.PathLike[str] | None = None
    access: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def taken_from(cls, kwargs: dict[str, Any], access: Mapping[str, Any]) -> Elsewhere:
        """Takes ``text_encoder`` and ``codec`` out of ``kwargs`` where they are names or paths."""
        named = {
            key: kwargs.pop(key) for key in ("text_encoder", "codec") if isinstance(kwargs.get(key), str | os.PathLike)
        }
        return cls(**named, access={key: access[key] for key in _SHARED_ACCESS if key in access})

    def given(self) -> list[str]:
        """The parts that the caller placed, as arguments."""
        named = {"text_encoder": self.text_encoder, "codec": self.codec}
        return [f"{key}={os.fspath(place)!r}" for key, place in named.items() if place is not None]


class AudiocraftFolder:
    """audiocraft's files, and where the rest is.

    Args:
        language_model: the file; ``None`` for a codec alone. codec: its file; ``None`` where there is none.
        elsewhere: where the other parts are.
    """

    def __init__(self, language_model: Path | None, codec: Path | None, elsewhere: Elsewhere | None = None) -> None:
        self.language_model = language_model
        self.elsewhere = elsewhere or Elsewhere()
        given = _codec_file_in(self.elsewhere.codec)
        self._codec_elsewhere = self.elsewhere.codec if given is None else None
        self.codec = codec if given is None else given

    @classmethod
    def found(cls, place: Path, elsewhere: Elsewhere | None = None) -> Self | None:
        """The checkpoint in a folder; ``None`` where it has a ``config.json``, and is so of the documents' layout."""
        return None if (place / CONFIG_NAME).exists() else cls.within(place, elsewhere)

    @classmethod
    def within(cls, place: Path, elsewhere: Elsewhere | None = None) -> Self | None:
        """The checkpoint in a folder, whatever else is there, or of one file and the codec beside it; else ``None``."""
        if place.is_file():
            beside = place.parent / CODEC_FILE
            return cls(place, beside if beside.exists() and beside != place else None, elsewhere)
        names = (LANGUAGE_MODEL_FILE, TRAINING_FILE)
        model = next((place / name for name in names if os.path.lexists(place / name)), None)
        codec = place / CODEC_FILE if os.path.lexists(place / CODEC_FILE) else None
        return cls(model, codec, elsewhere) if model or codec else None

    # what the documents' files would hold

    def model_type(self) -> str:
        """Of the configuration."""
        return CODEC_TYPE if self.language_model is None else self._told.model_type

    def config(self) -> dict[str, Any]:
        """The values of ``config.json``; weights that are stored in several precisions are float32 together.

        Raises:
            CheckpointError: a file cannot be read. ConfigError: it describes what cannot be computed here.
        """
        if self.language_model is None:
            return self._codec_values(None)
        told = self._told
        values = {
            "model_type": told.model_type,
            "text_encoder": self._text_values(told),
            "audio_encoder": self._codec_values(told),
            "decoder": {**told.decoder, "dtype": "float32"},
            "dtype": "float32",
        }
        if told.model_type == MELODY:
            values |= {key: told.chroma[key] for key in ("num_chroma", "chroma_length")}
        return values

    def generation(self) -> dict[str, Any]:
        """The values of ``generation_config.json``: how audiocraft generates, a window long."""
        told = self._told
        codec = self._codec_values(told)
        hop = math.prod(codec["upsampling_ratios"])
        start = told.decoder["vocab_size"]
        return {
            "bos_token_id": start,
            "decoder_start_token_id": start,
            "pad_token_id": start,
            "do_sample": True,
            "guidance_scale": told.guidance_scale,
            "max_length": int(told.segment_s * -(-codec["sampling_rate"] // hop)),
        }

    def features(self) -> dict[str, Any]:
        """The values of ``preprocessor_config.json``."""
        told = self._told
        if told.model_type == MELODY:
            kept = {key: value for key, value in told.chroma.items() if key != "chroma_length"}
            return {"feature_extractor_type": "MusicgenMelodyFeatureExtractor", **kept}
        return {
            "feature_extractor_type": "EncodecFeatureExtractor",
            "feature_size": told.decoder["audio_channels"],
            "sampling_rate": self._codec_values(told)["sampling_rate"],
            "padding_side": "left",
            "padding_value": 0.0,
            "return_attention_mask": True,
        }

    def tokenizer(self) -> Path:
        """The folder that holds the text encoder's tokenizer.

        Raises:
            CheckpointError: it cannot be reached.
        """
        return self._text_encoder(self._told).folder()

    def open(self, part: str = "") -> Weights:
        """The weights under the documents' names.

        Args:
            part: a prefix such as ``"decoder."``: only files that hold tensors under it are opened; all by default.

        Raises:
            CheckpointError: a file is missing, damaged or unsafe, or another checkpoint cannot be reached.
        """
        return _opened(self._files(part))

    def open_own(self) -> Weights:
        """The weights in audiocraft's own files, under the documents' names.

        Raises:
            CheckpointError: as ``open``.
        """
        return _opened(self._own_files())

    def _files(self, part: str) -> Iterator[WeightFile]:
        if self.language_model is None:
            yield self._codec_file("")
            return
        trained_text = False
        told = self._told
        if not part.startswith(AUDIO_ENCODER):
            model = self._language_model_file(self.language_model)
            trained_text = any(name.startswith(TEXT_ENCODER) for name in model.infos)
            yield model
        if not part or part.startswith(AUDIO_ENCODER):
            borrowed = self._borrowed_codec(told)
            if borrowed is None:
                yield self._codec_file(AUDIO_ENCODER)
            else:
                yield from borrowed.open()
        if (not part or part.startswith(TEXT_ENCODER)) and not trained_text:
            yield from self._text_encoder(told).open(without=_UNUSED)

    def _own_files(self) -> Iterator[WeightFile]:
        if self.language_model is not None:
            yield self._language_model_file(self.language_model)
        if self.codec is not None and self._borrowed_codec(None) is None:
            yield self._codec_file("" if self.language_model is None else AUDIO_ENCODER)

    @staticmethod
    def _language_model_file(path: Path) -> RenamedFile:
        file = AudiocraftFile(path)
        return RenamedFile(file, pieces_of(file.infos, LANGUAGE_MODEL))

    # the parts

    @functools.cached_property
    def _told(self) -> LanguageModelValues:
        if self.language_model is None:
            raise CheckpointError(
                f"{self.codec} is a codec alone", expected=f"a language model beside it, in {LANGUAGE_MODEL_FILE}"
            )
        with closing(AudiocraftFile(self.language_model)) as file:
            if file.pretrained is not None:
                raise CheckpointError(f"{self.language_model} names a codec", expected="a language model")
            return language_model_values(file.config)

    @functools.cached_property
    def _named_codec(self) -> str | None:
        """The codec that the codec's file merely names."""
        with closing(AudiocraftFile(self._own_codec())) as file:
            return file.pretrained

    @functools.cached_property
    def _codec_config(self) -> XpConfig:
        with closing(AudiocraftFile(self._own_codec())) as file:
            return file.config

    def _text_encoder(self, told: LanguageModelValues) -> BorrowedPart:
        given = self.elsewhere.text_encoder
        return BorrowedPart(
            on_the_hub(told.text_encoder) if given is None else given,
            section=TEXT_ENCODER[:-1],
            model_type="t5",
            access=self.elsewhere.access,
            needed_by=str(self.language_model),
            remedy="Fetch it once with network access, or say text_encoder=<a folder with that T5, or with any "
            "MusicGen in the format of the Hub> (--text-encoder)",
        )

    def _text_values(self, told: LanguageModelValues) -> dict[str, Any]:
        if self.elsewhere.text_encoder is None:
            return {**KNOWN[told.text_encoder], "dtype": "float32"}
        return self._text_encoder(told).values()

    def _borrowed_codec(self, told: LanguageModelValues | None) -> BorrowedPart | None:
        """The codec where it is not in a file of audiocraft's."""
        name: Any = self._codec_elsewhere
        if name is None and self.codec is not None:
            name = self._named_codec
            if name is None:
                return None
        if name is None:
            name = told.codec if told is not None else None
        if name is None:
            raise CheckpointError(
                f"{self.language_model} comes without its codec, {CODEC_FILE}",
                fix="Put that file beside it, or say codec=<a folder or a name on the Hub> (--codec)",
            )
        return BorrowedPart(
            name,
            section=AUDIO_ENCODER[:-1],
            model_type=CODEC_TYPE,
            access=self.elsewhere.access,
            needed_by=str(self.codec or self.language_model),
            remedy="Fetch it once with network access, or say codec=<a folder with that codec, or with any MusicGen in "
            "the format of the Hub> (--codec)",
        )

    def _codec_values(self, told: LanguageModelValues | None) -> dict[str, Any]:
        borrowed = self._borrowed_codec(told)
        if borrowed is not None:
            return borrowed.values()
        return codec_values(self._codec_config, None if told is None else told.used_codebooks)

    def _codec_file(self, prefix: str) -> RenamedFile:
        file = AudiocraftFile(self._own_codec())
        try:
            pieces = pieces_of(file.infos, table_of(codec_values(file.config)))
            return RenamedFile(file, {prefix + name: piece for name, piece in pieces.items()})
        except BaseException:
            file.close()
            raise

    def _own_codec(self) -> Path:
        if self.codec is None:
            raise CheckpointError(f"{self.language_model} has no {CODEC_FILE} beside it", fix="Put it there")
        return self.codec


def _codec_file_in(place: str | os.PathLike[str] | None) -> Path | None:
    """audiocraft's own codec file at a place, the file itself or a folder of audiocraft's; ``None`` for others."""
    if place is None:
        return None
    path = Path(place).expanduser()
    if path.is_file():
        return path
    return path / CODEC_FILE if (path / CODEC_FILE).is_file() and not (path / CONFIG_NAME).exists() else None


def _opened(files: Iterator[WeightFile]) -> Weights:
    """The files together; those that were opened are closed where the next one fails."""
    opened: list[WeightFile] = []
    try:
        for file in files:
            opened.append(file)
    except BaseException:
        for file in opened:
            file.close()
        raise
    return Weights(opened)
