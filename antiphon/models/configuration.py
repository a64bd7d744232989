"""The documented configurations: mutable, validated, unpackable with ``**``, unknown keys kept."""

from __future__ import annotations

import copy
import inspect
import json
import math
import os
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self, dataclass_transform

import torch

from antiphon.checkpoints import hub
from antiphon.checkpoints.audiocraft_folder import Elsewhere
from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
from antiphon.checkpoints.json_files import CONFIG_NAME as CONFIG_NAME
from antiphon.checkpoints.json_files import write_json
from antiphon.errors import ConfigError
from antiphon.models import registry
from antiphon.nn.mlp import activation

# keywords that say where files come from, and are passed on to the Hub
HUB_ACCESS = ("revision", "token", "cache_dir", "local_files_only", "subfolder", "force_download")

# Larger than any dimension of any published model; a file that says more is wrong, and building from it would hang.
_LARGEST = 2**24
# The same for what is counted in layers or codebooks, each of which is an object of its own.
_MOST_PARTS = 4096

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

# keys every configuration has, with their defaults
_COMMON: dict[str, Any] = {
    "return_dict": True,
    "output_hidden_states": False,
    "output_attentions": False,
    "is_encoder_decoder": False,
    "dtype": None,
    "architectures": None,
    "_name_or_path": "",
}


def dtype_of(value: Any) -> torch.dtype | None:
    """A torch dtype from a dtype, a name (``"bfloat16"``, ``"torch.bfloat16"``, ``"bf16"``) or ``None``."""
    if value is None:
        return None
    short = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}
    name = str(value).removeprefix("torch.")
    dtype = getattr(torch, short.get(name, name), None)
    if not isinstance(dtype, torch.dtype) or dtype not in _DTYPES:
        raise ConfigError(f"dtype={value!r}", expected="float32, float16, bfloat16 or float64")
    return dtype


@dataclass_transform()
class PreTrainedConfig:
    """Base of the configurations.

    A subclass declares its fields as annotated class attributes; the constructor takes them by position in that order
    or by keyword. Keywords it does not declare are kept as attributes and written back.

    Class attributes:
        model_type: the name files know it by. attribute_map: other names of fields.
        sub_configs: fields that hold configurations, with the ``model_type`` each has when it does not say.
        positive: int fields that must be at least 1. counts: int fields that say how many parts there are.

    Raises:
        ConfigError: a field of the wrong type or out of range, named in the message.
    """

    model_type: ClassVar[str] = ""
    attribute_map: ClassVar[dict[str, str]] = {}
    sub_configs: ClassVar[dict[str, str]] = {}
    positive: ClassVar[tuple[str, ...]] = ()
    counts: ClassVar[tuple[str, ...]] = ()
    _fields: ClassVar[dict[str, Any]] = {}
    dtype: torch.dtype | None
    _attn_implementation: str | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        names = [n for n, kind in inspect.get_annotations(cls).items() if "ClassVar" not in str(kind)]
        cls._fields = {**cls._fields, **{name: cls.__dict__[name] for name in names}}

        def init(self: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
            self._fill(args, kwargs)

        # each class shows its own fields to whoever inspects it
        slot = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter("self", slot)]
        parameters += [inspect.Parameter(name, slot, default=default) for name, default in cls._fields.items()]
        parameters.append(inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD))
        init.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        init.__doc__ = f"Fields of {cls.__name__}, by position or keyword; others are kept."
        cls.__init__ = init  # type: ignore[method-assign]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._fill(args, kwargs)

    def _fill(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if len(args) > len(self._fields):
            raise ConfigError(
                f"{type(self).__name__} got {len(args)} positional values", expected=str(len(self._fields))
            )
        given = dict(zip(self._fields, args, strict=False))
        for name, value in kwargs.items():
            name = self.attribute_map.get(name, name)
            given["dtype" if name == "torch_dtype" else name] = value
        attention = given.pop("attn_implementation", given.pop("_attn_implementation", None))
        stated = given.pop("model_type", self.model_type)
        if self.model_type and stated != self.model_type:
            raise ConfigError(f"model_type={stated!r} for {type(self).__name__}", expected=repr(self.model_type))
        object.__setattr__(self, "_attn_implementation", attention)
        for name, default in {**_COMMON, **self._fields}.items():
            setattr(self, name, given.pop(name) if name in given else copy.deepcopy(default))
        for name, value in given.items():
            setattr(self, name, value)
        self.dtype = dtype_of(self.dtype)
        for field, model_type in self.sub_configs.items():
            setattr(self, field, self._sub_config(field, getattr(self, field), model_type))
        self.derive()
        self.validate()

    def _sub_config(self, field: str, value: Any, model_type: str) -> PreTrainedConfig:
        if isinstance(value, PreTrainedConfig):
            return value
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise ConfigError(f"{field}={value!r}", expected="a configuration or a dict")
        cls = registry.model_class(value.get("model_type", model_type) or model_type, "config")
        made: PreTrainedConfig = cls.from_dict(value)
        return made

    def derive(self) -> None:
        """Fills fields whose default follows from others."""

    def validate_architecture(self) -> None:
        """Checks what concerns several fields."""

    def validate(self) -> None:
        """Checks every field; raises ``ConfigError`` naming the first that is wrong."""
        hints = typing.get_type_hints(type(self))
        for name in self._fields:
            value = getattr(self, name)
            if name not in self.sub_configs and not _is_kind(value, hints[name]):
                raise ConfigError(f"{type(self).__name__}.{name}={value!r}", expected=_kind_text(hints[name]))
            low = 1 if name in self.positive else 0 if name in self.counts else None
            high = _MOST_PARTS if name in self.counts else _LARGEST
            if type(value) is int and not ((low is None or low <= value) and value <= high):
                expected = f"an integer in {low if low is not None else '...'}..{high}"
                raise ConfigError(f"{type(self).__name__}.{name}={value!r}", expected=expected)
        self.validate_architecture()

    # other names of fields

    def __getattr__(self, name: str) -> Any:
        mapped = type(self).attribute_map.get(name)
        if mapped is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self, mapped)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, type(self).attribute_map.get(name, name), value)

    # the mapping protocol, for **config

    def keys(self) -> list[str]:
        """The names that ``to_dict`` writes."""
        return list(self.to_dict())

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.to_dict()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a key, or ``default``."""
        return getattr(self, name, default)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.to_json_string()}"

    # to and from files

    @property
    def name_or_path(self) -> str:
        """Where it was loaded from; empty when it was not."""
        return str(self._name_or_path)

    def get_text_config(self) -> PreTrainedConfig:
        """The part about text of a configuration that has one; else the configuration itself."""
        part = self.get("text_config")
        return part if isinstance(part, PreTrainedConfig) else self

    @property
    def use_return_dict(self) -> bool:
        """Whether models return output objects rather than tuples."""
        return bool(self.return_dict)

    def update(self, values: dict[str, Any]) -> None:
        """Sets several fields and validates the whole."""
        for name, value in values.items():
            setattr(self, name, dtype_of(value) if name in ("dtype", "torch_dtype") else value)
        self.validate()

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values: the fields, the keys that were kept, sub-configurations as dicts."""
        out: dict[str, Any] = {}
        for name, value in vars(self).items():
            if name in ("_attn_implementation", "_name_or_path"):
                continue
            if name in _COMMON and name not in self._fields and value == _COMMON[name]:
                continue
            out[name] = _plain(value)
        out["model_type"] = self.model_type
        return out

    def to_diff_dict(self) -> dict[str, Any]:
        """As ``to_dict`` without the fields that have their default."""
        default = type(self)().to_dict()
        return {k: v for k, v in self.to_dict().items() if k == "model_type" or default.get(k, ...) != v}

    def to_json_string(self, use_diff: bool = False) -> str:
        """The JSON text of ``to_dict`` (or ``to_diff_dict``)."""
        values = self.to_diff_dict() if use_diff else self.to_dict()
        return json.dumps(values, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Self:
        """A configuration from plain values; ``kwargs`` win over them."""
        if not isinstance(config_dict, dict):
            raise ConfigError(f"{config_dict!r} for a {cls.__name__}", expected="an object with its fields")
        values = {k: v for k, v in config_dict.items() if k not in ("transformers_version", "antiphon_version")}
        return cls(**{**values, **kwargs})

    @classmethod
    def read(cls, folder: Path, elsewhere: Elsewhere | None = None) -> dict[str, Any]:
        """The plain values of a folder's configuration; a composite's section where that is of this class."""
        values = CheckpointFolder(folder, elsewhere).values()
        stated = values.get("model_type")
        if not cls.model_type or stated == cls.model_type:
            return values
        for section in values.values():
            if isinstance(section, dict) and section.get("model_type") == cls.model_type:
                return section
        if stated is None:
            return values
        raise ConfigError(f"{folder / CONFIG_NAME} is of model_type {stated!r}", expected=repr(cls.model_type))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """The configuration of a checkpoint.

        Args:
            pretrained_model_name_or_path: a folder, or a name on the Hub.
            kwargs: ``revision, token, cache_dir, local_files_only, subfolder, force_download`` for the Hub;
                ``return_unused_kwargs`` to get ``(config, unused)``; fields to override.

        Raises:
            CheckpointError: no such checkpoint. ConfigError: values that no model can be built from.
        """
        access = {name: kwargs.pop(name) for name in HUB_ACCESS if name in kwargs}
        wants_unused = kwargs.pop("return_unused_kwargs", False)
        kwargs.pop("trust_remote_code", None)
        folder = hub.described(pretrained_model_name_or_path, **access)
        config = cls.from_dict(cls.read(folder, Elsewhere.taken_from(kwargs, access)))
        config._name_or_path = str(pretrained_model_name_or_path)
        known = {**_COMMON, **cls._fields, **cls.attribute_map}
        unused = {k: v for k, v in kwargs.items() if k not in known and not hasattr(config, k)}
        config.update({k: v for k, v in kwargs.items() if k not in unused})
        if wants_unused:
            return config, unused
        return config

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Writes ``config.json`` into a folder, which is made where it is missing."""
        self.validate()
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG_NAME, self.to_dict())


PretrainedConfig = PreTrainedConfig


def check_activation(config: PreTrainedConfig, field: str, name: Any) -> None:
    """Raises ``ConfigError`` naming ``field`` unless ``name`` is an activation function, or the name of one."""
    try:
        activation(name)
    except ConfigError as error:
        stated = getattr(config, field)
        raise ConfigError(f"{type(config).__name__}.{field}={stated!r}", expected=error.expected) from error


def _plain(value: Any) -> Any:
    if isinstance(value, PreTrainedConfig):
        return value.to_dict()
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return getattr(value, "__name__", value) if callable(value) else value


def _is_kind(value: Any, kind: Any) -> bool:
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return any(_is_kind(value, option) for option in typing.get_args(kind))
    if kind is Any:
        return True
    if kind is type(None):
        return value is None
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind is int:
        return type(value) is int
    if origin in (list, tuple):
        (item, *_) = typing.get_args(kind)
        return isinstance(value, (list, tuple)) and all(_is_kind(v, item) for v in value)
    if origin is not None:
        return isinstance(value, origin) if isinstance(origin, type) else callable(value)
    return isinstance(value, kind)


def _kind_text(kind: Any) -> str:
    return f"a value of type {getattr(kind, '__name__', kind)}".replace("NoneType", "None")
