"""The documented MusicGen processor: texts, and sounds to go on from."""

from __future__ import annotations

from typing import Any, ClassVar

from antiphon.models.sound_text_processor import SoundTextProcessor


class MusicgenProcessor(SoundTextProcessor):
    """Texts and sounds to the inputs of ``MusicgenForConditionalGeneration``.

    A call gives ``input_values`` (B, C, N) and ``padding_mask`` (B, N) for sounds; ``resample=True`` converts those of
    another rate or number of channels.

    Args:
        feature_extractor: an ``EncodecFeatureExtractor``. tokenizer: a ``T5Tokenizer``.
    """

    for_sound: ClassVar[tuple[str, ...]] = ("resample",)

    def batch_decode(self, *args: Any, padding_mask: Any = None, audio: Any = None, **kwargs: Any) -> list[Any]:
        """Waveforms without their padding, or texts from token ids.

        Args:
            args, audio: waveforms (B, C, N); with ``padding_mask`` (B, M), 0 where the prompt was padding, those
                samples are left out of each. Integer ids go to the tokenizer.

        Returns:
            A list of arrays (C, N_i), or of texts.
        """
        return self._decoded(args, audio, padding_mask, kwargs)
