"""How weights are rounded: what a call asks for by its several spellings, and what a checkpoint says of itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from antiphon.errors import CheckpointError, ConfigError, ParamError, unknown_argument
from antiphon.nn.rounding import GROUP_SIZE, check_grid

log = logging.getLogger(__name__)

METHOD = "antiphon"
KINDS = {"int8": 8, "int4": 4}
HEAD_BITS = 8  # heads are small, and what they lose no later layer makes good

_OURS = ("quant_method", "bits", "group_size", "head_bits", "modules_to_not_convert")
_LOAD_IN = {"load_in_8bit": 8, "load_in_4bit": 4}
# What else a configuration for bitsandbytes holds, with the values that ask for nothing: how it computes, not what.
_FOREIGN: dict[str, Any] = {
    "llm_int8_threshold": 6.0,
    "llm_int8_enable_fp32_cpu_offload": False,
    "llm_int8_has_fp16_weight": False,
    "bnb_4bit_quant_type": "fp4",
    "bnb_4bit_use_double_quant": False,
    "bnb_4bit_compute_dtype": "float32",
    "bnb_4bit_quant_storage": "uint8",
}


@dataclass(frozen=True)
class Quantization:
    """How the linear layers of attention, of feed-forward parts and of heads are kept.

    Attributes:
        bits: 4 or 8, of the layers in attention and feed-forward parts; ``head_bits`` of the heads.
        group_size: inputs that share a scale; ``None`` where a call leaves it open.
        kept: names of layers, or segments of names, that stay floating point.
    """

    bits: int
    group_size: int | None = None
    head_bits: int = HEAD_BITS
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_grid(self.bits, self.inputs_a_scale)
        check_grid(self.head_bits, self.inputs_a_scale)

    @property
    def inputs_a_scale(self) -> int:
        """The group size, ``GROUP_SIZE`` where it was left open."""
        return GROUP_SIZE if self.group_size is None else self.group_size

    @property
    def kind(self) -> str:
        """As ``quantize`` spells it."""
        return f"int{self.bits}"

    def keeps(self, name: str) -> bool:
        """Whether the layer of that dotted name stays floating point."""
        return any(f".{kept}." in f".{name}." for kept in self.kept)

    def to_dict(self) -> dict[str, Any]:
        """What a checkpoint's ``config.json`` says under ``quantization_config``."""
        return {
            "quant_method": METHOD,
            "bits": self.bits,
            "group_size": self.inputs_a_scale,
            "head_bits": self.head_bits,
        }


def asked(
    *, quantize: Any = None, load_in_8bit: Any = False, load_in_4bit: Any = False, quantization_config: Any = None
) -> Quantization | None:
    """What the spellings of a call come to; ``None`` where none of them asks for rounding.

    Args:
        quantize: ``"int8"`` or ``"int4"``. load_in_8bit, load_in_4bit: the same as switches.
        quantization_config: a ``Quantization``; a mapping, or an object with ``to_dict``, that holds either ``bits``
            and ``group_size``, or what is known from configurations for bitsandbytes: ``load_in_8bit``,
            ``load_in_4bit`` and ``llm_int8_skip_modules``. How bitsandbytes itself would round has no counterpart,
            which is logged.

    Raises:
        ParamError: an unknown value or method, or spellings that contradict each other.
    """
    if quantize is not None and (not isinstance(quantize, str) or quantize not in KINDS):
        raise ParamError(f"quantize={quantize!r}", expected=f"one of {list(KINDS)}")
    given = {"load_in_8bit": load_in_8bit, "load_in_4bit": load_in_4bit}
    stated = {f"{name}=True": _LOAD_IN[name] for name, on in given.items() if _switch(name, on)}
    if quantize is not None:
        stated[f"quantize={quantize!r}"] = KINDS[quantize]
    config = None if quantization_config is None else _from_config(quantization_config)
    if config is not None:
        stated[f"a quantization_config of {config.bits} bits"] = config.bits
    if len(set(stated.values())) > 1:
        raise ParamError(f"{' and '.join(stated)} were given", expected="one of them")
    if config is None and stated:
        return Quantization(next(iter(stated.values())))
    return config


def stated_in(values: Mapping[str, Any], where: str) -> Quantization | None:
    """What a checkpoint's configuration says of its weights; ``None`` where they are not rounded.

    Raises:
        CheckpointError: they are rounded by another program. ConfigError: what it says makes no sense.
    """
    stated = values.get("quantization_config")
    if stated is None:
        return None
    if not isinstance(stated, Mapping):
        raise ConfigError(f"{where}: quantization_config={stated!r}", expected="an object")
    method = stated.get("quant_method")
    if method != METHOD:
        raise CheckpointError(
            f"the weights in {where} were quantised by {method!r}",
            expected=f"floating point weights, or such as {METHOD} writes",
            fix="Load the checkpoint that these were made from, with quantize='int8' or 'int4'",
        )
    try:
        return _ours(stated)
    except ParamError as error:
        raise ConfigError(f"{where}: quantization_config has {error.what}", expected=error.expected) from error


def settled(wanted: Quantization | None, stated: Quantization | None, where: str) -> Quantization | None:
    """What holds for a checkpoint that says ``stated`` and a call that asks for ``wanted``.

    Raises:
        ParamError: the weights are rounded already, and otherwise than the call asks for.
    """
    if wanted is None or stated is None:
        return stated or wanted
    same_groups = wanted.group_size in (None, stated.group_size)
    if wanted.bits != stated.bits or not same_groups or wanted.kept:
        raise ParamError(
            f"{_in_words(wanted)} asked of weights in {where} that are rounded already, to {_in_words(stated)}",
            fix="Load the checkpoint that these were made from, or leave the request out",
        )
    return stated


def _in_words(plan: Quantization) -> str:
    groups = "" if plan.group_size is None else f" in groups of {plan.group_size}"
    return f"{plan.bits} bits{groups}" + (f" without {', '.join(plan.kept)}" if plan.kept else "")


def _switch(name: str, value: Any) -> bool:
    if value is not None and not isinstance(value, bool):
        raise ParamError(f"{name}={value!r}", expected="True or False")
    return bool(value)


def _from_config(config: Any) -> Quantization | None:
    if isinstance(config, Quantization):
        return config
    values = config.to_dict() if hasattr(config, "to_dict") else config
    if not isinstance(values, Mapping):
        raise ParamError(f"quantization_config={config!r}", expected="a mapping, or an object with to_dict")
    method = values.get("quant_method")
    method = getattr(method, "value", method)  # an enum in what transformers' scripts pass
    if method not in (None, METHOD, "bitsandbytes"):
        raise ParamError(
            f"quantization_config with quant_method={method!r}",
            expected=f"{METHOD!r} or 'bitsandbytes', which both come to weights in 8 or 4 bits",
            fix="Use quantize='int8' or quantize='int4'",
        )
    ours = method == METHOD or (method is None and "bits" in values)
    return _ours(values) if ours else _bitsandbytes(values)


def _ours(values: Mapping[str, Any]) -> Quantization:
    for name in values:
        if name not in _OURS:
            raise ParamError(f"an unknown field {name!r}", expected=f"one of {list(_OURS)}")
    kept = _names(values.get("modules_to_not_convert"), "modules_to_not_convert")
    bits, group_size = values.get("bits"), values.get("group_size")
    check_grid(bits, GROUP_SIZE if group_size is None else group_size)  # type: ignore[arg-type]
    return Quantization(bits, group_size, values.get("head_bits", HEAD_BITS), kept)  # type: ignore[arg-type]


def _bitsandbytes(values: Mapping[str, Any]) -> Quantization | None:
    known = [*_LOAD_IN, *_FOREIGN, "llm_int8_skip_modules", "quant_method"]
    for name in values:
        if name not in known and not str(name).startswith("_"):
            raise unknown_argument(str(name), known, where="quantization_config")
    chosen = [bits for name, bits in _LOAD_IN.items() if _switch(name, values.get(name, False))]
    if len(chosen) > 1:
        raise ParamError("load_in_8bit and load_in_4bit were both given", expected="one of them")
    without = [
        f"{name}={values[name]}"
        for name, default in _FOREIGN.items()
        if name in values and str(values[name]).removeprefix("torch.") != str(default)
    ]
    if without and chosen:
        log.warning("without counterpart here: %s. Weights become integers with a scale a group", ", ".join(without))
    kept = _names(values.get("llm_int8_skip_modules"), "llm_int8_skip_modules")
    return Quantization(chosen[0], kept=kept) if chosen else None


def _names(value: Any, field: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) and name for name in value):
        raise ParamError(f"{field}={value!r}", expected="a list of names")
    return tuple(value)
