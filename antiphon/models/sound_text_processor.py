"""What the MusicGen processors share: a tokenizer for the text and a feature extractor for the sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch

from antiphon.batch import BatchFeature
from antiphon.errors import ParamError, unknown_argument
from antiphon.models.processing import ProcessorMixin


class SoundTextProcessor(ProcessorMixin):
    """Texts and sounds to the inputs of a model.

    Args:
        feature_extractor: for the sounds; the first of its ``model_input_names`` is what it makes of them.
        tokenizer: for the texts.
    """

    # what only the feature extractor takes, and what goes to it when there is no text and to the tokenizer otherwise
    for_sound: ClassVar[tuple[str, ...]] = ()
    for_either: ClassVar[tuple[str, ...]] = ("truncation", "max_length")

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
            kwargs: the names in ``for_sound`` go to the feature extractor; those in ``for_either`` to the tokenizer
                when there is text and to the feature extractor otherwise; any others to the tokenizer.

        Returns:
            ``input_ids`` and ``attention_mask`` (B, M) for texts, and for sounds what the feature extractor gives.

        Raises:
            ParamError: neither text nor sound, or unequal numbers of them.
        """
        if audio is None and text is None:
            raise ParamError("neither text nor audio was given", expected="at least one of them")
        if text is None:
            known = (*self.for_sound, *self.for_either)
            for name in kwargs:
                if name not in known:
                    raise unknown_argument(name, (*known, "text", "padding"), where="the processor")
        for_audio = {name: kwargs.pop(name) for name in self.for_sound if name in kwargs}
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
                made = sounds[self.feature_extractor.model_input_names[0]]
                self._check_counts([text] if isinstance(text, str) else text, made)
            inputs.update(sounds)
        return BatchFeature(inputs)

    @staticmethod
    def _check_counts(texts: Any, sounds: Any) -> None:
        if len(texts) != len(sounds):
            raise ParamError(f"{len(texts)} texts and {len(sounds)} sounds", expected="as many of one as of the other")

    def _decoded(self, args: Sequence[Any], audio: Any, mask: Any, kwargs: dict[str, Any]) -> list[Any]:
        """Waveforms (B, C, N) without what ``mask`` (B, M) calls padding, or texts from token ids."""
        if args:
            audio, *args = args
        if audio is None or not _is_sound(audio):
            ids = audio if audio is not None else kwargs.pop("sequences")
            decoded: list[Any] = self.tokenizer.batch_decode(ids, *args, **kwargs)
            return decoded
        sounds = audio.detach().float().cpu().numpy() if isinstance(audio, torch.Tensor) else np.asarray(audio)
        if sounds.ndim != 3:
            raise ParamError(f"audio of shape {sounds.shape}", expected="(batch, channels, samples)")
        if mask is None:
            return list(sounds)
        mask = mask.cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
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
