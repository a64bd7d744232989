"""The documented EnCodec feature extractor: sounds to the arrays the codec eats."""

from __future__ import annotations

import logging
import math
from typing import Any, ClassVar

import numpy as np

from antiphon.audio.resampling import check_rate, resample
from antiphon.audio.samples import as_samples
from antiphon.batch import BatchFeature
from antiphon.errors import AudioError, ParamError
from antiphon.models.features import SequenceFeatureExtractor, as_list

log = logging.getLogger(__name__)


class EncodecFeatureExtractor(SequenceFeatureExtractor):
    """Sounds to padded arrays (B, C, N) with their padding mask (B, N).

    Args:
        feature_size: channels, 1 or 2. sampling_rate: Hz of the codec. padding_value: fills up shorter sounds.
        chunk_length_s, overlap: segments of the codec; padding then goes up to a whole number of them.
    """

    model_input_names: ClassVar[list[str]] = ["input_values", "padding_mask"]

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = 24000,
        padding_value: float = 0.0,
        chunk_length_s: float | None = None,
        overlap: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)
        self.chunk_length_s = chunk_length_s
        self.overlap = overlap

    @property
    def chunk_length(self) -> int | None:
        """Samples of a segment."""
        return None if self.chunk_length_s is None else int(self.chunk_length_s * self.sampling_rate)

    @property
    def chunk_stride(self) -> int | None:
        """Samples between the starts of two segments."""
        if self.chunk_length is None or self.overlap is None:
            return None
        return max(1, int((1.0 - self.overlap) * self.chunk_length))

    def __call__(
        self,
        raw_audio: Any,
        padding: bool | str | None = None,
        truncation: bool | None = False,
        max_length: int | None = None,
        return_tensors: Any = None,
        sampling_rate: int | None = None,
        resample: bool = False,
    ) -> BatchFeature:
        """A batch of sounds.

        Args:
            raw_audio: one sound or a list of them; each (N,), or (2, N) for a stereo codec; NumPy, torch or lists.
            padding: ``True`` (the default) or ``"longest"``, ``"max_length"``, ``False``. truncation: cut to
                ``max_length``; not together with padding.
            sampling_rate: Hz of ``raw_audio``; another one than the codec's is refused.
            resample: instead of refusing, convert another rate and another number of channels.

        Returns:
            ``input_values`` (B, C, N) float32 and, with padding, ``padding_mask`` (B, N) int32, 1 for samples.

        Raises:
            ParamError: another sampling rate, or padding and truncation at once. AudioError: a sound that is empty,
                not finite, or of another number of channels.
        """
        sounds = [self._sound(item, sampling_rate, resample) for item in as_list(raw_audio, "raw_audio")]
        if padding and truncation:
            raise ParamError("padding and truncation were both set", expected="one of them")
        padding = True if padding is None else padding
        longest = max_length
        if self.chunk_stride is not None and self.chunk_length is not None and max_length is None:
            lengths = [len(sound) for sound in sounds]
            if truncation:
                longest = (math.floor(min(lengths) / self.chunk_stride) - 1) * self.chunk_stride + self.chunk_length
            elif padding:
                longest = (math.ceil(max(lengths) / self.chunk_stride) - 1) * self.chunk_stride + self.chunk_length
                padding = "max_length"
        batch = self.pad(
            {"input_values": sounds},
            padding=padding or False,
            max_length=longest,
            truncation=bool(truncation),
            return_attention_mask=bool(padding),
        )
        values = [sound[:, None].T if sound.ndim == 1 else sound.T for sound in batch.pop("input_values")]
        result: dict[str, Any] = {"input_values": values}
        if padding:
            masks = batch.pop("attention_mask")
            # one array, as the reference gives it, unless max_length left the sounds of different lengths
            result["padding_mask"] = np.stack(masks) if len({len(mask) for mask in masks}) == 1 else masks
        return BatchFeature(result, tensor_type=return_tensors)

    def _sound(self, audio: Any, rate_hz: Any, convert: bool) -> np.ndarray:
        """One sound as (N,) for a mono codec and (N, 2) for a stereo one, float32."""
        samples = as_samples(audio, channels=self.feature_size if convert else None, name="raw_audio")
        if rate_hz is None:
            log.warning(
                "no sampling_rate was given: the sound is taken to be at %d Hz; another rate would go unnoticed",
                self.sampling_rate,
            )
        elif check_rate(rate_hz) != self.sampling_rate:
            if not convert:
                raise ParamError(
                    f"sound at {rate_hz} Hz",
                    expected=f"{self.sampling_rate} Hz, the sampling rate this model was trained on",
                    fix="Pass resample=True to convert it",
                )
            samples = resample_to(samples, int(rate_hz), self.sampling_rate)
        if len(samples) != self.feature_size:
            kind = "mono" if self.feature_size == 1 else "stereo"
            raise AudioError(
                f"Expected {kind} audio but example has {len(samples)} channels",
                fix="Pass resample=True, which also converts channels",
            )
        return samples[0] if self.feature_size == 1 else samples.T


def resample_to(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """(C, N) at another rate; a name that the argument ``resample`` does not shadow."""
    return resample(samples, from_hz, to_hz)
