"""Classifier-free guidance: the logits with and without the condition, weighed against each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from antiphon.errors import ParamError
from antiphon.generation import fields


@dataclass(frozen=True)
class ClassifierFreeGuidance:
    """``unconditional + scale * (conditional - unconditional)``.

    Args:
        scale: finite. 1 gives the conditional logits, more than 1 follows the condition more closely, 0 ignores the
            condition, less than 0 turns away from it.

    Raises:
        ParamError: ``scale`` is not a finite number.

    Source: Ho, Salimans, "Classifier-free diffusion guidance" (2022), equation 6; Copet et al. (2023), section 3.2.
    """

    scale: float

    def __post_init__(self) -> None:
        fields.HONOURED["guidance_scale"]("guidance_scale", self.scale)

    @classmethod
    def for_scale(cls, scale: float | None) -> ClassifierFreeGuidance | None:
        """The guidance of a ``guidance_scale``; ``None`` where it asks for one pass only: ``None``, 1, or less than 1.

        The documents enable guidance by a scale above 1. 0 and negative scales therefore mean no guidance here too;
        construct the class itself to weigh the passes with such a scale.
        """
        guidance = None if scale is None else cls(scale)
        return guidance if guidance is not None and guidance.scale > 1 else None

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Joins (2 R, ...) logits, the conditional rows first, to (R, ...).

        Raises:
            ParamError: the number of rows is odd.
        """
        if logits.shape[0] % 2:
            raise ParamError(
                f"logits with {logits.shape[0]} rows",
                expected="an even number: conditional rows, then unconditional ones",
            )
        conditional, unconditional = logits.chunk(2, dim=0)
        return unconditional + (conditional - unconditional) * self.scale
