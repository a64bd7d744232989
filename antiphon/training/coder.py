"""What turns sounds and texts into what a language model learns from: the frozen parts of a checkpoint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from antiphon.codecs.streaming import EncodecEncoderStream
from antiphon.errors import ConfigError, ParamError
from antiphon.models.music_composite import MusicComposite
from antiphon.training.coded_format import CodedFormat

_VERSION = 1  # of what is computed here


def fingerprint(parts: Iterable[nn.Module], chosen: Mapping[str, Any]) -> str:
    """What changes whenever the weights of one of the ``parts`` do, or what was ``chosen``."""
    digest = hashlib.sha256()
    for part in parts:
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    digest.update(json.dumps(chosen, sort_keys=True, default=str).encode())
    return digest.hexdigest()


class Coder:
    """The codec of a model, its text encoder where that stays as it is, and the melody it would hear.

    Args:
        model: a MusicGen or MusicGen Melody composite; its codec computes in float32, where it lies.
        processor: of the same checkpoint.
        text_states: cache what the text encoder makes of texts, rather than the texts; only while it is frozen.
        melody: cache melodies; unless told, where the model follows them. separated: without drums and bass, by Demucs.

    Attributes:
        format: of what is made. channels: that the codec is given.

    Raises:
        ConfigError: a codec that cuts its sound into segments, or is not in float32. ParamError: melodies of a model
            that follows none, or ``separated`` without melodies.
    """

    def __init__(
        self,
        model: MusicComposite,
        processor: Any,
        *,
        text_states: bool,
        melody: bool | None = None,
        separated: bool = False,
    ) -> None:
        codec, decoder = model.audio_encoder, model.decoder.config
        follows = hasattr(model.config, "chroma_length")
        if codec.config.chunk_length is not None or codec.dtype != torch.float32:
            raise ConfigError(
                f"a codec of {codec.dtype}, segments of {codec.config.chunk_length} samples",
                expected="float32, and clips taken whole",
                fix="Load the model with dtype=torch.float32",
            )
        if (melody and not follows) or (separated and not (follows and melody is not False)):
            raise ParamError(f"melody={melody!r} and separated={separated!r}", expected="a model that follows melodies")
        self.codec, self.tokenizer = codec, processor.tokenizer
        self.channels: int = max(decoder.audio_channels, codec.config.audio_channels)
        self._rows = self.channels // codec.config.audio_channels
        self._books = decoder.num_codebooks // self._rows
        self._text_encoder = model.text_encoder if text_states else None
        self.extractor = processor.feature_extractor if follows and melody is not False else None
        self.separated = separated
        self._stream: tuple[int, EncodecEncoderStream] | None = None
        self.format = CodedFormat(
            codebooks=decoder.num_codebooks,
            codebook_size=codec.config.codebook_size,
            sampling_rate=codec.config.sampling_rate,
            hop_samples=codec.config.hop_length,
            chroma_classes=0 if self.extractor is None else self.extractor.num_chroma,
            chroma_hop_samples=4096 if self.extractor is None else self.extractor.hop_length,
            text_width=model.config.text_encoder.hidden_size if text_states else 0,
            text_padding=self.tokenizer.padding_side,
            made_by=self._digest(),
        )

    def _digest(self) -> str:
        """What changes whenever the same sound and text could give something else."""
        chosen: dict[str, Any] = {"version": _VERSION, "channels": self.channels, "separated": self.separated}
        for name, part in (("codec", self.codec.config), ("chroma", self.extractor)):
            chosen[name] = None if part is None else part.to_dict()
        if self._text_encoder is not None:
            chosen["text"] = self._text_encoder.config.to_dict()
            # two vocabularies of one size read the same text as different numbers
            chosen["words"] = self.tokenizer("The quick brown fox jumps over the lazy dog, 120 bpm")["input_ids"]
        return fingerprint([part for part in (self.codec, self._text_encoder) if part is not None], chosen)

    @torch.no_grad()
    def codes(self, blocks: Iterable[np.ndarray], sounds: int = 1) -> np.ndarray:
        """The codes (B, K, T) uint16 of sounds of one length, which come in blocks (B, C, n) float32.

        They are those of the whole sounds, however they are cut.
        """
        if self._stream is None or self._stream[0] != sounds:  # one at a time: each has weights of its own
            self._stream = sounds, EncodecEncoderStream(self.codec.codec, self._books, sounds * self._rows)
        stream = self._stream[1]
        stream.reset()
        pieces = []
        for block in blocks:
            samples = torch.from_numpy(np.ascontiguousarray(block)).to(self.codec.device)
            rows = samples.view(sounds * self._rows, self.channels // self._rows, -1)
            pieces.append(stream.push(rows).cpu())
        codes = torch.cat([*pieces, stream.flush().cpu()], dim=-1)
        # (B * rows, K, T) -> (B, K * rows, T): the channels of each codebook in turn
        turned = codes.view(sounds, self._rows, self._books, -1).transpose(1, 2).flatten(1, 2)
        return turned.numpy().astype(np.uint16)

    @torch.no_grad()
    def states(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The states (M, D) float32 of each text, without padding; nothing where texts are cached as texts."""
        if self._text_encoder is None or not texts:
            return []
        device = self._text_encoder.device
        given = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        ids, mask = given["input_ids"].to(device), given["attention_mask"].to(device)
        states: Tensor = self._text_encoder(ids, mask, return_dict=True).last_hidden_state
        return [own[real.bool()].float().cpu().numpy() for own, real in zip(states, mask, strict=True)]
