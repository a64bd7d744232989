"""The configuration of a Mimi, as kyutai's package has it and as the documents do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from antiphon.checkpoints.kyutai_config import KyutaiConfig
from antiphon.errors import ParamError

MODEL_TYPE = "mimi"
_DOWNSAMPLING = 2  # of the latents, in the documents' layout

# seanet's key and the documents'; the ones both directions translate as they are
_SEANET = {
    "dimension": "hidden_size",
    "n_filters": "num_filters",
    "n_residual_layers": "num_residual_layers",
    "kernel_size": "kernel_size",
    "last_kernel_size": "last_kernel_size",
    "residual_kernel_size": "residual_kernel_size",
    "dilation_base": "dilation_growth_rate",
    "compress": "compress",
}
_TRANSFORMER = {
    "num_heads": "num_attention_heads",
    "num_layers": "num_hidden_layers",
    "context": "sliding_window",
    "dim_feedforward": "intermediate_size",
}

# value that can be computed, value of the package where the key is absent
_SUPPORTED_SEANET: dict[str, tuple[Any, Any]] = {
    "causal": (True, False),
    "activation": ("ELU", "ELU"),
    "activation_params": ({"alpha": 1.0}, {"alpha": 1.0}),
    "norm_params": ({}, {}),
    "disable_norm_outer_blocks": (0, 0),
    "pad_mode": ("constant", "reflect"),
}
_SUPPORTED_TRANSFORMER: dict[str, tuple[Any, Any]] = {
    "causal": (True, False),
    "conv_layout": (True, False),
    "gating": ("none", "none"),
    "norm": ("layer_norm", "layer_norm"),
    "positional_embedding": ("rope", "sin"),
}

# Where nothing else is said, the codec is this one.
PUBLISHED: dict[str, Any] = {
    "sample_rate": 24000,
    "channels": 1,
    "frame_rate": 12.5,
    "seanet": {
        **{"channels": 1, "dimension": 512, "causal": True, "n_filters": 64, "n_residual_layers": 1},
        **{"activation": "ELU", "compress": 2, "dilation_base": 2, "disable_norm_outer_blocks": 0},
        **{"kernel_size": 7, "residual_kernel_size": 3, "last_kernel_size": 3, "norm": "none"},
        **{"pad_mode": "constant", "ratios": [8, 6, 5, 4], "true_skip": True},
    },
    "quantizer": {"dimension": 256, "n_q": 32, "bins": 2048, "input_dimension": 512, "output_dimension": 512},
    "transformer": {
        **{"d_model": 512, "num_heads": 8, "num_layers": 8, "causal": True, "layer_scale": 0.01, "context": 250},
        **{"conv_layout": True, "max_period": 10000, "gating": "none", "norm": "layer_norm"},
        **{"positional_embedding": "rope", "dim_feedforward": 2048, "input_dimension": 512},
        "output_dimensions": [512],
    },
}


def codec_values(config: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """The documents' configuration of the Mimi that kyutai's values describe.

    Args:
        config: ``sample_rate``, ``channels``, ``frame_rate``, and the sections of its parts. source: for errors.

    Raises:
        ConfigError: a value that no Mimi here has, by name.
    """
    whole = KyutaiConfig(config, source)
    sections = {}
    for name in ("seanet", "quantizer", "transformer"):
        section = whole.take(name)
        if not isinstance(section, Mapping):
            raise whole.error(name, section, "an object with the sizes of that part")
        sections[name] = KyutaiConfig(section, source, name)
    rate_hz, channels = whole.number("sample_rate"), whole.number("channels")
    seanet = _seanet(sections["seanet"], channels)
    width = seanet["hidden_size"]
    frame_hz = whole.number("frame_rate", kind=float, least=0)
    samples = math.prod(seanet["upsampling_ratios"]) * _DOWNSAMPLING
    if frame_hz * samples != rate_hz:
        raise whole.error("frame_rate", frame_hz, f"{rate_hz / samples}, as frames of {samples} samples make it")
    values = {
        "model_type": MODEL_TYPE,
        "sampling_rate": rate_hz,
        "audio_channels": channels,
        **seanet,
        **_transformer(sections["transformer"], width),
        **_quantizer(sections["quantizer"], width),
        "use_causal_conv": True,
        "trim_right_ratio": 1.0,
        "upsample_groups": width,
        "hidden_act": "gelu",
        "norm_eps": 1e-5,
        "attention_bias": False,
    }
    whole.finish()
    return values


def _seanet(config: KyutaiConfig, channels: int) -> dict[str, Any]:
    config.require({**_SUPPORTED_SEANET, "channels": (channels, 1)})
    config.drop(["norm"])  # which the names of the weights tell
    values: dict[str, Any] = {ours: config.number(theirs) for theirs, ours in _SEANET.items()}
    shortcut = config.take("true_skip", True)
    if not isinstance(shortcut, bool):
        raise config.error("true_skip", shortcut, "true or false")
    values |= {"upsampling_ratios": config.numbers("ratios"), "use_conv_shortcut": not shortcut}
    config.finish()
    return values | {"pad_mode": "constant"}


def _transformer(config: KyutaiConfig, width: int) -> dict[str, Any]:
    config.require({**_SUPPORTED_TRANSFORMER, "d_model": (width, None), "input_dimension": (width, None)})
    config.require({"output_dimensions": ([width], None)})
    values: dict[str, Any] = {ours: config.number(theirs) for theirs, ours in _TRANSFORMER.items()}
    heads, repeat = values["num_attention_heads"], config.number("kv_repeat", 1)
    if width % heads or heads % repeat or (width // heads) % 2:
        raise config.error("num_heads", heads, f"a divisor of {width} that leaves an even number of channels")
    values |= {"num_key_value_heads": heads // repeat, "head_dim": width // heads}
    values["rope_theta"] = config.number("max_period", 10000, kind=float)
    values["layer_scale_initial_scale"] = config.number("layer_scale", kind=float, least=0)
    config.finish()
    return values


def _quantizer(config: KyutaiConfig, width: int) -> dict[str, Any]:
    config.require({"input_dimension": (width, None), "output_dimension": (width, None)})
    config.drop(["q_dropout"])
    inner = config.number("dimension")
    values = {
        "codebook_size": config.number("bins"),
        "codebook_dim": inner,
        "vector_quantization_hidden_dimension": inner,
        "num_quantizers": config.number("n_q", 8),
        "num_semantic_quantizers": config.number("n_q_semantic", 1),
    }
    config.finish()
    return values


def kyutai_codec(values: Mapping[str, Any]) -> dict[str, Any]:
    """kyutai's configuration of a Mimi of the documents' layout: the way back.

    Args:
        values: of its configuration, every field with a value.

    Raises:
        ParamError: a codec that kyutai's package has no form for, by name.
    """
    width, heads = values["hidden_size"], values["num_attention_heads"]
    samples = math.prod(values["upsampling_ratios"]) * _DOWNSAMPLING
    _check(values, width)
    theta = (values.get("rope_parameters") or {}).get("rope_theta", values.get("rope_theta", 10000.0))
    repeat = heads // values["num_key_value_heads"]
    semantic = values["num_semantic_quantizers"]
    return {
        "sample_rate": values["sampling_rate"],
        "channels": values["audio_channels"],
        "frame_rate": values["sampling_rate"] / samples,
        "seanet": {
            **PUBLISHED["seanet"],
            **{theirs: values[ours] for theirs, ours in _SEANET.items()},
            "channels": values["audio_channels"],
            "ratios": list(values["upsampling_ratios"]),
            "true_skip": not values["use_conv_shortcut"],
        },
        "quantizer": {
            "dimension": values["codebook_dim"],
            "n_q": values["num_quantizers"],
            "bins": values["codebook_size"],
            "input_dimension": width,
            "output_dimension": width,
            **({} if semantic == 1 else {"n_q_semantic": semantic}),
        },
        "transformer": {
            **PUBLISHED["transformer"],
            **{theirs: values[ours] for theirs, ours in _TRANSFORMER.items()},
            **{"d_model": width, "input_dimension": width, "output_dimensions": [width]},
            "layer_scale": values["layer_scale_initial_scale"],
            "max_period": int(theta) if float(theta).is_integer() else float(theta),
            **({} if repeat == 1 else {"kv_repeat": repeat}),
        },
    }


def _check(values: Mapping[str, Any], width: int) -> None:
    wanted = {
        "use_causal_conv": True,
        "pad_mode": "constant",
        "trim_right_ratio": 1.0,
        "upsample_groups": width,
        "hidden_act": "gelu",
        "norm_eps": 1e-5,
        "attention_bias": False,
        "head_dim": width // values["num_attention_heads"],
        "vector_quantization_hidden_dimension": values["codebook_dim"],
    }
    for key, value in wanted.items():
        if values.get(key, value) != value:
            raise ParamError(f"a codec with {key}={values[key]!r}", expected=f"{value!r}, as kyutai's package has it")
