"""The models and the adapters that oracles/adapters.py and its test share; everything in them comes from formulas."""

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

MIMI = {"num_filters": 2, "hidden_size": 8, "codebook_dim": 4, "vector_quantization_hidden_dimension": 4}
MIMI |= {"codebook_size": CODES, "num_quantizers": 3, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 4}
MIMI |= {"num_key_value_heads": 2, "intermediate_size": 8, "upsample_groups": 8, "model_type": "mimi"}
DEPTH = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 16}
MOSHI = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_dim": 24}
MOSHI |= {"num_codebooks": 3, "audio_encoder_config": MIMI, "depth_decoder_config": DEPTH}

# name: the arguments of PEFT's configuration, for the MusicGen
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

# and for the Moshi, whose depth decoder's weights are stacks
TALK_CASES: dict[str, dict[str, Any]] = {
    "stacks": {
        "r": 2,
        "lora_alpha": 3,
        "target_modules": r"decoder\..*\.(linear|fc1|fc2)",
        "target_parameters": [
            "depth_decoder.layers.1.self_attn.k_proj.linear.weight",
            "depth_decoder.layers.0.mlp.fc1.weight",
        ],
        "exclude_modules": r"decoder\.model\.layers\.0\.mlp\.fc1",
        "rank_pattern": {r"layers\.1\.self_attn\.k_proj\.linear\.weight": 3},
    },
    "stacks_whole": {
        "r": 1,
        "lora_alpha": 2,
        "target_modules": [],
        "target_parameters": ["depth_decoder.input_projections.weight"],
        "modules_to_save": ["depth_decoder.lm_heads", "decoder.model.norm"],
    },
}


def composite(library: Any) -> Any:
    """The tiny MusicGen of a library with the documented classes."""
    config = library.MusicgenConfig(
        text_encoder=library.T5Config(**TEXT),
        audio_encoder=library.EncodecConfig(**CODEC),
        decoder=library.MusicgenDecoderConfig(**DECODER),
    )
    return filled(library.MusicgenForConditionalGeneration(config))


def talker(library: Any) -> Any:
    """The tiny Moshi."""
    return filled(library.MoshiForConditionalGeneration(library.MoshiConfig(**MOSHI)))


def filled(model: Any) -> Any:
    """The model with numbers, but for its codec's."""
    held = model.state_dict()
    made = {
        name: numbers(name, tuple(tensor.shape))
        for name, tensor in held.items()
        if not name.startswith("audio_encoder") and "embed_positions" not in name
    }
    model.load_state_dict({**held, **made})
    return model.eval()


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


def talk_logits(model: Any) -> Tensor:
    """Of a short text, and of the codebooks of its columns."""
    ids, codes = torch.arange(2, 12).reshape(2, 5), (torch.arange(2 * 3 * 5).reshape(2, 3, 5) * 7) % CODES
    spoken = {"input_ids": ids, "moshi_audio_codes": codes, "user_audio_codes": codes.flip(1)}
    with torch.no_grad():
        out = model(**spoken, text_labels=ids, audio_labels=codes)
    return torch.cat([out.logits.flatten(), out.audio_logits.flatten()])
