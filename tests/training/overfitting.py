"""A few steps over one batch: an objective that cannot learn it by heart learns nothing."""

from __future__ import annotations

import math
from typing import Any

import torch

from antiphon.training.objective import Objective


def _optimiser(objective: Objective, rate: float) -> torch.optim.Optimizer:
    """AdamW over the groups of the objective."""
    groups = [{**group, "lr": rate * group.pop("lr_scale")} for group in objective.parameter_groups()]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95))


def overfitted(objective: Objective, given: dict[str, Any], *, steps: int, rate: float = 1e-2) -> list[float]:
    """The losses of some steps over one batch."""
    stepper, losses = _optimiser(objective, rate), []
    for step in range(steps):
        for group in stepper.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 10) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        stepper.zero_grad()
        loss = objective.losses(given).total / objective.weight(given)
        loss.backward()
        stepper.step()
        losses.append(float(loss.detach()))
    return losses
