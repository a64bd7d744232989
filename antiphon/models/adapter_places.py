"""Where adapters go in a model: its layers by their documented names, chosen by a configuration or by a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from antiphon.checkpoints.lora_config import ALL_LINEAR, LoraConfig
from antiphon.checkpoints.peft_files import AdapterFile
from antiphon.errors import AdapterError
from antiphon.models.adapter_stacks import Stacks
from antiphon.models.documented_names import documented_name, key_tables
from antiphon.nn.lora import can_adapt
from antiphon.nn.stand_in import can_be_stood_in_for

_OWN_PARTS = {"lora_A", "lora_B", "modules_to_save"}
_SHOWN = 5


@dataclass(frozen=True)
class Places:
    """Layers that get a low-rank adapter, and modules that get a copy to be trained whole; by documented names.

    The layers of a stack have its name and their number.
    """

    layers: dict[str, nn.Module]
    modules: dict[str, nn.Module]
    stacks: Stacks

    @property
    def saved(self) -> list[str] | None:
        """What a configuration has as ``modules_to_save``."""
        return sorted({self.stacks.stack_of(name) for name in self.modules}) or None


def is_of_adapter(name: str) -> bool:
    """Whether a name in a state dict is that of an adapter's tensor."""
    return not _OWN_PARTS.isdisjoint(name.split("."))


def documented_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules of a model by the names that they have in the documents; those of adapters are left out."""
    tables = key_tables(model)
    return {documented_name(path, tables): module for path, module in model.named_modules() if not is_of_adapter(path)}


def chosen(model: nn.Module, config: LoraConfig) -> Places:
    """The places that a new adapter's configuration names.

    Raises:
        AdapterError: a name that nothing has, or that is no linear layer's.
    """
    named, stacks = documented_modules(model), Stacks.of(model)
    layers = _targeted(model, named, stacks, config) | _stacked(model, named, stacks, config)
    if not layers:
        raise AdapterError(f"target_modules={config.target_modules!r} names no layer of this {type(model).__name__}")
    modules: dict[str, nn.Module] = {}
    for wanted in config.modules_to_save or ():
        found = [n for n in (*named, *stacks.layers) if n.endswith(wanted)]
        inside = {n: m for outer in found for n, m in named.items() if n == outer or n.startswith(outer + ".")}
        leaves = {n: m for n, m in inside.items() if m._parameters or m._buffers}
        strange = [n for n, m in leaves.items() if not can_be_stood_in_for(m)]
        strange += [n for n in leaves if not leaves.keys() >= stacks.beside(n)]
        if not leaves or strange:
            raise AdapterError(
                f"modules_to_save names {wanted!r}, and "
                + (f"{strange[0]} cannot be copied" if strange else "there is no such module"),
                expected="linear layers, embeddings and normalisations of this model, in floating point",
            )
        modules |= leaves
    return Places(layers, modules, stacks)


def _targeted(
    model: nn.Module, named: dict[str, nn.Module], stacks: Stacks, config: LoraConfig
) -> dict[str, nn.Module]:
    """The layers that ``target_modules`` names, which are no stack's."""
    alone = {n: m for n, m in named.items() if stacks.stack_of(n) == n}
    linear = {n: m for n, m in alone.items() if can_adapt(m)}
    if config.target_modules == ALL_LINEAR:
        return {n: m for n, m in linear.items() if config.targets(n)}
    names, every = config.target_modules or (), [*alone, *stacks.layers]
    if not isinstance(names, str):
        lost = [name for name in names if not any(n == name or n.endswith("." + name) for n in every)]
        if lost:
            raise AdapterError(
                f"target_modules names {', '.join(map(repr, lost[:_SHOWN]))}, which no layer of this "
                f"{type(model).__name__} is called",
                expected=_known(linear),
            )
    if stack := next((n for n in stacks.layers if config.targets(n)), None):
        raise AdapterError(
            f"target_modules names {stack}, a stack of {len(stacks.layers[stack])} layers' weights",
            expected=_known(linear),
            fix=f"Name {stack}.weight in target_parameters, or leave it out with exclude_modules",
        )
    matched = {n: m for n, m in alone.items() if n and config.targets(n)}
    strange = [n for n, m in matched.items() if not can_adapt(m)]
    if strange:
        raise AdapterError(
            f"target_modules names {strange[0]}, a {type(alone[strange[0]]).__name__}",
            expected=_known(linear),
            fix="Name embeddings and normalisations in modules_to_save",
        )
    return matched


def _stacked(model: nn.Module, named: dict[str, nn.Module], stacks: Stacks, config: LoraConfig) -> dict[str, nn.Module]:
    """The layers of the stacks that ``target_parameters`` names."""
    for wanted in config.target_parameters or ():
        plain = (n for n, m in named.items() if stacks.stack_of(n) == n and "weight" in m._parameters)
        both = [f"{n}.weight" for n in (*plain, *stacks.layers)]
        found = [n for n in both if n == wanted or n.endswith("." + wanted)]
        strange = [n for n in found if n.removesuffix(".weight") not in stacks.layers]
        if strange or not found:
            raise AdapterError(
                f"target_parameters names {wanted!r}, "
                + (f"and {strange[0]} is no stack" if strange else f"which this {type(model).__name__} has not"),
                expected=f"stacks of layers' weights, such as {', '.join(f'{n}.weight' for n in [*stacks.layers][:2])}"
                if stacks.layers
                else "none, as this model has no stacks of layers' weights",
                fix="Name linear layers in target_modules",
            )
    pieces = {n: m for n, m in stacks.pieces.items() if config.targets_stack(stacks.stack_of(n))}
    if rounded := next((n for n, m in pieces.items() if not can_adapt(m)), None):
        raise AdapterError(f"target_parameters names {rounded}, a {type(pieces[rounded]).__name__}")
    return pieces


def _known(linear: Iterable[str]) -> str:
    ends = sorted({name.rpartition(".")[2] for name in linear})
    return f"linear layers: {', '.join(ends)}" if ends else "linear layers, of which this model has none"


def fitting(model: nn.Module, adapter: AdapterFile, stacks: Stacks) -> Places:
    """The places that an adapter has tensors for, which has matrices for each layer of a stack.

    Raises:
        AdapterError: layers that the model has not, of other shapes, or not the ones that the configuration names.
    """
    named, config = documented_modules(model), adapter.config
    layers = {n: named[n] for n in adapter.low_rank if n in named and can_adapt(named[n])}
    modules = {n: named[n] for n in adapter.whole if n in named and can_be_stood_in_for(named[n])}
    strange = [n for n in (*adapter.low_rank, *adapter.whole) if n not in layers and n not in modules]
    wanted = {n for n, m in named.items() if can_adapt(m) and stacks.stack_of(n) == n and config.targets(n)}
    wanted |= {n for n in stacks.pieces if config.targets_stack(stacks.stack_of(n))}
    problems = {
        "for layers that the model has not": strange,
        "that its configuration does not name": [n for n in layers if n not in wanted]
        + [n for n in modules if not config.saves(stacks.stack_of(n))],
        "missing": [n for n in wanted if n not in layers],
        "of another shape": [*_misshapen(adapter, layers), *_misfitting(adapter, modules)],
    }
    found = [_listed(what, names) for what, names in problems.items() if names]
    if found:
        base = config.base_model_name_or_path
        raise AdapterError(
            f"the adapter does not fit this {type(model).__name__}: {'; '.join(found)}",
            expected=f"an adapter for this model; it says it is for {base!r}" if base else "an adapter for this model",
        )
    return Places(layers, modules, stacks)


def _misshapen(adapter: AdapterFile, layers: dict[str, Any]) -> Iterable[str]:
    for name, layer in layers.items():
        down, up = adapter.low_rank[name]
        got, want = (down.shape[1], up.shape[0]), (layer.in_features, layer.out_features)
        if got != want:
            yield f"{name}: inputs and outputs {got}, want {want}"


def _misfitting(adapter: AdapterFile, modules: dict[str, nn.Module]) -> Iterable[str]:
    for name, module in modules.items():
        own: dict[str, Tensor] = dict(module.named_parameters(recurse=False))
        got = {key: tuple(tensor.shape) for key, tensor in adapter.whole[name].items()}
        want = {key: tuple(tensor.shape) for key, tensor in own.items()}
        if got != want:
            yield f"{name}: {got}, want {want}"


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{more})"
