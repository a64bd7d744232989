"""The documented Melody feature extractor: sounds to the chroma that the model follows."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from antiphon.audio.chroma import chroma, strongest
from antiphon.audio.resampling import check_rate, resampled_length
from antiphon.audio.samples import as_samples, to_channels
from antiphon.audio.sinc import inputs_for, sinc_resample
from antiphon.batch import BatchFeature, to_array_type
from antiphon.errors import ParamError
from antiphon.models.features import SequenceFeatureExtractor, as_list

log = logging.getLogger(__name__)

# what the reference takes stems to be at when it is not told; Demucs' own rate is 44 100
_STEMS_RATE_HZ = 44_000


class MusicgenMelodyFeatureExtractor(SequenceFeatureExtractor):
    """Sounds, or the stems that Demucs made of them, to chroma (B, F, num_chroma), one-hot in every frame.

    Args:
        feature_size: kept for the file; a frame has ``num_chroma`` values. sampling_rate: Hz of the model.
        hop_length: samples between two frames. chunk_length: seconds of a melody that count. n_fft: samples a frame
            sees. num_chroma: classes an octave has. padding_value: fills up shorter sounds.
        return_attention_mask: give ``attention_mask`` unless the call says otherwise.
        stem_indices: which of the stems carry the melody, in Demucs' order: vocals and other.

    Source: transformers' extractor of this name, whose numbers these are; chroma as in ``antiphon.audio.chroma``.
    """

    model_input_names: ClassVar[list[str]] = ["input_features"]

    def __init__(
        self,
        feature_size: int = 12,
        sampling_rate: int = 32000,
        hop_length: int = 4096,
        chunk_length: int = 30,
        n_fft: int = 16384,
        num_chroma: int = 12,
        padding_value: float = 0.0,
        return_attention_mask: bool = False,
        stem_indices: Sequence[int] = (3, 2),
        **kwargs: Any,
    ) -> None:
        kwargs.pop("n_samples", None)  # files hold it, and it follows from two others
        super().__init__(
            feature_size, sampling_rate, padding_value, return_attention_mask=return_attention_mask, **kwargs
        )
        if not (chunk_length > 0):
            raise ParamError(f"chunk_length={chunk_length!r}", expected="a number of seconds above 0")
        self.hop_length = hop_length
        self.chunk_length = chunk_length
        self.n_fft = n_fft
        self.num_chroma = num_chroma
        self.stem_indices = list(stem_indices)

    @property
    def n_samples(self) -> int:
        """Samples of a melody that count."""
        return int(self.chunk_length * self.sampling_rate)

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain values, with ``n_samples`` as in the reference's files."""
        return {**super().to_dict(), "n_samples": self.n_samples}

    def __call__(
        self,
        audio: Any,
        truncation: bool = True,
        pad_to_multiple_of: int | None = None,
        return_tensors: Any = None,
        return_attention_mask: bool | None = None,
        padding: bool | str | None = True,
        max_length: int | None = None,
        sampling_rate: int | None = None,
        *,
        independent_rows: bool = False,
    ) -> BatchFeature:
        """The chroma of a batch of sounds.

        Args:
            audio: one sound (N,) as an array, a tensor or a list of floats; or a batch, whose outermost axis counts
                the sounds: a list of them, each (N,), (C, N) or stems (S, C, N), or an array of two, three or four
                axes. So a two-dimensional array is a batch of mono sounds, and one stereo sound is ``audio[None]``.
                Channels are averaged, and of stems those at ``stem_indices`` are added up.
            truncation: cut sounds to ``max_length`` samples, unless told ``chunk_length`` seconds.
            pad_to_multiple_of: in samples. padding: ``True`` or ``"longest"``, ``"max_length"``, ``False``.
            return_attention_mask: also give ``attention_mask``, the mask of samples seen every ``hop_length``.
            sampling_rate: Hz of ``audio``, any.
            independent_rows: compute each sound as in a call with it alone, fill up with frames of silence, and give
                ``input_features_mask``. Without it a shorter sound is first filled up, as in the reference.
            return_tensors: ``"pt"`` or ``"np"``; tensors unless told.

        Returns:
            ``input_features`` (B, F, num_chroma) float32, where ``F`` is ``max(N, n_fft) // hop_length + 1`` for the
            longest sound. With ``independent_rows`` also ``input_features_mask`` (B, F) int32, 1 for frames of
            the sound.

        Raises:
            AudioError: a sound that is empty or not finite. ParamError: an impossible rate, stems that
                ``stem_indices`` does not find, or sounds of different lengths with ``padding=False``.
        """
        limit, multiple = max_length or self.n_samples, pad_to_multiple_of or 1
        for name, value in (("max_length", limit), ("pad_to_multiple_of", multiple)):
            if not (isinstance(value, int) and value >= 1):
                raise ParamError(f"{name}={value!r}", expected="a whole number of samples")
        held = -(-limit // multiple) * multiple if truncation else None
        sounds = [
            sinc_resample(torch.from_numpy(sound), rate_hz, self.sampling_rate, stop=held).numpy()
            for sound, rate_hz in self._melodies(audio, sampling_rate, held)
        ]
        settings: dict[str, Any] = {
            "padding": padding,
            "max_length": limit,
            "truncation": truncation,
            "pad_to_multiple_of": pad_to_multiple_of,
            "return_attention_mask": return_attention_mask,
        }
        if independent_rows:
            batch = _stacked([self._batch([sound], settings) for sound in sounds])
        else:
            batch = self._batch(sounds, settings)
        return BatchFeature(batch, tensor_type=return_tensors)

    def window_features(
        self, audio: Any, starts_s: Sequence[float], *, sampling_rate: int | None = None, return_tensors: Any = "pt"
    ) -> BatchFeature:
        """The chroma that each window of a longer piece follows: the melody begins with the piece, and comes again.

        Args:
            audio: as in a call. starts_s: where in the piece each window starts, in seconds.
            sampling_rate: Hz of ``audio``.

        Returns:
            ``input_features`` (B, W, F, num_chroma): for each window the chroma of ``chunk_length`` seconds from its
            start, the sound being repeated without end.

        Raises:
            ParamError: no window, or one that starts before the piece; and as a call.

        Source: audiocraft, ``MusicGen._generate_tokens``: the samples are wrapped, not the chroma.
        """
        starts = [float(start) for start in starts_s]
        if not starts or not all(0 <= start < float("inf") for start in starts):
            raise ParamError(f"starts_s={starts_s!r}", expected="the start of each window in seconds, none before 0")
        pieces = [
            torch.stack([self._chroma(self._passage(sound, rate_hz, start)) for start in starts])
            for sound, rate_hz in self._melodies(audio, sampling_rate, None)
        ]
        return BatchFeature({"input_features": torch.stack(pieces)}, tensor_type=return_tensors)

    def _melodies(self, audio: Any, rate_hz: Any, held: int | None) -> Iterator[tuple[np.ndarray, int]]:
        """Each sound of a batch as mono (N,) with its rate; where only ``held`` samples of it count, little more."""
        if rate_hz is None:
            log.warning(
                "no sampling_rate was given: the sound is taken to be at %d Hz, and stems at %d Hz; another rate would "
                "go unnoticed and shift every pitch",
                self.sampling_rate,
                _STEMS_RATE_HZ,
            )
        many = isinstance(audio, (np.ndarray, Tensor)) and audio.ndim > 1
        for number, item in enumerate(as_list(list(audio) if many else audio, "audio")):
            array = isinstance(item, (np.ndarray, Tensor))
            stems = array and item.ndim == 3
            rate = (_STEMS_RATE_HZ if stems else self.sampling_rate) if rate_hz is None else check_rate(rate_hz)
            if held is not None and array:
                item = item[..., : inputs_for(held, rate, self.sampling_rate)]
            name = f"audio[{number}]"
            yield self._mixed(item, name) if stems else as_samples(item, channels=1, name=name)[0], rate

    def _mixed(self, stems: Any, name: str) -> np.ndarray:
        """The stems (S, C, N) that carry the melody as one mono sound (N,)."""
        if not self.stem_indices or not all(-len(stems) <= index < len(stems) for index in self.stem_indices):
            raise ParamError(
                f"{name} of {len(stems)} stems with stem_indices={self.stem_indices}",
                expected="the stems at these places",
                fix="Pass all the stems that Demucs gives, or set stem_indices",
            )
        chosen = [as_samples(stems[index], name=f"{name}[{index}]") for index in self.stem_indices]
        mono: np.ndarray = to_channels(np.asarray(sum(chosen)), 1)[0]
        return mono

    def _passage(self, sound: np.ndarray, rate_hz: int, start_s: float) -> Tensor:
        """``n_samples`` of an endlessly repeated sound, at the model's rate."""
        samples, count = torch.from_numpy(sound), self.n_samples
        length = resampled_length(len(sound), rate_hz, self.sampling_rate)
        start = round(start_s * self.sampling_rate) % length
        if length < count:
            whole = sinc_resample(samples, rate_hz, self.sampling_rate)
            return whole[(start + torch.arange(count)) % length]
        until_end = sinc_resample(samples, rate_hz, self.sampling_rate, start=start, stop=start + count)
        again = sinc_resample(samples, rate_hz, self.sampling_rate, stop=count - len(until_end))
        return torch.cat([until_end, again])

    def _batch(self, sounds: list[np.ndarray], settings: dict[str, Any]) -> dict[str, Tensor]:
        """The chroma of sounds brought to one length, with their mask where asked for."""
        padded = self.pad({"input_features": sounds}, **settings)
        batch = {"input_features": self._chroma(to_array_type(padded.pop("input_features"), "pt"))}
        for name, mask in padded.items():
            batch[name] = to_array_type(mask, "pt")[:, :: self.hop_length]
        return batch

    def _chroma(self, samples: Tensor) -> Tensor:
        strengths = chroma(
            samples, self.sampling_rate, n_fft=self.n_fft, hop_samples=self.hop_length, bins=self.num_chroma
        )
        return strongest(strengths)


def _stacked(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Batches of one sound as one batch; silence, which is class 0, fills up the shorter ones."""
    for row in rows:
        row["input_features_mask"] = torch.ones(row["input_features"].shape[:2], dtype=torch.int32)
    batch = {name: pad_sequence([row[name][0] for row in rows], batch_first=True) for name in rows[0]}
    batch["input_features"][batch["input_features_mask"] == 0, 0] = 1
    return batch
