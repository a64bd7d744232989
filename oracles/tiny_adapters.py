"""The model and the adapters that oracles/adapters.py and its test share; everything in them comes from formulas."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from torch import Tensor

CODES = 16
TEXT = {"vocab_size": 20, "d_model": 12, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
CODEC = {"num_filters": 2, "hidden_size": 8, "codebook_size": 16, "target_bandwidths": [0.8], "sampling_rate": 32000}
CODEC |= {"upsampling_ratios": [8, 5, 4, 4], "use_causal_conv": False, "use_conv_shortcut": False}
DECODER = {"vocab_size": CODES, "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
DECODER |= {"num_codebooks": 4, "pad_token_id": CODES, "bos_token_id": CODES}

# name: the arguments of PEFT's configuration
CASES: dict[str, dict[str, Any]] = {
    "names": {"r": 3, "lora_alpha": 5, "target_modules": ["q_proj", "v_proj", "fc1", "wo"]},
    "pattern": {"r": 2, "lora_alpha": 3, "target_modules": r".*layers\.\d\.(self|encoder)_attn\.k_proj"},
    "ranks": {
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["q_proj", "out_proj", "enc_to_dec_proj"],
        "use_rslora": True,
        "rank_pattern": {r"layers\.1\.self_attn\.q_proj": 3},
        "alpha_pattern": {"out_proj": 7},
    },
    "whole": {
        "r": 2,
        "lora_alpha": 4,
        "target_modules": ["v_proj"],
        "modules_to_save": ["lm_heads.0", "embed_tokens.1", "decoder.layer_norm"],
    },
    "all": {"r": 1, "lora_alpha": 2, "target_modules": "all-linear"},
}


def composite(library: Any) -> Any:
    """The tiny MusicGen of a library with the documented classes."""
    config = library.MusicgenConfig(
        text_encoder=library.T5Config(**TEXT),
        audio_encoder=library.EncodecConfig(**CODEC),
        decoder=library.MusicgenDecoderConfig(**DECODER),
    )
    model = library.MusicgenForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            if not name.startswith("audio_encoder") and "embed_positions" not in name:
                tensor.copy_(numbers(name, tuple(tensor.shape)))
    return model


def numbers(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers of a size that is felt, which follow from a name."""
    name = name.replace("text_encoder.encoder.embed_tokens", "text_encoder.shared")  # two names of one table
    count = torch.Size(shape).numel()
    wave = torch.sin(torch.arange(count, dtype=torch.float64) * 1.7 + zlib.crc32(name.encode()) % 997).float()
    return (1 + 0.1 * wave if "norm" in name else 0.4 * wave).reshape(shape)


def logits(model: Any) -> Tensor:
    """Of a short text and some columns."""
    ids = torch.arange(2, 12).reshape(2, 5)
    columns = (torch.arange(2 * 4 * 6).reshape(8, 6) * 7) % CODES
    with torch.no_grad():
        out: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids), decoder_input_ids=columns).logits
    return out
