"""The configuration of a codec, as audiocraft's ``xp.cfg`` has it and as the documents do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from antiphon.checkpoints.audiocraft_names import codec_table
from antiphon.checkpoints.keys import KeyTable
from antiphon.checkpoints.xp_config import XpConfig
from antiphon.errors import ConfigError, ParamError

MODEL_TYPE = "encodec"

# seanet's key and the documents'; the ones both directions translate as they are
_SIZES = {
    "channels": "audio_channels",
    "dimension": "hidden_size",
    "n_filters": "num_filters",
    "n_residual_layers": "num_residual_layers",
    "kernel_size": "kernel_size",
    "last_kernel_size": "last_kernel_size",
    "residual_kernel_size": "residual_kernel_size",
    "dilation_base": "dilation_growth_rate",
    "compress": "compress",
    "lstm": "num_lstm_layers",
}
_ABSENT_SIZES = {"channels": 1, "dimension": 128, "n_filters": 32, "n_residual_layers": 3, "kernel_size": 7}
_ABSENT_SIZES |= {"last_kernel_size": 7, "residual_kernel_size": 3, "dilation_base": 2, "compress": 2, "lstm": 0}

# value that can be computed, value of audiocraft where the key is absent
_SEANET: dict[str, tuple[Any, Any]] = {
    "activation": ("ELU", "ELU"),
    "activation_params": ({"alpha": 1.0}, {"alpha": 1.0}),
    "norm_params": ({}, {}),
    "disable_norm_outer_blocks": (0, 0),
    "encoder": ({}, {}),
}
_SEANET_READ = (*_SIZES, "ratios", "norm", "pad_mode", "true_skip", "causal", "decoder")
_SEANET_DECODER: dict[str, tuple[Any, Any]] = {
    "final_activation": (None, None),
    "final_activation_params": (None, None),
}
_ENCODEC: dict[str, tuple[Any, Any]] = {"autoencoder": ("seanet", None), "quantizer": ("rvq", None)}
_ENCODEC_READ = ("sample_rate", "channels", "causal", "renormalize", "renorm")
_RVQ_READ = (
    *("n_q", "bins", "q_dropout", "decay", "kmeans_init", "kmeans_iters", "threshold_ema_dead_code"),
    *("orthogonal_reg_weight", "orthogonal_reg_active_codes_only", "orthogonal_reg_max_codes"),
)


def codec_values(xp: XpConfig, used_codebooks: int | None = None) -> dict[str, Any]:
    """The documents' configuration of the codec that ``xp`` describes.

    Args:
        xp: from the codec's file. used_codebooks: how many the language model uses, if it is not all of them.

    Raises:
        ConfigError: a value that no codec here has, by name.
    """
    if xp.get("compression_model", MODEL_TYPE) != MODEL_TYPE:
        raise xp.error("compression_model", repr(MODEL_TYPE))
    xp.check("encodec", _ENCODEC, _ENCODEC_READ)
    xp.check("seanet", _SEANET, _SEANET_READ)
    xp.check("seanet.decoder", _SEANET_DECODER, ["trim_right_ratio"])
    xp.check("rvq", {}, _RVQ_READ)
    sizes = {ours: xp.number(f"seanet.{theirs}", _ABSENT_SIZES[theirs]) for theirs, ours in _SIZES.items()}
    ratios = xp.get("seanet.ratios", [8, 5, 4, 2])
    if not isinstance(ratios, list) or not all(type(ratio) is int and ratio > 0 for ratio in ratios):
        raise xp.error("seanet.ratios", "a list of positive integers")
    causal = bool(xp.get("seanet.causal", False))
    if causal != bool(xp.get("encodec.causal", False)):
        raise xp.error("seanet.causal", f"encodec.causal={xp.get('encodec.causal', False)}, the same")
    rate_hz, books, bins = xp.number("encodec.sample_rate"), xp.number("rvq.n_q", 8), xp.number("rvq.bins", 1024)
    if books < 1 or bins < 1 or rate_hz < 1:
        raise xp.error("rvq", "at least one codebook with one code, and a rate")
    used = books if used_codebooks is None else used_codebooks
    if not 1 <= used <= books:
        raise ConfigError(f"{xp.source}: {used} codebooks are used of a codec with rvq.n_q={books}")
    return sizes | {
        "model_type": MODEL_TYPE,
        "upsampling_ratios": ratios,
        "norm_type": xp.get("seanet.norm", "none"),
        "pad_mode": xp.get("seanet.pad_mode", "reflect"),
        "use_conv_shortcut": not xp.get("seanet.true_skip", True),
        "use_causal_conv": causal,
        "trim_right_ratio": xp.number("seanet.decoder.trim_right_ratio", 1.0, kind=float),
        "sampling_rate": rate_hz,
        "normalize": bool(xp.get("encodec.renormalize", False)),
        "codebook_size": bins,
        "codebook_dim": sizes["hidden_size"],
        "target_bandwidths": [_bandwidth(n, rate_hz, ratios, bins) for n in sorted({used, books})],
    }


def xp_of_codec(values: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration from which audiocraft builds the codec that the documents' ``values`` describe.

    Raises:
        ParamError: a codec that audiocraft's own classes do not make, such as one of segments.
    """
    if values.get("chunk_length_s") is not None:
        raise ParamError("a codec that works in segments", expected="one that audiocraft has, which takes sounds whole")
    rate_hz, ratios = values["sampling_rate"], values["upsampling_ratios"]
    bits = math.log2(values["codebook_size"]) * math.ceil(rate_hz / math.prod(ratios))
    return {
        "device": "cpu",
        "dtype": "float32",
        "solver": "compression",
        "sample_rate": rate_hz,
        "channels": values["audio_channels"],
        "compression_model": MODEL_TYPE,
        "encodec": {
            "autoencoder": "seanet",
            "quantizer": "rvq",
            "sample_rate": rate_hz,
            "channels": values["audio_channels"],
            "causal": bool(values["use_causal_conv"]),
            "renormalize": bool(values["normalize"]),
        },
        "seanet": _seanet(values),
        "rvq": {
            "n_q": int(1000 * values["target_bandwidths"][-1] // bits),
            "q_dropout": False,
            "bins": values["codebook_size"],
            "decay": 0.99,
            "kmeans_init": True,
            "kmeans_iters": 50,
            "threshold_ema_dead_code": 2,
            "orthogonal_reg_weight": 0.0,
            "orthogonal_reg_active_codes_only": False,
        },
    }


def _seanet(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{theirs: values[ours] for theirs, ours in _SIZES.items()},
        **{key: wanted for key, (wanted, _) in _SEANET.items()},
        "ratios": list(values["upsampling_ratios"]),
        "norm": values["norm_type"],
        "pad_mode": values["pad_mode"],
        "true_skip": not values["use_conv_shortcut"],
        "causal": bool(values["use_causal_conv"]),
        "decoder": {
            "trim_right_ratio": values["trim_right_ratio"],
            "final_activation": None,
            "final_activation_params": None,
        },
    }


def table_of(values: Mapping[str, Any]) -> KeyTable:
    """The names of the tensors of the codec that the documents' ``values`` describe."""
    return codec_table(len(values["upsampling_ratios"]), values["num_residual_layers"], bool(values["num_lstm_layers"]))


def _bandwidth(codebooks: int, rate_hz: int, ratios: list[int], bins: int) -> float:
    """kbit/s of so many codebooks; a hair more where rounding would make it one codebook less."""
    bits = math.log2(bins) * math.ceil(rate_hz / math.prod(ratios))
    exact = codebooks * bits / 1000
    return exact if 1000 * exact // bits == codebooks else math.nextafter(exact, math.inf)
