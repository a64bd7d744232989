"""Tiny random Moshis, built by transformers, the oracle of these tests, and opened by us."""

from __future__ import annotations

import functools
from typing import Any

import torch
import transformers
from torch import Tensor

import antiphon

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

TEXTS, CODES = 40, 32  # tokens of a text and of a codebook
HOP = 1920  # samples of a frame


def mimi_fields(**changes: Any) -> dict[str, Any]:
    """A codec of 24 kHz and 12.5 Hz with few filters."""
    fields: dict[str, Any] = {
        "num_filters": 4,
        "hidden_size": 16,
        "codebook_dim": 8,
        "vector_quantization_hidden_dimension": 8,
        "codebook_size": CODES,
        "num_quantizers": 6,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 32,
        "upsample_groups": 16,
    }
    return {**fields, **changes}


def fields(*, depth: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A Moshi with grouped heads and four codebooks; ``depth`` are the depth decoder's fields."""
    inner: dict[str, Any] = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "ffn_dim": 40,
        "head_dim": 6,
        "max_position_embeddings": 9,
        "sliding_window": 8,
    }
    own: dict[str, Any] = {
        "vocab_size": TEXTS,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "ffn_dim": 48,
        "num_codebooks": 4,
        "max_position_embeddings": 300,
        "sliding_window": 300,
        "audio_encoder_config": {"model_type": "mimi", **mimi_fields()},
        "depth_decoder_config": {**inner, **(depth or {})},
    }
    return {**own, **changes}


def theirs(kind: str, seed: int = 0, **changes: Any) -> Any:
    """A model of the oracle, of its class ``kind``, whose logits are spread, so that greedy choices are no ties."""
    torch.manual_seed(seed)
    config = transformers.MoshiConfig(**fields(**changes))
    if kind == "MoshiDepthDecoder":
        from transformers.models.moshi.modeling_moshi import MoshiDepthDecoder

        model = MoshiDepthDecoder(config.depth_decoder_config)
    else:
        model = getattr(transformers, kind)(config)
    spread(model)
    return model.eval()


def spread(model: Any) -> None:
    """Weights of about one over the square root of their inputs, tokens and codewords that are felt."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("audio_encoder."):
                continue
            if "embed_tokens" in name:
                parameter.normal_()
            elif parameter.dim() > 1:
                parameter.normal_(std=1.5 * parameter.shape[-1] ** -0.5)
            elif "norm" in name:
                parameter.uniform_(0.5, 1.5)
        for name, buffer in model.named_buffers():
            if name.endswith("embed_sum"):
                buffer.normal_()
            elif name.endswith(("cluster_usage", "initialized")):
                buffer.fill_(1.0)


def ours(model: Any, **changes: Any) -> Any:
    """Our model with the oracle's weights, by way of a state dict."""
    kind = getattr(antiphon, type(model).__name__)
    made = kind(kind.config_class(**{**model.config.to_dict(), **changes})).eval()
    made.load_state_dict(model.state_dict())
    return made


def text(rows: int, columns: int, *, seed: int = 1) -> Tensor:
    """Random text tokens."""
    return torch.randint(0, TEXTS, (rows, columns), generator=torch.Generator().manual_seed(seed))


def codes(rows: int, columns: int, *, books: int = 4, seed: int = 2) -> Tensor:
    """Random codes."""
    return torch.randint(0, CODES, (rows, books, columns), generator=torch.Generator().manual_seed(seed))


def noise(*shape: int, seed: int = 3) -> Tensor:
    """Normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@functools.cache
def pair(kind: str) -> tuple[Any, Any]:
    """The oracle's model and ours with its weights. Shared by all tests of a process: leave both as they are."""
    model = theirs(kind)
    return model, ours(model)


def spoken(rows: int = 2, columns: int = 7) -> dict[str, Tensor]:
    """The three inputs as tokens."""
    return {
        "input_ids": text(rows, columns),
        "moshi_audio_codes": codes(rows, columns),
        "user_audio_codes": codes(rows, columns, seed=5),
    }


def distance(one: Tensor, other: Tensor) -> float:
    """The largest absolute difference of two tensors of one shape."""
    assert one.shape == other.shape, (one.shape, other.shape)
    return float((one.detach().double() - other.detach().double()).abs().max()) if one.numel() else 0.0
