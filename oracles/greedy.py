"""Greedy choices that nothing but a fault can change: weights that spread logits, and a watch over near ties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tiny_audiocraft as tiny
import torch
from torch import Tensor

CLEAR = 1e-4  # how far apart the best two logits of every choice must be
_SEEDS = range(1, 100)


def spread(model: Any) -> None:
    """Larger matrices, so that choices depend on what was heard and are no ties."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(6.0 if name.startswith(("emb", "linears")) else 2.0)
            elif "output_proj" in name:
                parameter.normal_(std=0.3)
    tiny.half_exact(model)


class Choices:
    """Watches a model: how close the best two logits of a greedy choice ever came."""

    def __init__(self, model: Any, guidance: float) -> None:
        self.closest = float("inf")
        self._guidance = guidance
        self._hook = model.register_forward_hook(self._seen)

    def _seen(self, model: Any, inputs: Any, logits: Tensor) -> None:
        with_text, without = logits[:, :, -1].chunk(2)
        best = (without + (with_text - without) * self._guidance).topk(2).values
        self.closest = min(self.closest, float((best[..., 0] - best[..., 1]).min()))

    def done(self) -> float:
        """Stops watching."""
        self._hook.remove()
        return self.closest


def first_clear(what: str, golden: Callable[[int], tuple[dict[str, Tensor], float]]) -> tuple[dict[str, Tensor], Any]:
    """The tensors of the first seed without a near tie, and what is to be said of it.

    Args:
        golden: gives the tensors of a seed, codes among them under ``codes.<case>``, and how close a choice came.
    """
    for seed in _SEEDS:
        tensors, closest = golden(seed)
        if closest >= CLEAR:
            break
    else:
        raise SystemExit("no seed without a near tie")
    used = [len(codes.unique()) for name, codes in tensors.items() if name.startswith("codes.")]
    print(f"{what}: seed {seed}, closest choice {closest:.2e}, {min(used)} to {max(used)} codes in use")
    return tensors, {"seed": seed, "closest": closest}
