"""Small random Mimis."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from antiphon.codecs.mimi import MimiCodec
from antiphon.codecs.mimi_layers import MimiShape, MimiTransformerShape
from antiphon.codecs.seanet import SEANetShape
from antiphon.nn.conv_weight import ConvWeight
from antiphon.nn.linear import Linear
from antiphon.nn.quantizer import Codebook

BOOKS, SIZE = 4, 16
WIDTH = 16

# Sizes that are not the defaults below: of the convolutions, the transformers, the whole.
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "small": ({}, {}, {}),
    "published ratios": ({"ratios": (8, 6, 5, 4), "filters": 2}, {}, {}),
    "grouped heads, two semantic": ({"ratios": (3,)}, {"kv_heads": 2, "bias": True}, {"semantic": 2}),
    "one frame for four": ({"ratios": (2, 2), "residual_layers": 2}, {}, {"stride": 4, "upsample_groups": 4}),
    "no change of rate": ({"ratios": (4,), "shortcut_conv": True}, {}, {"stride": 1}),
    "replicated beginning": ({"ratios": (3, 2), "pad_mode": "replicate"}, {}, {"codebook_width": WIDTH}),
    "stereo": ({"ratios": (3, 2), "channels": 2}, {"layers": 1}, {"upsample_groups": 1}),
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def some_codes(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, SIZE, shape, generator=torch.Generator().manual_seed(seed))


def shape_of(kind: str, **convolutions: Any) -> MimiShape:
    first, second, third = KINDS[kind]
    seanet = {"channels": 1, "filters": 4, "ratios": (4, 2), "lstm_layers": 0, "causal": True, "pad_mode": "constant"}
    stack = {"layers": 2, "heads": 4, "kv_heads": 4, "head_width": 4, "hidden": 24, "window": 6}
    whole = {"upsample_groups": WIDTH, "codebooks": BOOKS, "codebook_size": SIZE, "codebook_width": 8}
    return MimiShape(
        SEANetShape(width=WIDTH, norm="none", last_kernel=3, **{**seanet, **first, **convolutions}),
        MimiTransformerShape(width=WIDTH, **{**stack, **second}),
        **{**whole, **third},
    )


@lru_cache
def made(kind: str = "small", **convolutions: Any) -> MimiCodec:
    """A codec whose latents and sound have the level of music, for which the tolerances are meant."""
    torch.manual_seed(0)
    codec = MimiCodec(shape_of(kind, **convolutions)).eval()
    with torch.no_grad():
        for module in codec.modules():
            if isinstance(module, ConvWeight):
                module.initialise()
            elif isinstance(module, Linear):
                module.weight.normal_(std=0.3)
                if module.bias is not None:
                    module.bias.normal_(std=0.3)
            elif isinstance(module, torch.nn.LayerNorm):
                module.weight.normal_(mean=1.0, std=0.3)
                module.bias.normal_(std=0.3)
            elif isinstance(module, Codebook):
                module.vector_sums.normal_()
                module.cluster_size.uniform_(0.5, 2.0)
        for parameter in (p for name, p in codec.named_parameters() if name.endswith("_scale.scale")):
            parameter.normal_(mean=0.5, std=0.2)
        _settle(codec.encoder.convolutions.layers[-1], codec.encoder.convolutions(noise(1, codec.channels, 4000)))
        _settle(codec.decoder.convolutions.layers[-1], codec.decoder(noise(1, WIDTH, 50)))
    return codec


def _settle(last: Any, out: Tensor) -> None:
    level = out.abs().max()
    last.bias /= level
    last.weight /= level


def cut(x: Tensor, sizes: list[int]) -> list[Tensor]:
    """``x`` in pieces of these sizes over and over, which must not all be 0."""
    pieces, start, turn = [], 0, 0
    while start < x.shape[-1]:
        pieces.append(x[..., start : start + sizes[turn % len(sizes)]])
        start, turn = start + sizes[turn % len(sizes)], turn + 1
    return pieces
