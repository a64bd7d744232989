"""Music models as something to train: MusicGen and MusicGen Melody, or the decoder of either alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from antiphon.errors import CheckpointError, ConfigError
from antiphon.models.code_decoder import CodeDecoderForCausalLM
from antiphon.models.music_composite import MusicComposite
from antiphon.nn.positions import RelativePositionBias
from antiphon.training.average import holding
from antiphon.training.objective import Batch, Losses
from antiphon.training.teacher_forcing import TeacherForcing


class MusicObjective:
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
        self.music = music
        self.model: nn.Module = TeacherForcing(
            music, train_text_encoder=train_text_encoder, stream_weights=self._shares(music, codebook_weights)
        )
        self.weight_decay = weight_decay
        self.lr_scales = dict(lr_scales or {})
        self.processor = processor
        if not weight_decay >= 0 or not all(scale >= 0 for scale in self.lr_scales.values()):
            raise ConfigError(f"weight_decay={weight_decay}, lr_scales={self.lr_scales}", expected="0 or more")
        trained = {name.split(".")[1] for name, p in self.model.named_parameters() if p.requires_grad}
        if odd := sorted(self.lr_scales.keys() - trained):
            raise ConfigError(f"lr_scales for {odd}", expected=f"some of {sorted(trained)}")

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

    def parameter_groups(self) -> list[dict[str, Any]]:
        """What is trained, by part and by whether it decays."""
        return decaying_groups(self.model, self.weight_decay, self.lr_scales)

    def before_training(self, batch: Batch) -> None:
        """Nothing to prepare."""

    def after_step(self, step: int) -> None:
        """Nothing to keep up."""

    def extra_state(self) -> dict[str, Tensor]:
        """Nothing beyond the tensors of ``model``."""
        return {}

    def load_extra_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes back nothing.

        Raises:
            CheckpointError: there is something.
        """
        refuse_extra_state(state)

    def is_whole(self) -> bool:
        """From the start."""
        return True

    def save(self, folder: Path, tensors: Mapping[str, Tensor] | None) -> None:
        """Writes a checkpoint of the whole model, codec included, and the processor; of adapters, the active one alone.

        Raises:
            CheckpointError: ``tensors`` are of another model, or the folder cannot be written.
        """
        save_language_model(self.music, self.processor, folder, self.model, tensors)


def decaying_groups(model: nn.Module, weight_decay: float, lr_scales: Mapping[str, float]) -> list[dict[str, Any]]:
    """What is trained of a model whose parts are ``parts.<name>``, by part and by whether it decays: matrices do,
    embeddings, norms and biases do not."""
    spared = {
        id(parameter)
        for module in model.modules()
        for parameter in module.parameters(recurse=False)
        if isinstance(module, (nn.Embedding, RelativePositionBias)) or parameter.dim() < 2
    }
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.split(".")[1], id(parameter) not in spared), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": weight_decay if decays else 0.0, "lr_scale": lr_scales.get(part, 1.0)}
        for (part, decays), parameters in groups.items()
    ]


def refuse_extra_state(state: Mapping[str, Tensor]) -> None:
    """Raises ``CheckpointError`` where a language model is given a state of training beside its weights."""
    if state:
        raise CheckpointError(
            f"a state of training with {sorted(state)[:5]}", expected="none beside the weights of a language model"
        )


def save_language_model(
    model: Any, processor: Any, folder: Path, trained: nn.Module, tensors: Mapping[str, Tensor] | None
) -> None:
    """Writes a model with ``tensors`` in place of those that ``trained`` holds, and its processor or tokenizer; of a
    model with adapters the active one alone.

    Raises:
        CheckpointError: ``tensors`` are of another model, or the folder cannot be written.
    """
    with holding(trained, tensors or {}):
        if model.peft_config:
            model.save_adapter(folder)
            return
        model.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
