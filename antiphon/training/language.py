"""What the objectives of all language models share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from antiphon.errors import CheckpointError, ConfigError
from antiphon.nn.positions import RelativePositionBias
from antiphon.training.average import holding
from antiphon.training.objective import Batch


class LanguageObjective:
    """A language model that learns by teacher forcing: nothing to prepare, nothing to keep up beside its weights.

    Families add ``weight`` and ``losses`` (see ``Objective``).

    Args:
        whole: the documented model, which checkpoints are of. forcing: what turns a batch into losses, with the parts
            that learn. weight_decay: of matrices; embeddings, norms and biases have none.
        lr_scales: factors on the learning rate by part. reader: its processor or tokenizer, saved into every checkpoint
            so that it opens as a whole.

    Raises:
        ConfigError: a factor for a part that there is not, or is not trained; a negative factor or decay.
    """

    def __init__(
        self,
        whole: Any,
        forcing: nn.Module,
        *,
        weight_decay: float,
        lr_scales: Mapping[str, float] | None = None,
        reader: Any = None,
    ) -> None:
        self.whole, self.model, self.reader = whole, forcing, reader
        self.weight_decay, self.lr_scales = weight_decay, dict(lr_scales or {})
        if not weight_decay >= 0 or not all(scale >= 0 for scale in self.lr_scales.values()):
            raise ConfigError(f"weight_decay={weight_decay}, lr_scales={self.lr_scales}", expected="0 or more")
        trained = {name.split(".")[1] for name, p in forcing.named_parameters() if p.requires_grad}
        if odd := sorted(self.lr_scales.keys() - trained):
            raise ConfigError(f"lr_scales for {odd}", expected=f"some of {sorted(trained)}")

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
        if state:
            raise CheckpointError(
                f"a state of training with {sorted(state)[:5]}", expected="none beside the weights of a language model"
            )

    def is_whole(self) -> bool:
        """From the start."""
        return True

    def save(self, folder: Path, tensors: Mapping[str, Tensor] | None) -> None:
        """Writes a checkpoint of the whole model and its reader, ``tensors`` in place of those that are trained; of
        adapters, the active one alone.

        Raises:
            CheckpointError: ``tensors`` are of another model, or the folder cannot be written.
        """
        with holding(self.model, tensors or {}):
            if self.whole.peft_config:
                self.whole.save_adapter(folder)
                return
            self.whole.save_pretrained(folder)
        if self.reader is not None:
            self.reader.save_pretrained(folder)


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
