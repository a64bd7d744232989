"""The documented Melody processor: texts, and sounds whose melody is to be followed."""

from __future__ import annotations

from typing import Any, ClassVar

from antiphon.batch import BatchEncoding
from antiphon.errors import ParamError
from antiphon.models.sound_text_processor import SoundTextProcessor


class MusicgenMelodyProcessor(SoundTextProcessor):
    """Texts and sounds to the inputs of ``MusicgenMelodyForConditionalGeneration``.

    A call gives ``input_features`` (B, F, 12) for sounds, and with ``independent_rows=True`` their
    ``input_features_mask`` (B, F). Where there is text, ``return_attention_mask`` is the text's: the model needs none
    for sounds, and in the reference theirs would take its place.

    Args:
        feature_extractor: a ``MusicgenMelodyFeatureExtractor``. tokenizer: a ``T5Tokenizer``.
    """

    for_sound: ClassVar[tuple[str, ...]] = ("independent_rows",)
    for_either: ClassVar[tuple[str, ...]] = (
        "truncation",
        "max_length",
        "pad_to_multiple_of",
        "return_attention_mask",
    )

    def batch_decode(self, *args: Any, attention_mask: Any = None, audio: Any = None, **kwargs: Any) -> list[Any]:
        """As ``MusicgenProcessor.batch_decode``; the mask of samples is called ``attention_mask`` here."""
        return self._decoded(args, audio, attention_mask, kwargs)

    def get_unconditional_inputs(self, num_samples: int = 1, return_tensors: Any = "pt") -> BatchEncoding:
        """Inputs of ``generate`` for ``num_samples`` pieces without a text: empty texts that are masked out.

        Returns:
            ``input_ids`` and ``attention_mask`` (num_samples, M), the mask all 0; NumPy arrays unless
            ``return_tensors`` asks for others.

        Raises:
            ParamError: not a whole number of pieces above 0.
        """
        if not (isinstance(num_samples, int) and num_samples >= 1):
            raise ParamError(f"num_samples={num_samples!r}", expected="a whole number of pieces, at least 1")
        inputs: BatchEncoding = self.tokenizer([""] * num_samples, return_tensors="np")
        inputs["attention_mask"][:] = 0
        inputs.convert_to_tensors(return_tensors)
        return inputs
