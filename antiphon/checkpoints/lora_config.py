"""What an adapter is: the configuration in PEFT's words, and which layers of a model it is for."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from antiphon.errors import AdapterError

_INITIALISATIONS = (True, False, "gaussian")
ALL_LINEAR = "all-linear"
_MOST_REPETITIONS = 4
_NEUTRAL: tuple[Any, ...] = (None, False, {}, [], "")
# what a file also says and what changes nothing here
_REMARKS = {"peft_type", "peft_version", "auto_mapping", "inference_mode", "megatron_core", "qalora_group_size"}


@dataclass(frozen=True)
class LoraConfig:
    """A low-rank adapter, in the fields that PEFT's ``LoraConfig`` has for it.

    Attributes:
        r: the rank. lora_alpha: the adapter counts ``lora_alpha / r``, or with ``use_rslora`` ``lora_alpha / sqrt(r)``.
        target_modules: ends of the documented names of linear layers, such as ``["q_proj", "v_proj"]``; or one pattern
            for whole names; or ``"all-linear"``.
        target_parameters: ends of the documented names of tensors that are a stack of linear layers' weights, such as
            ``["lm_heads.weight"]`` of Moshi's depth decoder; such an adapter has no dropout.
        exclude_modules: names or a pattern of layers that are left out all the same.
        lora_dropout: on the input of adapters, in training.
        modules_to_save: ends of names of modules that are trained whole: heads, embeddings, normalisations.
        rank_pattern, alpha_pattern: ``{pattern of names: rank or alpha}`` where a layer differs.
        layers_to_transform, layers_pattern: numbers of layers, and the name that stands before the number.
        init_lora_weights: how a new one begins: ``True`` and ``"gaussian"`` as no change, ``False`` at random.
        base_model_name_or_path, revision, task_type: what it was made for; kept for the file.

    Raises:
        AdapterError: values that make no adapter.
    """

    r: int = 8
    target_modules: Sequence[str] | str | None = None
    target_parameters: Sequence[str] | None = None
    lora_alpha: float = 8
    lora_dropout: float = 0.0
    modules_to_save: Sequence[str] | None = None
    use_rslora: bool = False
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    exclude_modules: Sequence[str] | str | None = None
    layers_to_transform: Sequence[int] | int | None = None
    layers_pattern: Sequence[str] | str | None = None
    init_lora_weights: bool | str = True
    bias: str = "none"
    fan_in_fan_out: bool = False
    base_model_name_or_path: str | None = None
    revision: str | None = None
    task_type: str | None = None

    def __post_init__(self) -> None:
        for name in ("target_modules", "target_parameters", "exclude_modules", "modules_to_save", "layers_pattern"):
            _check_names(name, getattr(self, name))
        for rank in (self.r, *self.rank_pattern.values()):
            if isinstance(rank, bool) or not isinstance(rank, numbers.Integral) or not rank >= 1:
                raise AdapterError(f"an adapter of rank {rank!r}", expected="an integer of 1 or more")
        for alpha in (self.lora_alpha, *self.alpha_pattern.values()):
            if not _is_number(alpha) or alpha == 0:
                raise AdapterError(
                    f"lora_alpha={alpha!r}", expected="a number other than 0, with which the adapter would do nothing"
                )
        if not _is_number(self.lora_dropout) or not 0 <= self.lora_dropout < 1:
            raise AdapterError(f"lora_dropout={self.lora_dropout!r}", expected="0 or more, less than 1")
        if self.init_lora_weights not in _INITIALISATIONS:
            raise AdapterError(f"init_lora_weights={self.init_lora_weights!r}", expected=f"one of {_INITIALISATIONS}")
        if self.bias != "none" or self.fan_in_fan_out:
            raise AdapterError(
                f"bias={self.bias!r}, fan_in_fan_out={self.fan_in_fan_out!r}",
                expected="bias='none' and fan_in_fan_out=False, the ones that there are here",
            )
        if not self.target_modules and not self.target_parameters:
            raise AdapterError("no target_modules", expected="names of linear layers, such as ['q_proj', 'v_proj']")
        if self.target_parameters and self.lora_dropout:
            raise AdapterError(
                f"lora_dropout={self.lora_dropout!r} with target_parameters",
                expected="0, as PEFT has it for stacks of weights",
                fix="Set lora_dropout=0, or leave target_parameters out",
            )
        for pattern in (*self.rank_pattern, *self.alpha_pattern):
            _check_pattern("rank_pattern or alpha_pattern", pattern)

    @classmethod
    def of(cls, given: LoraConfig | Mapping[str, Any] | Any, *, where: str = "the adapter") -> LoraConfig:
        """The configuration that is given, as one of these, as the content of ``adapter_config.json``, or as PEFT's.

        Raises:
            AdapterError: of another kind of adapter, or with an option that changes what is computed and is not known.
        """
        if isinstance(given, cls):
            return given
        values = given if isinstance(given, Mapping) else getattr(given, "to_dict", dict)()
        kind = values.get("peft_type", "LORA")
        kind = str(getattr(kind, "value", kind))
        if kind != "LORA":
            raise AdapterError(f"{where} is of the kind {kind}", expected="LORA")
        known = {f.name: values[f.name] for f in fields(cls) if f.name in values}
        strange = {k: v for k, v in values.items() if k not in known and k not in _REMARKS and v not in _NEUTRAL}
        if strange:
            listed = ", ".join(f"{name}={str(value)[:40]}" for name, value in strange.items())
            raise AdapterError(f"{where} asks for {listed}, which is not supported", expected="a plain LoRA")
        for name in ("target_modules", "target_parameters", "exclude_modules", "modules_to_save"):
            if isinstance(known.get(name), set | frozenset):
                known[name] = sorted(known[name])
        for name in ("rank_pattern", "alpha_pattern"):
            if not isinstance(known.get(name, {}) or {}, Mapping):
                raise AdapterError(f"{where}: {name}={known[name]!r}", expected="names and numbers")
            known[name] = dict(known.get(name) or {})
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """As ``adapter_config.json`` holds it."""
        values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}
        return {**values, "peft_type": "LORA", "inference_mode": True}

    def targets(self, name: str) -> bool:
        """Whether the layer of this documented name is adapted, if it is one that can be."""
        if self.exclude_modules and _is_named(self.exclude_modules, name):
            return False
        if self._is_saved(name):
            return False
        if self.target_modules == ALL_LINEAR:
            return True
        if isinstance(self.target_modules, str) or not _is_named(self.target_modules or (), name):
            return _is_named(self.target_modules or (), name)
        return self._is_in_layers(name)

    def targets_stack(self, name: str) -> bool:
        """Whether the module of this documented name is adapted, if its weight is a stack of layers' weights."""
        return _is_named(self.target_parameters or (), f"{name}.weight") and not self._is_saved(name)

    def _is_saved(self, name: str) -> bool:
        return any(re.match(rf"(^|.*\.){re.escape(m)}($|\..*)", name) for m in self.modules_to_save or ())

    def saves(self, name: str) -> bool:
        """Whether the module of this documented name is trained whole; any letters may stand before the end."""
        return any(name.endswith(end) for end in self.modules_to_save or ())

    def rank_of(self, name: str) -> int:
        """The rank of the adapter on this layer, or on each of the layers of a stack."""
        return int(_by_pattern(self.rank_pattern, self._pattern_name(name), self.r))

    def scaling_of(self, name: str) -> float:
        """The factor of the adapter on this layer."""
        rank = self.rank_of(name)
        alpha = float(_by_pattern(self.alpha_pattern, self._pattern_name(name), self.lora_alpha))
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def _pattern_name(self, name: str) -> str:
        """What patterns of ranks and alphas are compared with: of a stack PEFT takes the tensor's name."""
        return f"{name}.weight" if self.targets_stack(name) else name

    def _is_in_layers(self, name: str) -> bool:
        wanted = self.layers_to_transform
        if wanted is None or wanted == []:
            return True
        before = [self.layers_pattern] if isinstance(self.layers_pattern, str) else list(self.layers_pattern or [])
        patterns = [rf"(?:^|.*?\.){p}\.(\d+)\." for p in before] or [r".*?\.[^.]*\.(\d+)\."]
        found = next((match for p in patterns if (match := re.match(p, name))), None)
        numbers_wanted = [wanted] if isinstance(wanted, int) else list(wanted)
        return found is not None and int(found[1]) in numbers_wanted


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _check_names(field_name: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, str) and field_name not in ("modules_to_save", "target_parameters"):
        _check_pattern(field_name, value)
    elif isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(one, str) for one in value):
        raise AdapterError(f"{field_name}={value!r}", expected="a list of names")


def _check_pattern(field_name: str, pattern: str) -> None:
    """Refuses what is no pattern, and what could take for ever: patterns come in files of strangers."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise AdapterError(f"{field_name}={pattern[:80]!r} is no pattern: {error}") from None
    if re.search(r"\)[*+{]", pattern) or len(re.findall(r"[*+{]", pattern)) > _MOST_REPETITIONS or len(pattern) > 4096:
        raise AdapterError(
            f"{field_name}={pattern[:80]!r}",
            expected=f"a pattern with at most {_MOST_REPETITIONS} repetitions and no repeated group",
            fix="List the names of the layers",
        )


def _is_named(names: Sequence[str] | str, name: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, name) is not None
    return any(name == end or name.endswith("." + end) for end in names)


def _by_pattern(patterns: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    return next((v for p, v in patterns.items() if re.match(rf"(.*\.)?({p})$", name)), otherwise)
