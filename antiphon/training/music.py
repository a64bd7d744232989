"""Music models as something to train: MusicGen and MusicGen Melody, or the decoder of either alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.errors import ConfigError
from antiphon.models.code_decoder import CodeDecoderForCausalLM
from antiphon.models.music_composite import MusicComposite
from antiphon.training.language import LanguageObjective
from antiphon.training.objective import Batch, Losses
from antiphon.training.teacher_forcing import TeacherForcing


class MusicObjective(LanguageObjective):
    """The cross-entropy of codes under their conditions, in nats.

    Weighed by frames: the mean is over the codebooks and over the frames of all rows, as the documented loss has it,
    unless codebooks count for more or less; and ``codebook_k`` is the mean of that codebook.

    Args:
        music: a composite of either family, or its decoder alone (see ``TeacherForcing``).
        train_text_encoder: learn the text encoder along.
        weight_decay: of matrices; embeddings, norms and biases have none.
        codebook_weights: how much each codebook counts, in proportion; by default all the same.
        lr_scales: factors on the learning rate by part: ``decoder``, ``text_encoder``, ``enc_to_dec_proj``,
            ``audio_enc_to_dec_proj``.
        processor: saved into every checkpoint, so that it opens as a whole.

    Raises:
        ConfigError: a factor for a part that there is not, or is not trained; a negative factor, weight or decay;
            weights for another number of codebooks.
    """

    def __init__(
        self,
        music: MusicComposite | CodeDecoderForCausalLM,
        *,
        train_text_encoder: bool = False,
        weight_decay: float = 0.1,
        codebook_weights: Sequence[float] = (),
        lr_scales: Mapping[str, float] | None = None,
        processor: Any = None,
    ) -> None:
        shares = self._shares(music, codebook_weights)
        forcing = self._forcing(music, train_text_encoder=train_text_encoder, stream_weights=shares)
        super().__init__(music, forcing, weight_decay=weight_decay, lr_scales=lr_scales, reader=processor)

    def _forcing(self, music: MusicComposite | CodeDecoderForCausalLM, **how: Any) -> TeacherForcing:
        """The model as it learns."""
        return TeacherForcing(music, **how)

    @staticmethod
    def _shares(music: Any, weights: Sequence[float]) -> list[float] | None:
        """The weights with a mean of 1."""
        if not weights:
            return None
        streams = (music if isinstance(music, CodeDecoderForCausalLM) else music.decoder).config.num_codebooks
        if len(weights) != streams or not all(0 <= weight < float("inf") for weight in weights) or not sum(weights):
            raise ConfigError(f"codebook_weights={list(weights)}", expected=f"{streams} numbers, 0 or more, not all 0")
        return [weight * streams / sum(weights) for weight in weights]

    def weight(self, batch: Batch) -> float:
        """The frames of a batch."""
        frames = batch.get("frames")
        rows, _, length = batch["codes"].shape
        return float(rows * length if frames is None else frames.sum())

    def losses(self, batch: Batch) -> Losses:
        """The mean over the codebooks, and each codebook, summed over the frames of a batch as ``TeacherForcing`` takes
        it."""
        total, each = self.model(batch)
        return Losses(total / len(each), {f"codebook_{k}": loss for k, loss in enumerate(each)})
