"""The documented Whisper feature extractor: sounds to the log-mel spectra that listening models hear."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from antiphon.audio.log_mel import log_mel, mel_bands
from antiphon.audio.resampling import check_rate
from antiphon.audio.samples import as_samples
from antiphon.batch import BatchFeature
from antiphon.errors import AudioError, ParamError
from antiphon.models.features import SequenceFeatureExtractor, as_list, padded_length, strategy

log = logging.getLogger(__name__)

# what follows from other settings, and stands in files for other readers
_DERIVED = ("n_samples", "nb_max_frames")


class WhisperFeatureExtractor(SequenceFeatureExtractor):
    """Sounds to log-mel spectra (B, feature_size, F), row by row: memory beside the result is that of one row's blocks.

    Args:
        feature_size: mel bands. sampling_rate: Hz of the model. hop_length: samples from one frame to the next.
        chunk_length: seconds that a row has unless a call says otherwise. n_fft: samples that a frame sees.
        padding_value: what fills up shorter sounds. dither: height of noise that is added, 0 for none.
        return_attention_mask: whether calls give the mask.

    Raises:
        ParamError: settings that cannot be.

    Source: transformers 5.23's ``WhisperFeatureExtractor``, within 1e-6.
    """

    model_input_names: ClassVar[list[str]] = ["input_features"]

    def __init__(
        self,
        feature_size: int = 80,
        sampling_rate: int = 16000,
        hop_length: int = 160,
        chunk_length: int = 30,
        n_fft: int = 400,
        padding_value: float = 0.0,
        dither: float = 0.0,
        return_attention_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        for name in _DERIVED:
            kwargs.pop(name, None)
        super().__init__(
            feature_size,
            check_rate(sampling_rate),
            padding_value,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
        for name, value in (("feature_size", feature_size), ("hop_length", hop_length)):
            if not (isinstance(value, int) and value >= 1):
                raise ParamError(f"{name}={value!r}", expected="a whole number above 0")
        if not (isinstance(n_fft, int) and n_fft >= 2):
            raise ParamError(f"n_fft={n_fft!r}", expected="a whole number of samples, at least 2")
        if not (chunk_length > 0 and chunk_length * self.sampling_rate > n_fft // 2):
            raise ParamError(f"chunk_length={chunk_length!r}", expected="seconds that hold more than a frame")
        if not (0 <= dither < float("inf")):
            raise ParamError(f"dither={dither!r}", expected="0 or a small positive number")
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.chunk_length = chunk_length
        self.dither = dither

    @property
    def n_samples(self) -> int:
        """Samples of a row."""
        return int(self.chunk_length * self.sampling_rate)

    @property
    def nb_max_frames(self) -> int:
        """Frames of a row."""
        return self.n_samples // self.hop_length

    @property
    def mel_filters(self) -> np.ndarray:
        """The bands, (n_fft // 2 + 1, feature_size)."""
        return mel_bands(self.feature_size, self.n_fft, self.sampling_rate).numpy().T

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, those that follow from others included."""
        return {**super().to_dict(), **{name: getattr(self, name) for name in _DERIVED}}

    def __call__(
        self,
        raw_speech: Any,
        truncation: bool = True,
        pad_to_multiple_of: int | None = None,
        return_tensors: Any = None,
        return_attention_mask: bool | None = None,
        padding: bool | str | None = "max_length",
        max_length: int | None = None,
        sampling_rate: int | None = None,
        do_normalize: bool | None = None,
        device: str | torch.device | None = "cpu",
    ) -> BatchFeature:
        """Spectra of one sound or a batch.

        Args:
            raw_speech: a mono sound (N,), a list of them or an array (B, N); NumPy, torch, or lists of floats.
            truncation: cut sounds to ``max_length``. max_length: samples; those of ``chunk_length`` unless given.
            padding: ``"max_length"``, ``True`` or ``"longest"``, or ``False``. pad_to_multiple_of: in samples.
            sampling_rate: Hz of the sounds; another one than the model's is refused.
            do_normalize: bring each sound to mean 0 and variance 1 first.
            device: where the spectra are computed; they come back to the processor's memory.

        Returns:
            ``input_features`` float32 (B, feature_size, F), a list of (feature_size, F) where the sounds stay of
            different lengths, and where asked for ``attention_mask`` int32 (B, F), 1 where a frame's centre is sound.
            Unlike the reference, the mask counts frames however it was asked for.

        Raises:
            ParamError: another rate, or settings that contradict. AudioError: a sound that is empty, not finite, not
                mono, or too short to have a frame.
        """
        self._check_rate(sampling_rate)
        many = isinstance(raw_speech, (np.ndarray, Tensor)) and raw_speech.ndim == 2
        items = as_list(list(raw_speech) if many else raw_speech, "raw_speech")
        sounds = [self._mono(item, f"raw_speech[{number}]") for number, item in enumerate(items)]
        limit = max_length or self.n_samples
        if truncation:
            sounds = [sound[: padded_length(limit, pad_to_multiple_of)] for sound in sounds]
        lengths = self._lengths(sounds, strategy(padding), limit, pad_to_multiple_of)
        bands = mel_bands(self.feature_size, self.n_fft, self.sampling_rate).to(device or "cpu")
        frames = [length // self.hop_length for length in lengths]
        even = len(set(frames)) == 1
        made: Any = torch.empty(len(sounds), self.feature_size, frames[0]) if even else [None] * len(sounds)
        for row, (sound, length) in enumerate(zip(sounds, lengths, strict=True)):
            made[row] = self._spectrum(sound, length, bands, bool(do_normalize))
        batch: dict[str, Any] = {"input_features": made.numpy() if even else [item.numpy() for item in made]}
        if self.return_attention_mask if return_attention_mask is None else return_attention_mask:
            masks = [self._mask(len(sound), length) for sound, length in zip(sounds, lengths, strict=True)]
            batch["attention_mask"] = np.stack(masks) if even else masks
        return BatchFeature(batch, tensor_type=return_tensors)

    def _check_rate(self, rate_hz: Any) -> None:
        if rate_hz is None:
            log.warning(
                "no sampling_rate was given: the sound is taken to be at %d Hz; another rate would go unnoticed",
                self.sampling_rate,
            )
        elif check_rate(rate_hz) != self.sampling_rate:
            raise ParamError(
                f"sound at {rate_hz} Hz",
                expected=f"{self.sampling_rate} Hz, the sampling rate this model was trained on",
                fix="Resample it, for example with antiphon.audio.resampling.resample",
            )

    @staticmethod
    def _mono(sound: Any, name: str) -> np.ndarray:
        samples = as_samples(sound, name=name)
        if len(samples) != 1:
            raise AudioError(
                f"{name} has {len(samples)} channels", expected="a mono sound (samples,)", fix="Average them first"
            )
        mono: np.ndarray = samples[0]
        return mono

    @staticmethod
    def _lengths(sounds: list[np.ndarray], how: str, limit: int, multiple: int | None) -> list[int]:
        """Samples of each row with its padding."""
        if how == "no":
            return [len(sound) for sound in sounds]
        longest = max(len(sound) for sound in sounds)
        least = padded_length(longest if how == "longest" else limit, multiple)
        return [max(least, len(sound)) for sound in sounds]

    def _spectrum(self, sound: np.ndarray, length: int, bands: Tensor, normalize: bool) -> Tensor:
        """One sound (N,), filled up to ``length`` samples, as (feature_size, length // hop_length)."""
        if normalize:
            sound = (sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)
        padded = torch.from_numpy(sound)
        if length > len(sound):
            gap = (0, length - len(sound)) if self.padding_side == "right" else (length - len(sound), 0)
            padded = torch.nn.functional.pad(padded, gap, value=self.padding_value)
        if self.dither:
            padded = padded + self.dither * torch.randn(padded.shape)
        return log_mel(padded.to(bands.device), bands, n_fft=self.n_fft, hop_samples=self.hop_length).cpu()

    def _mask(self, samples: int, length: int) -> np.ndarray:
        """Which frames of a row of ``length`` samples are sound: int32 (length // hop_length,)."""
        centres = np.arange(length // self.hop_length) * self.hop_length
        heard = centres < samples if self.padding_side == "right" else centres >= length - samples
        return heard.astype(np.int32)
