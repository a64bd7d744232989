"""Small random Mimis written by transformers."""

from __future__ import annotations

from typing import Any

import torch
import transformers

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_filters": 4,
    "upsampling_ratios": [4, 3],
    "codebook_size": 16,
    "codebook_dim": 8,
    "vector_quantization_hidden_dimension": 8,
    "num_quantizers": 4,
    "upsample_groups": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "sliding_window": 6,
}

KINDS: dict[str, dict[str, Any]] = {
    "small": {},
    "published ratios": {"upsampling_ratios": [8, 6, 5, 4], "num_filters": 2},
    "grouped key heads": {"num_key_value_heads": 2, "head_dim": 6, "attention_bias": True},
    "two semantic, no projections": {
        "num_semantic_quantizers": 2,
        "codebook_dim": 32,
        "vector_quantization_hidden_dimension": 32,
        "rope_parameters": {"rope_theta": 500.0, "rope_type": "default"},
    },
    "other convolutions": {
        "pad_mode": "replicate",
        "num_residual_layers": 2,
        "upsample_groups": 4,
        "compress": 1,
        "audio_channels": 2,
        "hidden_act": "silu",
    },
    "centred, reflecting": {
        "use_causal_conv": False,
        "use_conv_shortcut": True,
        "pad_mode": "reflect",
        "upsampling_ratios": [3],
    },
    "wide window": {"sliding_window": 250, "upsampling_ratios": [2], "norm_eps": 1e-3},
}


def theirs(**overrides: Any) -> Any:
    """A model of transformers whose random weights matter everywhere, with latents and sound of the level of music."""
    torch.manual_seed(0)
    model = transformers.MimiModel(transformers.MimiConfig(**{**SMALL, **overrides})).eval()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("embed_sum"):
                tensor.normal_()
            elif name.endswith("cluster_usage"):
                tensor.uniform_(0.5, 2.0)
            elif "_proj" in name or ".fc" in name:
                tensor.normal_(std=0.3)
            elif "layernorm" in name or name.endswith("_scale.scale"):
                tensor.normal_(mean=0.5, std=0.3)
        channels = model.config.audio_channels
        last = model.encoder.encoder_seanet.layers[-1].conv
        _settle(last, model.encoder.encoder_seanet(torch.randn(1, channels, 2000)))
        _settle(model.decoder.decoder_seanet.layers[-1].conv, model.decode(some_codes(model.config, 1, 40))[0])
    return model


def some_codes(config: Any, batch: int, frames: int) -> torch.Tensor:
    shape = (batch, config.num_quantizers, frames)
    return torch.randint(0, config.codebook_size, shape, generator=torch.Generator().manual_seed(frames))


def _settle(last: Any, out: torch.Tensor) -> None:
    level = out.abs().max()
    last.bias /= level
    last.weight /= level
