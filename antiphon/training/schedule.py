"""How the learning rate goes over a run."""

from __future__ import annotations

import math

from antiphon.errors import ConfigError


def learning_rate_factor(step: int, *, steps: int, warmup_steps: int, final_share: float) -> float:
    """The factor on the peak rate at ``step`` (from 0): a straight rise, then half a cosine down to ``final_share``.

    Raises:
        ConfigError: a warm-up longer than the run, or a share outside 0 to 1.
    """
    if not 0 <= warmup_steps <= steps:
        raise ConfigError(f"warmup_steps={warmup_steps}", expected=f"0 to {steps}, the steps of the run")
    if not 0 <= final_share <= 1:
        raise ConfigError(f"final_share={final_share}", expected="0 to 1")
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return final_share + (1 - final_share) * (1 + math.cos(math.pi * done)) / 2
