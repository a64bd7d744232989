"""From files to a model: which files, which configuration, where the weights go."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.checkpoints import hub, names, store
from antiphon.checkpoints.audiocraft_folder import Elsewhere
from antiphon.checkpoints.checkpoint_folder import CheckpointFolder
from antiphon.errors import CapacityError, CheckpointError, ConfigError, ParamError, unknown_argument
from antiphon.models import registry
from antiphon.models.configuration import HUB_ACCESS, PreTrainedConfig, dtype_of
from antiphon.models.devices import available_bytes, on_network, place, whole_device
from antiphon.models.documented_names import Place, places
from antiphon.models.pretrained import PreTrainedModel, report
from antiphon.models.quantization import Quantization, asked, settled, stated_in
from antiphon.models.quantized import (
    check_filled,
    forecast_bytes,
    layers_to_round,
    make_room,
    round_layers,
    rounded_layers,
)
from antiphon.nn.linear import plain_layers, stacks_of
from antiphon.nn.quantized_linear import QuantizedLinear

log = logging.getLogger(__name__)

# Names that older files hold and no model needs: tables that are computed.
_STRAYS = (r".*embed_positions\.weights$", r".*position_ids$", r".*rotary_emb\.inv_freq$")


@dataclass
class Options:
    """How to load, as ``from_pretrained`` documents it."""

    dtype: Any = None
    torch_dtype: Any = None
    device: Any = None
    device_map: Any = None
    attn_implementation: Any = None
    variant: str | None = None
    use_safetensors: bool | None = None
    low_cpu_mem_usage: bool | None = None
    strict: bool = True
    ignore_mismatched_sizes: bool = False
    output_loading_info: bool = False
    load_in_8bit: bool | None = False
    load_in_4bit: bool | None = False
    quantize: str | None = None
    quantization_config: Any = None
    force: bool = False
    copy: bool | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.torch_dtype is not None:
            if self.dtype is not None and dtype_of(self.dtype) != dtype_of(self.torch_dtype):
                raise ParamError(f"dtype={self.dtype} and torch_dtype={self.torch_dtype}", expected="one of them")
            warnings.warn("torch_dtype is the old spelling of dtype", DeprecationWarning, stacklevel=5)
            self.dtype = self.torch_dtype
        if self.device is not None and self.device_map is not None:
            raise ParamError("device and device_map were both given", expected="one of them")
        whole_device(self.device, self.device_map)  # refused here, before anything is read
        self.rounding = asked(
            quantize=self.quantize,
            load_in_8bit=self.load_in_8bit,
            load_in_4bit=self.load_in_4bit,
            quantization_config=self.quantization_config,
        )


def load(
    cls: type[PreTrainedModel],
    name: str | os.PathLike[str],
    *,
    config: PreTrainedConfig | str | os.PathLike[str] | None,
    **kwargs: Any,
) -> Any:
    """The body of ``PreTrainedModel.from_pretrained``, which documents it."""
    access = {key: kwargs.pop(key) for key in HUB_ACCESS if key in kwargs}
    options = Options(**{f.name: kwargs.pop(f.name) for f in fields(Options) if f.name in kwargs})
    fetched = hub.fetched(name, use_safetensors=options.use_safetensors, **access)
    checkpoint = CheckpointFolder(fetched, Elsewhere.taken_from(kwargs, access))
    cls = _class_for(cls, checkpoint)
    values = checkpoint.values() if config is None or checkpoint.has_values else {}
    made, prefix = _configured(cls, values, config, kwargs, name=str(name))
    made._attn_implementation = _one_implementation(options.attn_implementation, made)
    stated = stated_in(values or made.to_dict(), str(fetched))
    plan = settled(options.rounding, stated, str(fetched))
    with checkpoint.weights(prefix, variant=options.variant, use_safetensors=options.use_safetensors) as weights:
        dtype = _chosen_dtype(options, made, weights, plan)
        model = _on_meta(cls, made)
        if plan is not None and not layers_to_round(model, plan):
            raise ParamError(f"a {cls.__name__} has no layers that {plan.kind} could be for", fix="Load it as it is")
        _check_memory(model, dtype, plan, options.force)
        stored = stored_names(weights, model, prefix)
        if stated is not None:
            make_room(model, stated, stored)
        info = fit(model, weights, stored, options.strict, options.ignore_mismatched_sizes)
        check_filled(model, left_out := {n for kind in info for n in kind})
        if plan is not None and stated is None:
            round_layers(model, plan, _reader(weights, stored), left_out=left_out)
        wide = _wide(model, weights, stored, dtype, is_asked=options.dtype not in (None, "auto"))
        views, mapped = _views(model, weights, stored if _may_map(fetched, options) else {}, dtype, wide, left_out)
        materialise(model, dtype, views, wide)
        _read(model, weights, stored, left_out, mapped)
    if plan is not None and (stated is None or not views):  # codes that are seen through their file stay there
        model.lay_out()
    if isinstance(options.attn_implementation, dict):
        model.set_attn_implementation(options.attn_implementation)
    place(model, options.device, options.device_map)
    if dtype is torch.float16 and model.device.type == "cpu":
        log.warning("float16 on a CPU is slow and overflows easily: dtype='bfloat16' or 'float32' suits it better")
    if model.can_generate():
        model.generation_config = _generation_config(checkpoint, made)
    model.eval()
    if options.output_loading_info:
        return model, dict(zip(("missing_keys", "unexpected_keys", "mismatched_keys"), info, strict=True))
    return model


def build(
    cls: type[PreTrainedModel], config: PreTrainedConfig, *, dtype: Any = None, attn_implementation: Any = None
) -> Any:
    """The body of ``PreTrainedModel.from_config``."""
    if attn_implementation is not None:
        config._attn_implementation = attn_implementation
    model = cls(config)
    return model.to(dtype_of(dtype)) if dtype is not None else model


# the configuration


def _class_for(cls: type[PreTrainedModel], checkpoint: CheckpointFolder) -> type[PreTrainedModel]:
    """The class that a checkpoint is for: the one it was asked of, or the relative whose checkpoint it is."""
    stated = checkpoint.model_type()
    if not isinstance(stated, str) or stated not in cls.relatives:
        return cls
    fitting: type[PreTrainedModel] = registry.model_class(stated, cls.relatives[stated])
    log.info("%s holds a model of type %r: it is opened as a %s", checkpoint.path, stated, fitting.__name__)
    return fitting


def _configured(
    cls: type[PreTrainedModel], values: dict[str, Any], config: Any, overrides: dict[str, Any], *, name: str
) -> tuple[Any, str]:
    """The configuration, which learns the checkpoint's name, and the prefix of this model's tensors in it."""
    own = cls.config_class
    stated = values.get("model_type", own.model_type)
    prefix = ""
    if stated != own.model_type:
        if not isinstance(stated, str) or stated not in cls.sections:
            fitting = [own.model_type, *cls.sections]
            raise ConfigError(
                f"{name} holds a model of type {stated!r}, which {cls.__name__} cannot read",
                expected=f"one of {fitting}",
            )
        section, prefix = cls.sections[stated]
        values = values.get(section, {})
    if isinstance(config, (str, os.PathLike)):
        config = own.from_pretrained(config)
    made = own.from_dict(values) if config is None else config
    known = [
        *made.to_dict(),
        *own._fields,
        *own.attribute_map,
        "return_dict",
        "output_hidden_states",
        "output_attentions",
    ]
    for key in overrides:
        if key not in known and not hasattr(made, key):
            raise unknown_argument(
                key, [*known, *(f.name for f in fields(Options))], where=f"{cls.__name__}.from_pretrained"
            )
    overrides = {k: v for k, v in overrides.items() if k != "model_type"}
    # a configuration that was passed in stays as it is
    made = own.from_dict({**made.to_dict(), **overrides}) if overrides else made
    made._name_or_path = name
    return made, prefix


def _one_implementation(choice: Any, config: PreTrainedConfig) -> str | None:
    """The one that is asked for, where it is one for all parts; else what the configuration says."""
    return config._attn_implementation if choice is None else choice if isinstance(choice, str) else None


def _generation_config(checkpoint: CheckpointFolder, config: PreTrainedConfig) -> Any:
    from antiphon.generation.config import GenerationConfig

    if checkpoint.original is not None:
        return GenerationConfig.from_dict(checkpoint.original.generation())
    if (checkpoint.path / "generation_config.json").exists():
        return GenerationConfig.from_pretrained(checkpoint.path)
    return GenerationConfig.from_model_config(config)


def _chosen_dtype(
    options: Options, config: PreTrainedConfig, weights: store.Weights, plan: Quantization | None
) -> torch.dtype:
    wanted = options.dtype
    if wanted is not None and wanted != "auto":
        chosen = dtype_of(wanted)
        return chosen if chosen is not None else torch.float32
    if plan is not None and wanted is None and _stays_on_cpu(options):
        return torch.float32  # what stays floating point is small, and CPUs are quick in this
    recorded = dtype_of(config.dtype)
    if recorded is not None:
        return recorded
    dtypes = (weights.info(name).dtype for name in weights.names())
    return next((dtype for dtype in dtypes if dtype.is_floating_point), torch.float32)


# the tensors


def _on_meta(cls: type[PreTrainedModel], config: PreTrainedConfig) -> Any:
    with torch.device("meta"):
        return cls(config)


def stored_names(weights: store.Weights, model: PreTrainedModel, prefix: str = "") -> dict[str, str]:
    """``{the documents' name: name in the file}`` of the tensors under the prefix that fits best."""
    canonical = {new: old for old, new in names.canonical(weights.names()).items()}
    wanted = set(model.state_dict())
    candidates = [prefix + inner for inner in ("", *model.nested_prefixes)]
    best: dict[str, str] = {}
    for candidate in candidates:
        inner = {new[len(candidate) :]: old for new, old in canonical.items() if new.startswith(candidate)}
        under = {name: inner[new] for new, name in model.documented_names(inner).items()}
        if not best or len(wanted & set(under)) > len(wanted & set(best)):
            best = under
    return best


def fit(
    model: PreTrainedModel,
    weights: store.Weights,
    stored: dict[str, str],
    strict: bool = True,
    ignore_mismatched: bool = False,
) -> tuple[list[str], list[str], list[str]]:
    """Compares what a model has with what is stored, as ``report`` does; either of two names of a tensor will do."""
    second = {p + a: p + first for p, m in model.named_models() for a, first in m.key_table.aliases.items()}
    for alias, first in second.items():  # a file may hold either of the two names
        if alias in stored and first not in stored:
            stored[first] = stored[alias]
    have = {name: tuple(t.shape) for name, t in model.state_dict().items() if name not in second}
    given = {name: weights.info(old).shape for name, old in stored.items() if name not in second}
    ignored = (
        *_STRAYS,
        *(p.replace(".", r"\.") + pattern for p, m in model.named_models() for pattern in m.ignored_keys),
    )
    return report(
        have,
        given,
        where=type(model).__name__,
        strict=strict,
        ignored=ignored,
        ignore_mismatched=ignore_mismatched,
    )


def _check_memory(model: nn.Module, dtype: torch.dtype, plan: Quantization | None, force: bool) -> None:
    need = forecast_bytes(model, dtype, plan)
    free = available_bytes()
    if free is not None and need > free and not force:
        raise CapacityError(
            f"the weights need {need / 2**30:.1f} GiB in {dtype} and {free / 2**30:.1f} GiB are free",
            fix="Load in a smaller dtype, close other programs, or pass force=True",
        )


def _may_map(folder: Path, options: Options) -> bool:
    """Whether weights may be seen through the file instead of being copied into memory of their own.

    A mapping costs nothing to make and holds only what is used; but a process dies that looks at a file which was cut
    short. Files in the Hub's cache are replaced, never changed in place, so these are mapped where the call does not
    say otherwise; folders that people write into are copied, and so is what lies on a network.
    """
    if not _stays_on_cpu(options) or options.copy:
        return False
    return options.copy is False or (hub.is_cached(folder) and not on_network(folder))


def _stays_on_cpu(options: Options) -> bool:
    device = whole_device(options.device, options.device_map)
    return not isinstance(options.device_map, dict) and (device is None or device.type == "cpu")


def _reader(weights: store.Weights, stored: Mapping[str, str]) -> Callable[[str], Tensor]:
    def read(name: str) -> Tensor:
        place = store.empty(weights.info(stored[name]).shape, torch.float32)
        weights.read_into({stored[name]: place})
        return place

    return read


def _views(
    model: PreTrainedModel,
    weights: store.Weights,
    stored: Mapping[str, str],
    dtype: torch.dtype,
    wide: set[int],
    left_out: set[str],
) -> tuple[dict[int, Tensor], set[str]]:
    """Mapped tensors for the model's places, by the identity of the place on ``meta``; and the names they have."""

    def kind(tensor: Tensor) -> torch.dtype:
        return torch.float32 if id(tensor) in wide else dtype if tensor.is_floating_point() else tensor.dtype

    wanted = {n: where for n, where in places(model).items() if n in stored and n not in left_out}
    fitting = {
        name: where
        for name, where in wanted.items()
        if all(weights.info(stored[name]).dtype == kind(tensor) for tensor in where.tensors)
    }
    mapped = weights.mapped([stored[name] for name in fitting])
    names = {name for name in fitting if stored[name] in mapped}
    views: dict[int, Tensor] = {}
    for name in names:
        pieces = fitting[name].pieces(mapped[stored[name]])
        views |= {id(tensor): piece for tensor, piece in zip(fitting[name].tensors, pieces, strict=True)}
    return views, names


def materialise(model: nn.Module, dtype: torch.dtype, views: Mapping[int, Tensor], wide: set[int]) -> None:
    """Gives a model built on ``meta`` its memory, uninitialised; layers over one input come to lie side by side.

    Places for which there is a view take that; those in ``wide`` are float32. Both are known by their identity.
    """
    for rounded in rounded_layers(model):
        rounded.dtype = dtype
    made = {
        id(p): nn.Parameter(views[id(p)], requires_grad=p.requires_grad) for p in model.parameters() if id(p) in views
    }
    for group in stacks_of(model):
        layers = plain_layers(group)
        kinds = {(layer.in_features, torch.float32 if id(layer.weight) in wide else dtype) for layer in layers}
        if any(id(layer.weight) in made for layer in layers) or len(kinds) != 1:
            continue
        (inputs, kind) = kinds.pop()
        rows = [layer.out_features for layer in layers]
        storage = store.empty((sum(rows), inputs), kind)
        for layer, part in zip(layers, storage.split(rows), strict=True):
            made[id(layer.weight)] = nn.Parameter(part)
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                if id(parameter) not in made:
                    kind = torch.float32 if id(parameter) in wide else dtype
                    kind = kind if parameter.is_floating_point() else parameter.dtype
                    made[id(parameter)] = nn.Parameter(
                        store.empty(tuple(parameter.shape), kind), requires_grad=parameter.requires_grad
                    )
                module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_meta:
                is_scale = isinstance(module, QuantizedLinear) and name == "scales"
                kind = dtype if buffer.is_floating_point() and not is_scale else buffer.dtype
                kind = torch.float32 if id(buffer) in wide else kind
                view = views.get(id(buffer))
                module._buffers[name] = store.empty(tuple(buffer.shape), kind) if view is None else view


def _wide(
    model: PreTrainedModel, weights: store.Weights, stored: Mapping[str, str], dtype: torch.dtype, *, is_asked: bool
) -> set[int]:
    """The places that are float32 in a model of this dtype, by their identity."""
    wide: set[int] = set()
    found = places(model)
    for prefix, part in model.named_models():
        if dtype is torch.float16:
            for name, parameter in part.named_parameters():
                if any(f".{kept}." in f".{name}." for kept in part.keep_in_fp32):
                    wide.add(id(parameter))
        if part.stays_in_fp32 and not is_asked:
            own = {n: where for n, where in found.items() if n.startswith(prefix) and n in stored}
            kinds = {weights.info(stored[n]).dtype for n in own}
            if {kind for kind in kinds if kind.is_floating_point} != {dtype}:
                wide |= {id(t) for where in own.values() for t in where.tensors if t.is_floating_point()}
    return wide


def _read(
    model: PreTrainedModel, weights: store.Weights, stored: Mapping[str, str], left_out: set[str], mapped: set[str]
) -> None:
    targets: dict[str, Tensor] = {}
    stacks: dict[str, Place] = {}
    for name, where in places(model).items():
        if name in left_out or name not in stored or name in mapped:
            continue
        if where.is_stack:
            stacks[stored[name]] = where
        elif stored[name] not in targets:
            targets[stored[name]] = where.tensors[0].data
    if left_out:  # names that strict=False or ignore_mismatched_sizes let pass keep their random start
        with torch.no_grad():
            for _, part in reversed(model.named_models()):
                part.initialise()
    try:
        weights.read_into(targets)
        for name, where in stacks.items():  # whole, one at a time: their pieces lie beside those of other stacks
            for tensor, piece in zip(where.tensors, where.pieces(weights.read(name)), strict=True):
                tensor.data.copy_(piece)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"reading {model.config.name_or_path} failed: {error}") from error
