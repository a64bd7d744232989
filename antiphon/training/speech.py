"""Moshi as something to train: all of its weights, or adapters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from antiphon.errors import ConfigError
from antiphon.models.moshi import MoshiForConditionalGeneration
from antiphon.training.language import decaying_groups, refuse_extra_state, save_language_model
from antiphon.training.objective import Batch, Losses
from antiphon.training.settings import SpeechLossWeights
from antiphon.training.speech_forcing import SpeechForcing


class SpeechObjective:
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
        if not weight_decay >= 0:
            raise ConfigError(f"weight_decay={weight_decay}", expected="0 or more")
        self.moshi = moshi
        self.model: nn.Module = SpeechForcing(moshi, weights or SpeechLossWeights())
        self.weight_decay = weight_decay
        self.tokenizer = tokenizer

    def weight(self, batch: Batch) -> float:
        """The frames of a batch."""
        frames = batch.get("frames")
        return float(batch["text"].numel() if frames is None else frames.sum())

    def losses(self, batch: Batch) -> Losses:
        """The weighted sum, and text and each codebook, summed over the frames of a batch."""
        total, (text, *books) = self.model(batch)
        return Losses(total, {"text": text, **{f"codebook_{k}": loss for k, loss in enumerate(books)}})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained, by part and by whether it decays."""
        return decaying_groups(self.model, self.weight_decay, {})

    def before_training(self, batch: Batch) -> None:
        """Nothing to prepare."""

    def after_step(self, step: int) -> None:
        """Nothing to keep up."""

    def extra_state(self) -> dict[str, Tensor]:
        """Nothing beyond the tensors of ``model``."""
        return {}

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes back nothing; raises ``CheckpointError`` where there is something."""
        refuse_extra_state(state)

    def is_whole(self) -> bool:
        """From the start."""
        return True

    def save(self, folder: Path, tensors: Mapping[str, Tensor] | None) -> None:
        """Writes a checkpoint of the whole of Moshi, codec included, and the tokenizer; of adapters, these alone.

        Raises:
            CheckpointError: ``tensors`` are of another model, or the folder cannot be written.
        """
        save_language_model(self.moshi, self.tokenizer, folder, self.model, tensors)
