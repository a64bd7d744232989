"""audiocraft's own MusicGen at a size that fits into a test, and its weights under the names of published checkpoints.

Imported by the scripts beside it, in audiocraft's environment only.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import stand_ins  # noqa: F401  # before audiocraft
import torch
from audiocraft.models.encodec import EncodecModel
from audiocraft.models.lm import LMModel
from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
from audiocraft.modules.conditioners import ConditionFuser, ConditioningProvider, TextConditioner
from audiocraft.modules.seanet import SEANetDecoder, SEANetEncoder
from audiocraft.quantization import ResidualVectorQuantizer
from torch import Tensor

GOLDENS = Path(__file__).parent / "goldens"
CODES = 64  # of a codebook
WIDTH = 32
TEXT_WIDTH = 24  # of the text encoder's states
TEXT_PLACES = 7

_DECODER = "decoder.model.decoder."
_NAMES = (
    (r"^emb\.", _DECODER + "embed_tokens."),
    (r"^linears\.", "decoder.lm_heads."),
    (r"^out_norm\.", _DECODER + "layer_norm."),
    (r"^transformer\.", _DECODER),
    (r"^condition_provider\.conditioners\.description\.output_proj\.", "enc_to_dec_proj."),
    (r"\.cross_attention\.", ".encoder_attn."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"\.norm_cross\.", ".encoder_attn_layer_norm."),
    (r"\.norm2\.", ".final_layer_norm."),
    (r"\.linear([12])\.", r".fc\1."),
)


class GivenText(TextConditioner):
    """In the place of a T5: the states of every text are given, and no text is zeros as it is there."""

    def __init__(self, states: dict[str, Tensor], width: int) -> None:
        super().__init__(next(iter(states.values())).shape[-1], width)
        self.states = states

    def tokenize(self, x: list[str | None]) -> list[str | None]:
        """Nothing to do."""
        return x

    def forward(self, inputs: list[str | None]) -> tuple[Tensor, Tensor]:
        """States (B, L, D) and their mask (B, L)."""
        places = len(next(iter(self.states.values())))
        empty = torch.zeros(places, self.dim)
        given = torch.stack([empty if text is None else self.states[text] for text in inputs])
        mask = torch.tensor([[text is not None] * places for text in inputs]).long()
        return self.output_proj(given) * mask[..., None], mask


def language_model(
    states: dict[str, Tensor],
    *,
    delays: list[int],
    codes: int = CODES,
    width: int = WIDTH,
    layers: int = 2,
    heads: int = 4,
) -> Any:
    """An ``LMModel`` with the settings of audiocraft's ``lm/musicgen_lm.yaml`` and random weights."""
    fused = {"cross": ["description"], "prepend": [], "sum": [], "input_interpolate": []}
    return LMModel(
        DelayedPatternProvider(len(delays), delays),
        ConditioningProvider({"description": GivenText(states, width)}),
        ConditionFuser(fused),
        n_q=len(delays),
        card=codes,
        dim=width,
        num_heads=heads,
        num_layers=layers,
        hidden_scale=4,
        norm_first=True,
        activation="gelu",
        bias_proj=False,
        bias_ff=False,
        bias_attn=False,
        causal=True,
        custom=True,
        memory_efficient=True,
        cross_attention=True,
        dropout=0.0,
        weight_init="gaussian",
        depthwise_init="current",
        zero_bias_init=True,
    ).eval()


def codec(*, pad_mode: str, filters: int = 2, width: int = 16, codes: int = CODES) -> Any:
    """An ``EncodecModel`` of the 32 kHz kind (50 frames a second, not causal) with random weights."""
    layers: dict[str, Any] = {
        "channels": 1,
        "dimension": width,
        "n_filters": filters,
        "n_residual_layers": 1,
        "ratios": [8, 5, 4, 4],
        "norm": "weight_norm",
        "causal": False,
        "pad_mode": pad_mode,
        "true_skip": True,
        "lstm": 2,
    }
    quantizer = ResidualVectorQuantizer(dimension=width, n_q=4, bins=codes, kmeans_init=False)
    model = EncodecModel(
        SEANetEncoder(**layers), SEANetDecoder(**layers), quantizer, frame_rate=50, sample_rate=32000, channels=1
    )
    return model.eval()


def half_exact(module: torch.nn.Module) -> None:
    """Rounds weights to what float16 holds, so that the files are half as long and still exact."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(parameter.half().float())


def published_names(model: Any) -> dict[str, Tensor]:
    """The weights as float16 under the names of published checkpoints, queries, keys and values apart."""
    found = {}
    for name, tensor in model.state_dict().items():
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
        if name.endswith("in_proj_weight"):
            for part, piece in zip("qkv", tensor.chunk(3), strict=True):
                found[name.replace("in_proj_weight", f"{part}_proj.weight")] = piece.half().contiguous()
        else:
            found[name] = tensor.half().contiguous()
    return found
