"""Music Flamingo as something to train: all of its weights, some of its parts, or adapters."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from antiphon.errors import ConfigError
from antiphon.training.answer_forcing import PARTS, AnswerForcing, labels_in
from antiphon.training.language import decaying_groups, refuse_extra_state, save_language_model
from antiphon.training.objective import Batch, Losses


class ListeningObjective:
    """The cross-entropy of answers about sounds, in nats a token; ``right`` is the share of tokens chosen rightly.

    Args:
        flamingo: a Music Flamingo or an Audio Flamingo 3. learn: which of its parts do (``answer_forcing.PARTS``).
        weight_decay: of matrices; embeddings, norms and biases have none.
        processor: saved into every checkpoint, so that it opens as a whole.

    Raises:
        ConfigError: a negative decay, or a part that there is not.
    """

    def __init__(
        self,
        flamingo: Any,
        *,
        learn: Collection[str] = PARTS,
        weight_decay: float = 0.1,
        processor: Any = None,
    ) -> None:
        if not weight_decay >= 0:
            raise ConfigError(f"weight_decay={weight_decay}", expected="0 or more")
        self.flamingo = flamingo
        self.model: nn.Module = AnswerForcing(flamingo, learn)
        self.weight_decay = weight_decay
        self.processor = processor

    def weight(self, batch: Batch) -> float:
        """The tokens of a batch's answers."""
        return float(labels_in(batch))

    def losses(self, batch: Batch) -> Losses:
        """The loss and the right tokens, summed over the answers of a batch."""
        total, right = self.model(batch)
        return Losses(total, {"right": right})

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
        """Writes a checkpoint of the whole model and the processor; of adapters, the active one alone.

        Raises:
            CheckpointError: ``tensors`` are of another model, or the folder cannot be written.
        """
        save_language_model(self.flamingo, self.processor, folder, self.model, tensors)
