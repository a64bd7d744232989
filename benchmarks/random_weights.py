"""Models at the published sizes without a checkpoint: built on ``meta``, then given random numbers.

What a model costs does not depend on them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

SPREAD = 0.02


def filled(module: nn.Module) -> Any:
    """The module, whose tensors are empty, with random numbers: a block of them again and again."""
    generator = torch.Generator().manual_seed(0)
    floats = torch.randn(1 << 22, generator=generator) * SPREAD
    codes = torch.randint(256, (1 << 22,), dtype=torch.uint8, generator=generator)
    for tensor in (*module.parameters(), *module.buffers()):
        with torch.no_grad():
            if tensor.dim() < 2:  # norms, and the counts of codebooks
                tensor.fill_(1)
                continue
            block = codes if tensor.dtype is torch.uint8 else floats.to(tensor.dtype)
            for part in tensor.view(-1).split(len(block)):
                part.copy_(block[: len(part)])
    return module.eval()


def ours_filled(model: Any, *, kind: str | None = None, dtype: torch.dtype = torch.bfloat16) -> Any:
    """A model of Antiphon's, built on ``meta``, as loading would leave it: layers that share an input side by side.

    Args:
        kind: ``int8`` or ``int4`` weights, their codes random as well; with any other they are of the dtype.
    """
    from antiphon.models.quantization import KINDS, Quantization
    from antiphon.models.quantized import make_room
    from antiphon.nn.linear import lay_side_by_side, stacks_of

    if kind in KINDS:
        make_room(model, Quantization(KINDS[kind]), ())
    model.to(dtype).to_empty(device="cpu")
    for group in stacks_of(model):
        lay_side_by_side(group, copy=False)
    return filled(model)


def theirs_filled(model: Any) -> Any:
    """A model of transformers', built on ``meta``, in bfloat16."""
    model = filled(model.to(torch.bfloat16).to_empty(device="cpu"))
    for part in model.modules():
        if hasattr(part, "inv_freq"):  # computed when it is built, which on meta it is not
            half = len(part.inv_freq)
            part.inv_freq = 10_000 ** (-torch.arange(half) / half)
    return model
