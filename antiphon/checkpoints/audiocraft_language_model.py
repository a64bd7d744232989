"""The configuration of a language model and its conditions, as audiocraft's ``xp.cfg`` and as the documents have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antiphon.checkpoints.text_encoders import KNOWN
from antiphon.checkpoints.xp_config import XpConfig
from antiphon.errors import ConfigError

MUSICGEN, MELODY = "musicgen", "musicgen_melody"

# value that can be computed, value of audiocraft where the key is absent
_LM: dict[str, tuple[Any, Any]] = {
    "norm_first": (True, False),
    "norm": ("layer_norm", "layer_norm"),
    "bias_ff": (False, True),
    "bias_attn": (False, True),
    "bias_proj": (False, True),
    "causal": (True, False),
    "past_context": (None, None),
    "layer_scale": (None, None),
    "positional_embedding": ("sin", "sin"),
    "max_period": (10_000, 10_000),
    "positional_scale": (1, 1),
    "xpos": (False, False),
    "qk_layer_norm": (False, False),
    "qk_layer_norm_cross": (False, False),
    "kv_repeat": (1, 1),
}
_LM_READ = (
    *("dim", "num_heads", "num_layers", "hidden_scale", "n_q", "card", "activation"),
    *("dropout", "attention_dropout", "cross_attention", "q_modeling"),
)
# how it was trained, and how its attention is computed
_LM_WITHOUT_EFFECT = (
    *("emb_lr", "lr", "weight_decay", "checkpointing", "weight_init", "depthwise_init", "zero_bias_init"),
    *("custom", "memory_efficient", "attention_as_float32", "two_step_cfg"),
)
ACTIVATIONS = ("gelu", "relu")
_PATTERN: dict[str, tuple[Any, Any]] = {"flatten_first": (0, 0), "empty_initial": (0, 0)}
_FUSER: dict[str, tuple[Any, Any]] = {
    "sum": ([], []),
    "input_interpolate": ([], []),
    "cross_attention_pos_emb": (False, False),
}
_TEXT: dict[str, tuple[Any, Any]] = {"normalize_text": (False, False)}
_CHROMA: dict[str, tuple[Any, Any]] = {"argmax": (True, False), "nfft": (None, None), "winlen": (None, None)}
_CHROMA_READ = (
    *("sample_rate", "n_chroma", "radix2_exp", "winhop", "norm"),
    *("match_len_on_eval", "eval_wavs", "n_eval_wavs", "cache_path"),
)
_CONDITIONERS = "conditioners"
_SEGMENT_S = 30.0


@dataclass(frozen=True)
class LanguageModelValues:
    """What an ``xp.cfg`` says of a language model.

    Attributes:
        model_type: ``musicgen`` (text by cross-attention) or ``musicgen_melody`` (a prefix of melody and text).
        decoder: the documents' section. text_encoder: the name of the T5. guidance_scale, segment_s: of generation.
        codec: the name of the codec it was trained with, as far as it is told. used_codebooks: of the codec, a channel.
        chroma: the documents' settings of the melody's features; empty without.
    """

    model_type: str
    decoder: dict[str, Any]
    text_encoder: str
    guidance_scale: float
    segment_s: float
    codec: str | None
    used_codebooks: int
    chroma: dict[str, Any]


def language_model_values(xp: XpConfig) -> LanguageModelValues:
    """What ``xp`` says of the language model.

    Raises:
        ConfigError: a value that the mathematics here does not have, by name.
    """
    if xp.get("lm_model", "transformer_lm") != "transformer_lm":
        raise xp.error("lm_model", "'transformer_lm'", fix="Only MusicGen and MusicGen Melody can be read")
    xp.check("transformer_lm", _LM, [*_LM_READ, *_LM_WITHOUT_EFFECT])
    model_type = _fused(xp)
    channels = _channels(xp)
    books = xp.number("transformer_lm.n_q")
    _check_pattern(xp, books, channels)
    segment_s = xp.number("dataset.segment_duration", _SEGMENT_S, kind=float)
    if not 0 < segment_s < 3600:
        raise xp.error("dataset.segment_duration", "seconds, above 0 and below an hour")
    return LanguageModelValues(
        model_type,
        _decoder(xp, model_type, books, channels),
        _text_encoder(xp),
        xp.number("classifier_free_guidance.inference_coef", 3.0, kind=float),
        segment_s,
        _codec_name(xp),
        books // channels,
        _chroma(xp, segment_s) if model_type == MELODY else {},
    )


def xp_of_language_model(
    config: Mapping[str, Any], features: Mapping[str, Any], *, text_encoder: str, guidance: float, segment_s: float
) -> dict[str, Any]:
    """A configuration from which audiocraft builds the language model of a composite.

    Args:
        config: the documents' values of the composite. features: the settings of its feature extractor.
        text_encoder: audiocraft's name of its T5. guidance: the scale. segment_s: seconds of a window.
    """
    decoder, melody = config["decoder"], config["model_type"] == MELODY
    channels, books = decoder["audio_channels"], decoder["num_codebooks"]
    rate_hz = config["audio_encoder"]["sampling_rate"]
    t5 = {"name": text_encoder, "finetune": False, "word_dropout": 0.0, "normalize_text": False}
    conditioners: dict[str, Any] = {"description": {"model": "t5", "t5": t5}}
    if melody:
        conditioners["self_wav"] = {"model": "chroma_stem", "chroma_stem": _chroma_stem(config, features)}
    return {
        "device": "cpu",
        "dtype": "float32",
        "solver": "musicgen",
        "sample_rate": rate_hz,
        "channels": channels,
        "compression_model_checkpoint": None,
        "compression_model_n_q": books // channels,
        "interleave_stereo_codebooks": {"use": channels == 2, "per_timestep": False},
        "dataset": {"segment_duration": segment_s},
        "classifier_free_guidance": {"training_dropout": 0.0, "inference_coef": guidance},
        "attribute_dropout": {},
        "fuser": _wanted(_FUSER)
        | {
            "cross_attention_pos_emb_scale": 1,
            "prepend": ["self_wav", "description"] if melody else [],
            "cross": [] if melody else ["description"],
        },
        "conditioners": conditioners,
        "lm_model": "transformer_lm",
        "codebooks_pattern": {"modeling": "delay", "delay": {"delays": _delays(books, channels)} | _wanted(_PATTERN)},
        "transformer_lm": _transformer_lm(decoder),
    }


def _transformer_lm(decoder: Mapping[str, Any]) -> dict[str, Any]:
    width, hidden = decoder["hidden_size"], decoder["ffn_dim"]
    return _wanted(_LM) | {
        "dim": width,
        "num_heads": decoder["num_attention_heads"],
        "num_layers": decoder["num_hidden_layers"],
        "hidden_scale": hidden // width if hidden % width == 0 else hidden / width,
        "n_q": decoder["num_codebooks"],
        "card": decoder["vocab_size"],
        "activation": decoder["activation_function"],
        "dropout": decoder["dropout"],
        "attention_dropout": decoder["attention_dropout"],
        "custom": False,
        "memory_efficient": True,
    }


def _chroma_stem(config: Mapping[str, Any], features: Mapping[str, Any]) -> dict[str, Any]:
    window, hop = features["n_fft"], features["hop_length"]
    return {
        "sample_rate": features["sampling_rate"],
        "n_chroma": config["num_chroma"],
        "radix2_exp": window.bit_length() - 1,
        "argmax": True,
        "match_len_on_eval": True,
        "eval_wavs": None,
        "n_eval_wavs": 0,
        "cache_path": None,
    } | ({} if hop == window // 4 else {"winhop": hop})


def _wanted(table: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    return {key: wanted for key, (wanted, _) in table.items()}


def _fused(xp: XpConfig) -> str:
    """The family, by how the conditions enter."""
    xp.check("fuser", _FUSER, ["prepend", "cross", "cross_attention_pos_emb_scale"])
    cross, prepend = xp.get("fuser.cross", []), xp.get("fuser.prepend", [])
    conditioners = xp.section(_CONDITIONERS).keys() - {"args"}
    if cross == ["description"] and prepend == [] and conditioners == {"description"}:
        return MUSICGEN
    if cross == [] and sorted(prepend) == ["description", "self_wav"] and conditioners == set(prepend):
        if xp.get("transformer_lm.cross_attention", False):
            raise xp.error("transformer_lm.cross_attention", "false, as no condition enters by it")
        return MELODY
    raise ConfigError(
        f"{xp.source}: xp.cfg has fuser.cross={cross!r}, fuser.prepend={prepend!r} and the conditioners "
        f"{sorted(conditioners)}",
        expected="cross=['description'] (MusicGen) or prepend=['self_wav', 'description'] (MusicGen Melody)",
    )


def _channels(xp: XpConfig) -> int:
    stereo = xp.get("interleave_stereo_codebooks.use", False)
    if stereo and xp.get("interleave_stereo_codebooks.per_timestep", False):
        raise xp.error("interleave_stereo_codebooks.per_timestep", "false: the channels' codebooks in turn")
    if xp.number("channels", 1) not in ((2,) if stereo else (1,)):
        raise xp.error("channels", "2 with interleave_stereo_codebooks.use, else 1")
    return 2 if stereo else 1


def _delays(books: int, channels: int) -> list[int]:
    return [book // channels for book in range(books)]


def _check_pattern(xp: XpConfig, books: int, channels: int) -> None:
    modeling = xp.get("codebooks_pattern.modeling", None) or xp.get("transformer_lm.q_modeling", None)
    if modeling != "delay":
        raise xp.error("codebooks_pattern.modeling", "'delay'")
    xp.check("codebooks_pattern.delay", _PATTERN, ["delays"])
    if (
        books < 1
        or books % channels
        or xp.get("codebooks_pattern.delay.delays", list(range(books))) != _delays(books, channels)
    ):
        raise xp.error("codebooks_pattern.delay.delays", f"{_delays(books, channels)} for {books} codebooks")


def _decoder(xp: XpConfig, model_type: str, books: int, channels: int) -> dict[str, Any]:
    width, codes = xp.number("transformer_lm.dim"), xp.number("transformer_lm.card", 1024)
    activation = xp.get("transformer_lm.activation", "relu")
    if activation not in ACTIVATIONS:
        raise xp.error("transformer_lm.activation", f"one of {ACTIVATIONS}")
    dropout = xp.number("transformer_lm.dropout", 0.1, kind=float)
    of_attention = xp.get("transformer_lm.attention_dropout", None)
    return {
        "model_type": f"{model_type}_decoder",
        "vocab_size": codes,
        "hidden_size": width,
        "num_hidden_layers": xp.number("transformer_lm.num_layers"),
        "num_attention_heads": xp.number("transformer_lm.num_heads"),
        "ffn_dim": int(xp.number("transformer_lm.hidden_scale", 4, kind=float) * width),
        "activation_function": activation,
        "dropout": dropout,
        "attention_dropout": dropout if of_attention is None else of_attention,
        "activation_dropout": dropout,
        "num_codebooks": books,
        "audio_channels": channels,
        "pad_token_id": codes,
        "bos_token_id": codes,
    }


def _text_encoder(xp: XpConfig) -> str:
    if xp.get(f"{_CONDITIONERS}.description.model") != "t5":
        raise xp.error(f"{_CONDITIONERS}.description.model", "'t5'")
    section = f"{_CONDITIONERS}.description.t5"
    xp.check(section, _TEXT, ["name", "finetune", "word_dropout", "autocast_dtype"])
    name = xp.get(f"{section}.name")
    if name not in KNOWN:
        raise xp.error(f"{section}.name", f"one of {', '.join(KNOWN)}")
    return str(name)


def _codec_name(xp: XpConfig) -> str | None:
    """The repository in ``//pretrained/facebook/encodec_32khz``; ``None`` for codecs of one's own runs."""
    stated = xp.get("compression_model_checkpoint", None)
    prefix = "//pretrained/"
    return stated.removeprefix(prefix) if isinstance(stated, str) and stated.startswith(prefix) else None


def _chroma(xp: XpConfig, segment_s: float) -> dict[str, Any]:
    if xp.get(f"{_CONDITIONERS}.self_wav.model") != "chroma_stem":
        raise xp.error(f"{_CONDITIONERS}.self_wav.model", "'chroma_stem'")
    section = f"{_CONDITIONERS}.self_wav.chroma_stem"
    xp.check(section, _CHROMA, _CHROMA_READ)
    exponent = xp.number(f"{section}.radix2_exp", 12)
    if not 2 <= exponent <= 24:
        raise xp.error(f"{section}.radix2_exp", "2 to 24")
    window = 2**exponent
    stated = xp.get(f"{section}.winhop", None)
    hop = window // 4 if stated is None else xp.number(f"{section}.winhop")
    if hop < 1:
        raise xp.error(f"{section}.winhop", "at least 1")
    rate_hz = xp.number(f"{section}.sample_rate")
    return {
        "feature_size": xp.number(f"{section}.n_chroma", 12),
        "num_chroma": xp.number(f"{section}.n_chroma", 12),
        "sampling_rate": rate_hz,
        "n_fft": window,
        "hop_length": hop,
        "chunk_length": segment_s if segment_s % 1 else int(segment_s),
        "chroma_length": int(rate_hz * segment_s) // hop + 1,
    }
