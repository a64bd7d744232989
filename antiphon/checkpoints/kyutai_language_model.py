"""The configuration of a Moshi, as kyutai's ``config.json`` has it and as the documents do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from antiphon.checkpoints.kyutai_config import KyutaiConfig
from antiphon.errors import ParamError

MODEL_TYPE, DEPTH_TYPE = "moshi", "moshi_depth"
# What kyutai calls these, the documents have no name for: they are kept as they are.
KEPT = ("delays", "existing_text_padding_id", "existing_text_end_padding_id")
_EPSILON = 1e-8  # of the one norm that is computed here

# Where a repository has no config.json, its model is this one.
LEGACY: dict[str, Any] = {
    **{"dim": 4096, "text_card": 32000, "existing_text_padding_id": 3, "n_q": 16, "dep_q": 8, "card": 2048},
    **{"num_heads": 32, "num_layers": 32, "hidden_scale": 4.125, "causal": True, "layer_scale": None},
    **{"context": 3000, "max_period": 10000, "gating": "silu", "norm": "rms_norm_f32"},
    **{"positional_embedding": "rope", "depformer_dim": 1024, "depformer_dim_feedforward": 4224},
    **{"depformer_num_heads": 16, "depformer_num_layers": 6, "depformer_layer_scale": None},
    **{"depformer_multi_linear": True, "depformer_context": 8, "depformer_max_period": 10000},
    **{"depformer_gating": "silu", "depformer_pos_emb": "none", "depformer_weights_per_step": True},
    "delays": [0, *([0] + [1] * 7) * 2],
}

# value that can be computed, value of the package where the key is absent
_SUPPORTED: dict[str, tuple[Any, Any]] = {
    "causal": (True, True),
    "layer_scale": (None, None),
    "norm": ("rms_norm_f32", "layer_norm"),
    "positional_embedding": ("rope", "sin"),
    "norm_emb": (False, False),
    "bias_proj": (False, False),
    "cross_attention": (False, False),
    "demux_second_stream": (False, False),
    "demux_second_text_stream": (False, False),
    "depformer_layer_scale": (None, None),
    "depformer_multi_linear": (True, False),
    "depformer_weights_per_step": (True, False),
    "depformer_weights_per_step_schedule": (None, None),
    "depformer_low_rank_embeddings": (None, None),
    "depformer_norm": (None, None),
    "depformer_pos_emb": ("none", "sin"),
    "extra_heads_num_heads": (0, 0),
    "conditioners": ({}, {}),
    "fuser": (None, None),
}
_WITHOUT_EFFECT = (
    *("depformer_causal", "depformer_context", "depformer_max_period"),
    *("gradient_checkpointing", "extra_heads_dim"),
)
_GATES = ("silu", "gelu", "relu", "sigmoid", "tanh")


def language_model_values(config: KyutaiConfig) -> dict[str, Any]:
    """The documents' values of the Moshi that ``config`` describes, but for those of its codec.

    Raises:
        ConfigError: a value that no Moshi here has, by name.
    """
    config.require(_SUPPORTED)
    config.drop(_WITHOUT_EFFECT)
    books, streams = config.number("dep_q", 8), config.number("n_q", 8)
    if streams != 2 * books:
        raise config.error("n_q", streams, f"{2 * books}: {books} codebooks of the model and as many of the user")
    width, texts, codes = config.number("dim", 128), config.number("text_card", 32000), config.number("card", 1024)
    texts_out = config.take("text_card_out", None)
    if texts_out not in (None, texts):
        raise config.error("text_card_out", texts_out, f"{texts}, as text_card")
    scale = config.number("hidden_scale", 4, kind=float, least=0)
    heads, repeat = config.number("num_heads", 8), config.number("kv_repeat", 1)
    context, gate = config.number("context"), _gate(config, "gating", "none")
    values = {
        "model_type": MODEL_TYPE,
        "vocab_size": texts,
        "audio_vocab_size": codes,
        "num_codebooks": books,
        "num_hidden_layers": config.number("num_layers"),
        **_sizes(config, "dim", width, heads, repeat),
        "ffn_dim": 2 * gated_width(width, int(scale * width)),
        "hidden_act": gate,
        "rms_norm_eps": _EPSILON,
        "rope_theta": config.number("max_period", 10000, kind=float),
        "sliding_window": context,
        "max_position_embeddings": context,
        "tie_word_embeddings": False,
        "depth_decoder_config": _depth(config, width, scale, (texts, codes, books), repeat, gate),
        **_kept(config, 1 + streams),
    }
    config.finish()
    return values


def _depth(
    config: KyutaiConfig, input_width: int, scale: float, counts: tuple[int, int, int], repeat: int, gate: str
) -> dict[str, Any]:
    texts, codes, books = counts
    width = config.number("depformer_dim", 256)
    hidden = config.take("depformer_dim_feedforward", None)
    hidden = int(scale * width) if hidden is None else hidden
    if type(hidden) is not int or hidden < 2:
        raise config.error("depformer_dim_feedforward", hidden, "one size for all codebooks")
    heads = config.number("depformer_num_heads")
    return {
        "model_type": DEPTH_TYPE,
        "vocab_size": texts,
        "audio_vocab_size": codes,
        "num_codebooks": books,
        "input_size": input_width,
        "num_hidden_layers": config.number("depformer_num_layers"),
        **_sizes(config, "depformer_dim", width, heads, config.number("depformer_kv_repeat", repeat)),
        "ffn_dim": 2 * gated_width(width, hidden),
        "hidden_act": _gate(config, "depformer_gating", gate),
        "rms_norm_eps": _EPSILON,
        "sliding_window": books,
        "max_position_embeddings": books + 1,
        "tie_word_embeddings": False,
    }


def _sizes(config: KyutaiConfig, key: str, width: int, heads: int, repeat: int) -> dict[str, int]:
    if width % heads or heads % repeat or (width // heads) % 2:
        raise config.error(key, width, f"an even number of channels for each of {heads} heads in groups of {repeat}")
    return {
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // repeat,
        "head_dim": width // heads,
    }


def _gate(config: KyutaiConfig, key: str, default: str) -> str:
    gate = config.take(key, default)
    if gate not in _GATES:
        raise config.error(key, gate, f"one of {_GATES}")
    return str(gate)


def _kept(config: KyutaiConfig, streams: int) -> dict[str, Any]:
    delays = config.numbers("delays", [0], least=0)
    if len(delays) != streams or delays[0] != 0:
        raise config.error("delays", delays, f"{streams} delays, of which the text's is 0")
    padding = config.number("existing_text_padding_id", 3, least=0)
    return dict(zip(KEPT, (delays, padding, config.number("existing_text_end_padding_id", 0, least=0)), strict=True))


def gated_width(width: int, feedforward: int) -> int:
    """Channels behind the gate for the size that kyutai's configuration states: two thirds, or 21 / 8 for 4 / 1."""
    return 21 * width // 8 if feedforward == 4 * width else 2 * feedforward // 3


def kyutai_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of kyutai's ``config.json`` for a Moshi of the documents' layout: the way back.

    Args:
        values: of its configuration, every field with a value.

    Raises:
        ParamError: a model that kyutai's package has no form for, by name.
    """
    depth, books = values["depth_decoder_config"], values["num_codebooks"]
    _check(values, depth)
    width, feedforward = values["hidden_size"], _feedforward(values)
    main_repeat, depth_repeat = (v["num_attention_heads"] // v["num_key_value_heads"] for v in (values, depth))
    return {
        **LEGACY,
        "dim": width,
        "text_card": values["vocab_size"],
        "n_q": 2 * books,
        "dep_q": books,
        "card": values["audio_vocab_size"],
        "num_heads": values["num_attention_heads"],
        "num_layers": values["num_hidden_layers"],
        "hidden_scale": _scale(feedforward, width),
        "context": values["sliding_window"],
        "max_period": _theta(values),
        "gating": values["hidden_act"],
        "depformer_dim": depth["hidden_size"],
        "depformer_dim_feedforward": _feedforward(depth),
        "depformer_num_heads": depth["num_attention_heads"],
        "depformer_num_layers": depth["num_hidden_layers"],
        "depformer_context": books,
        "depformer_gating": depth["hidden_act"],
        "delays": [0, *([0] + [1] * (books - 1)) * 2],
        **({"kv_repeat": main_repeat, "depformer_kv_repeat": depth_repeat} if main_repeat * depth_repeat > 1 else {}),
        **{key: values[key] for key in KEPT if values.get(key) is not None},
    }


def _check(values: Mapping[str, Any], depth: Mapping[str, Any]) -> None:
    for part, what in ((values, "the main decoder"), (depth, "the depth decoder")):
        heads, channels, width = part["num_attention_heads"], part["head_dim"], part["hidden_size"]
        if heads * channels != width:
            raise ParamError(f"{what} has {heads} heads of {channels} channels", expected=f"{width} channels together")
        if part["hidden_act"] not in _GATES:
            raise ParamError(f"{what} has hidden_act={part['hidden_act']!r}", expected=f"one of {_GATES}")
        if part["rms_norm_eps"] != _EPSILON:
            raise ParamError(f"{what} has rms_norm_eps={part['rms_norm_eps']!r}", expected=f"{_EPSILON}")
    if values.get("tie_word_embeddings"):
        raise ParamError("tie_word_embeddings=True", expected="False: kyutai's package has no tied embeddings")


def _theta(values: Mapping[str, Any]) -> float:
    stated = (values.get("rope_parameters") or {}).get("rope_theta", values.get("rope_theta", 10000.0))
    return int(stated) if float(stated).is_integer() else float(stated)


def _feedforward(values: Mapping[str, Any]) -> int:
    width, hidden = values["hidden_size"], values["ffn_dim"] // 2
    for feedforward in (4 * width, (3 * hidden + 1) // 2, (3 * hidden + 1) // 2 + 1):
        if gated_width(width, feedforward) == hidden:
            return int(feedforward)
    raise ParamError(f"ffn_dim={values['ffn_dim']} beside hidden_size={width}", expected="a width that a gate can have")


def _scale(feedforward: int, width: int) -> float:
    """The factor whose product with the width is cut to ``feedforward``."""
    scale = feedforward / width
    return scale if int(scale * width) == feedforward else math.nextafter(scale, math.inf)
