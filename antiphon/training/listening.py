"""Music Flamingo as something to train: all of its weights, some of its parts, or adapters."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from antiphon.training.answer_forcing import PARTS, AnswerForcing, labels_in
from antiphon.training.language import LanguageObjective
from antiphon.training.objective import Batch, Losses


class ListeningObjective(LanguageObjective):
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
        super().__init__(flamingo, self._forcing(flamingo, learn), weight_decay=weight_decay, reader=processor)

    def _forcing(self, flamingo: Any, learn: Collection[str]) -> AnswerForcing:
        return AnswerForcing(flamingo, learn)

    def weight(self, batch: Batch) -> float:
        """The tokens of a batch's answers."""
        return float(labels_in(batch))

    def losses(self, batch: Batch) -> Losses:
        """The loss and the right tokens, summed over the answers of a batch."""
        total, right = self.model(batch)
        return Losses(total, {"right": right})
