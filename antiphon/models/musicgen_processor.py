"""The documented MusicGen processor: a tokenizer for the text and a feature extractor for the sound."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from antiphon.batch import BatchFeature
from antiphon.errors import ParamError, unknown_argument
from antiphon.models.processing import ProcessorMixin

# what the feature extractor takes beside what the processor names itself
_FOR_SOUND = ("resample", "truncation", "max_length")


class MusicgenProcessor(ProcessorMixin):
    """Texts and sounds to the inputs of ``MusicgenForConditionalGeneration``.

    Args:
        feature_extractor: an ``EncodecFeatureExtractor``. tokenizer: a ``T5Tokenizer``.
    """

    def __call__(
        self,
        audio: Any = None,
        sampling_rate: int | None = None,
        text: Any = None,
        padding: bool | str | None = None,
        return_tensors: Any = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """A batch.

        Args:
            audio: one sound or a list, as the feature extractor takes them, at ``sampling_rate`` Hz.
            text: one text or a list.
            padding: bring texts and sounds to one length. return_tensors: ``"pt"`` or ``"np"``.
            kwargs: ``resample=True`` converts sounds of another rate or number of channels; ``truncation``,
                ``max_length`` go to the tokenizer when there is text and to the feature extractor otherwise.

        Returns:
            ``input_ids`` and ``attention_mask`` (B, M) for texts, ``input_values`` (B, C, N) and ``padding_mask``
            (B, N) for sounds.

        Raises:
            ParamError: neither text nor sound, or unequal numbers of them.
        """
        if audio is None and text is None:
            raise ParamError("neither text nor audio was given", expected="at least one of them")
        if text is None:
            for name in kwargs:
                if name not in _FOR_SOUND:
                    raise unknown_argument(name, (*_FOR_SOUND, "text", "padding"), where="the processor")
        for_audio = {name: kwargs.pop(name) for name in ("resample",) if name in kwargs}
        shared = {} if padding is None else {"padding": padding}
        inputs: dict[str, Any] = {}
        if text is not None:
            inputs.update(self.tokenizer(text, return_tensors=return_tensors, **shared, **kwargs))
        if audio is not None:
            for_audio |= {} if text is not None else kwargs
            sounds = self.feature_extractor(
                audio, sampling_rate=sampling_rate, return_tensors=return_tensors, **shared, **for_audio
            )
            if text is not None:
                self._check_counts([text] if isinstance(text, str) else text, sounds["input_values"])
            inputs.update(sounds)
        return BatchFeature(inputs)

    @staticmethod
    def _check_counts(texts: Any, sounds: Any) -> None:
        if len(texts) != len(sounds):
            raise ParamError(f"{len(texts)} texts and {len(sounds)} sounds", expected="as many of one as of the other")

    def batch_decode(self, *args: Any, padding_mask: Any = None, audio: Any = None, **kwargs: Any) -> list[Any]:
        """Waveforms without their padding, or texts from token ids.

        Args:
            args, audio: waveforms (B, C, N); with ``padding_mask`` (B, M), 0 where the prompt was padding, those
                samples are left out of each. Integer ids go to the tokenizer.

        Returns:
            A list of arrays (C, N_i), or of texts.
        """
        if args:
            audio, *rest = args
            args = tuple(rest)
        if audio is None or not _is_sound(audio):
            decoded: list[Any] = self.tokenizer.batch_decode(
                audio if audio is not None else kwargs.pop("sequences"), **kwargs
            )
            return decoded
        sounds = audio.detach().float().cpu().numpy() if isinstance(audio, torch.Tensor) else np.asarray(audio)
        if sounds.ndim != 3:
            raise ParamError(f"audio of shape {sounds.shape}", expected="(batch, channels, samples)")
        if padding_mask is None:
            return list(sounds)
        mask = padding_mask.cpu().numpy() if isinstance(padding_mask, torch.Tensor) else np.asarray(padding_mask)
        return [sound[:, _kept(row, sound.shape[-1])] for sound, row in zip(sounds, mask, strict=True)]

    def get_decoder_prompt_ids(self, task: Any = None, language: Any = None, no_timestamps: bool = True) -> None:
        """Kept for its name; MusicGen has no such ids."""
        return


def _is_sound(values: Any) -> bool:
    if isinstance(values, torch.Tensor):
        return values.is_floating_point()
    return np.asarray(values).dtype.kind == "f"


def _kept(mask: np.ndarray, samples: int) -> np.ndarray:
    """Which samples stay: those that the mask calls real, and all that were made after it ends."""
    return np.pad(
        mask.reshape(-1, mask.shape[-1])[0] != 0, (0, max(0, samples - mask.shape[-1])), constant_values=True
    )[:samples]
