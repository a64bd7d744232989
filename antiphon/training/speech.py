"""Moshi as something to train: all of its weights, or adapters."""

from __future__ import annotations

from typing import Any

from antiphon.models.moshi import MoshiForConditionalGeneration
from antiphon.training.language import LanguageObjective
from antiphon.training.objective import Batch, Losses
from antiphon.training.settings import SpeechLossWeights
from antiphon.training.speech_forcing import SpeechForcing


class SpeechObjective(LanguageObjective):
    """The cross-entropy of Moshi's text and codebooks in conversations, in nats.

    Weighed by frames: the mean is over the frames of all rows; ``text`` and ``codebook_k`` are means of the same kind.

    Args:
        moshi: the whole of it; the codec stays as it is. weights: how much each loss counts.
        weight_decay: of matrices; embeddings, norms and biases have none.
        tokenizer: saved into every checkpoint, so that it opens as a whole.

    Raises:
        ConfigError: a negative decay.
    """

    def __init__(
        self,
        moshi: MoshiForConditionalGeneration,
        *,
        weights: SpeechLossWeights | None = None,
        weight_decay: float = 0.1,
        tokenizer: Any = None,
    ) -> None:
        forcing = SpeechForcing(moshi, weights or SpeechLossWeights())
        super().__init__(moshi, forcing, weight_decay=weight_decay, reader=tokenizer)

    def weight(self, batch: Batch) -> float:
        """The frames of a batch."""
        frames = batch.get("frames")
        return float(batch["text"].numel() if frames is None else frames.sum())

    def losses(self, batch: Batch) -> Losses:
        """The weighted sum, and text and each codebook, summed over the frames of a batch."""
        total, (text, *books) = self.model(batch)
        return Losses(total, {"text": text, **{f"codebook_{k}": loss for k, loss in enumerate(books)}})
