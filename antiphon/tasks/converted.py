"""What all ways from one format of checkpoints to another share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from antiphon.checkpoints import store
from antiphon.models.loading import fit, stored_names
from antiphon.models.pretrained import PreTrainedModel

FORMATS = HF, AUDIOCRAFT, KYUTAI = "hf", "audiocraft", "kyutai"
TEXTS = ("README.md", "LICENSE*")  # a licence goes where the weights go

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Converted:
    """What was written: the format, and how many tensors and bytes of weights it has."""

    to: str
    tensors: int
    weights_bytes: int


def fitting(model: PreTrainedModel, weights: store.Weights) -> dict[str, Tensor]:
    """The model's tensors under the names that files have, seen in their files where that is possible.

    Raises:
        CheckpointError: listing what is missing, too much or of another shape.
    """
    stored = stored_names(weights, model)
    fit(model, weights, stored)
    places = {name: stored[name] for name in model.tensors_to_save()}
    views = weights.mapped(list(places.values()))
    tensors = {name: views[place] if place in views else weights.read(place) for name, place in places.items()}
    return {name: tensors[documented] for documented, name in model.file_names(tensors).items()}
