"""audiocraft's own MusicGen at a size that fits into a test, and its weights under the names of published checkpoints.

Imported by the scripts beside it, in audiocraft's environment only.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import stand_ins  # noqa: F401  # before audiocraft
import torch
from audiocraft.models.encodec import EncodecModel
from audiocraft.models.lm import LMModel
from audiocraft.modules.codebooks_patterns import DelayedPatternProvider
from audiocraft.modules.conditioners import (
    ChromaStemConditioner,
    ConditionFuser,
    ConditioningProvider,
    TextConditioner,
)
from audiocraft.modules.seanet import SEANetDecoder, SEANetEncoder
from audiocraft.quantization import ResidualVectorQuantizer
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

GOLDENS = Path(__file__).parent / "goldens"
CODES = 64  # of a codebook
EVERY_CODE = 8  # logits are kept of so many
WIDTH = 32
TEXT_WIDTH = 24  # of the text encoder's states
TEXT_PLACES = 7
RATE_HZ = 32_000
FRAME_RATE_HZ = 50
DELAYS = {"mono": [0, 1, 2, 3], "stereo": [0, 0, 1, 1, 2, 2, 3, 3]}

_DECODER = "decoder.model.decoder."
_NAMES = (
    (r"^emb\.", _DECODER + "embed_tokens."),
    (r"^linears\.", "decoder.lm_heads."),
    (r"^out_norm\.", _DECODER + "layer_norm."),
    (r"^transformer\.", _DECODER),
    (r"^condition_provider\.conditioners\.description\.output_proj\.", "enc_to_dec_proj."),
    (r"^condition_provider\.conditioners\.self_wav\.output_proj\.", "audio_enc_to_dec_proj."),
    (r"\.cross_attention\.", ".encoder_attn."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"\.norm_cross\.", ".encoder_attn_layer_norm."),
    (r"\.norm2\.", ".final_layer_norm."),
    (r"\.linear([12])\.", r".fc\1."),
)


class GivenText(TextConditioner):
    """In the place of a T5: the states of every text are given, and no text is one place of zeros as it is there."""

    def __init__(self, states: dict[str, Tensor], width: int) -> None:
        super().__init__(next(iter(states.values())).shape[-1], width)
        self.states = states

    def tokenize(self, x: list[str | None]) -> list[str | None]:
        """Nothing to do."""
        return x

    def forward(self, inputs: list[str | None]) -> tuple[Tensor, Tensor]:
        """States (B, L, D), those of shorter texts filled up, and their mask (B, L)."""
        nothing = torch.zeros(1, self.dim)
        given = [nothing if text is None else self.states[text] for text in inputs]
        real = [torch.full((len(own),), text is not None) for own, text in zip(given, inputs, strict=True)]
        mask = pad_sequence(real, batch_first=True).long()
        return self.output_proj(pad_sequence(given, batch_first=True)) * mask[..., None], mask


def language_model(
    states: dict[str, Tensor],
    *,
    delays: list[int],
    codes: int = CODES,
    width: int = WIDTH,
    layers: int = 2,
    heads: int = 4,
    melody_s: float | None = None,
) -> Any:
    """An ``LMModel`` with the settings of audiocraft's ``lm/musicgen_lm.yaml`` and random weights.

    With ``melody_s`` it hears melodies of so many seconds, with the settings of its ``conditioner/chroma2music.yaml``:
    chroma and text stand in front of the columns, and nothing is attended to across.
    """
    conditioners: dict[str, Any] = {"description": GivenText(states, width)}
    fused: dict[str, list[str]] = {"cross": ["description"], "prepend": [], "sum": [], "input_interpolate": []}
    if melody_s is not None:
        conditioners["self_wav"] = chroma_conditioner(width, melody_s)
        fused |= {"cross": [], "prepend": ["self_wav", "description"]}
    return LMModel(
        DelayedPatternProvider(len(delays), delays),
        ConditioningProvider(conditioners),
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
        cross_attention=bool(fused["cross"]),
        dropout=0.0,
        weight_init="gaussian",
        depthwise_init="current",
        zero_bias_init=True,
    ).eval()


def chroma_conditioner(width: int, seconds: float) -> Any:
    """audiocraft's own, set up as by ``MusicGen.get_pretrained``, behind a separation that lets everything through."""
    conditioner = ChromaStemConditioner(
        output_dim=width, sample_rate=RATE_HZ, n_chroma=12, radix2_exp=14, duration=seconds, argmax=True
    )
    conditioner.match_len_on_eval, conditioner._use_masking = True, False
    return conditioner


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
        elif not name.endswith("chroma.spec.window"):  # computed, though published files hold it
            found[name] = tensor.half().contiguous()
    return found


def save(name: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes a golden; the facts are one text, because a file with several has them in another order every time."""
    save_file(tensors, GOLDENS / f"{name}.safetensors", metadata={"about": json.dumps(facts)})
