"""Adapters on the documented models: added, loaded, mixed, merged, saved."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from antiphon.checkpoints.lora_config import LoraConfig
from antiphon.checkpoints.peft_files import AdapterFile, read_adapter, write_adapter
from antiphon.errors import AdapterError
from antiphon.models.adapter_places import Places, chosen, documented_modules, fitting
from antiphon.models.adapter_stacks import Stacks
from antiphon.nn.lora import add_branch, branch, branches_of, merge_branches, remove_branch, use_branches
from antiphon.nn.put_aside import put_back
from antiphon.nn.quantized_linear import QuantizedLinear
from antiphon.nn.stand_in import add_stand_in, merge_stand_in, remove_stand_in, stand_in_of, use_stand_in


@dataclass
class _Choice:
    """Which adapters of a model compute and learn.

    Attributes:
        factors: of the active ones. enabled: whether they compute at all. merged: whether they are in the weights.
        learning: those that may be trained. frozen: parameters that were trainable before there were adapters.
    """

    factors: dict[str, float] = field(default_factory=dict)
    enabled: bool = True
    merged: bool = False
    learning: set[str] = field(default_factory=set)
    frozen: list[nn.Parameter] = field(default_factory=list)


class Adapters(nn.Module):
    """What a model can do with low-rank adapters.

    A model with adapters trains these alone: its own weights are frozen from the first one on until the last one is
    deleted. Names of tensors are unchanged; adapters have further ones, as PEFT calls them.

    Attributes:
        peft_config: the configuration of each adapter by its name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peft_config: dict[str, LoraConfig] = {}
        self._choice = _Choice()

    # coming and going

    def add_adapter(self, adapter_config: Any, adapter_name: str = "default") -> None:
        """Puts a new adapter on the model, and makes it the active one; at first it changes nothing.

        Args:
            adapter_config: a ``LoraConfig``, PEFT's own one, or a dict of its fields.
            adapter_name: a name of its own, without dots.

        Raises:
            AdapterError: the name is taken, the configuration names no layers of this model, or adapters are merged.
        """
        self._check_new(adapter_name)
        config = LoraConfig.of(adapter_config)
        places = chosen(self, config)
        base = config.base_model_name_or_path or getattr(getattr(self, "config", None), "name_or_path", None) or None
        config = replace(config, base_model_name_or_path=base, modules_to_save=places.saved)
        self._attach(places, config, adapter_name)
        with torch.no_grad():
            for layer in places.layers.values():
                _initialise(layer, adapter_name, config.init_lora_weights)
        self._choice.learning.add(adapter_name)
        self.set_adapter(adapter_name)

    def load_adapter(
        self,
        peft_model_id: str | os.PathLike[str],
        adapter_name: str = "default",
        *,
        is_trainable: bool = False,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        subfolder: str = "",
        force_download: bool = False,
    ) -> None:
        """Puts an adapter from a file on the model, and makes it the active one.

        Args:
            peft_model_id: a folder in PEFT's format, or a name on the Hub. adapter_name: a name of its own here.
            is_trainable: whether it goes on being trained.
            revision, token, cache_dir, local_files_only, subfolder, force_download: how to reach the Hub.

        Raises:
            AdapterError: it is of another kind, damaged, or for another model; the model is then as it was.
            CheckpointError: there is no such adapter, or its files are damaged or unsafe.
        """
        self._check_new(adapter_name)
        stored = read_adapter(
            peft_model_id,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            subfolder=subfolder,
            force_download=force_download,
        )
        stacks = Stacks.of(self)
        adapter = stacks.apart(stored)
        places = fitting(self, adapter, stacks)
        self._attach(places, replace(adapter.config, modules_to_save=places.saved), adapter_name)
        with torch.no_grad():
            for name, layer in places.layers.items():
                for own, given in zip(branch(layer, adapter_name), adapter.low_rank[name], strict=True):
                    own.copy_(given)
            for name, module in places.modules.items():
                for key, given in adapter.whole[name].items():
                    getattr(stand_in_of(module, adapter_name), key).copy_(given)
        if is_trainable:
            self._choice.learning.add(adapter_name)
        self.set_adapter(adapter_name)

    def save_adapter(self, save_directory: str | os.PathLike[str], adapter_name: str | None = None) -> None:
        """Writes an adapter in PEFT's format, ``adapter_config.json`` and ``adapter_model.safetensors``.

        Args:
            adapter_name: the only one there is, by default.

        Raises:
            AdapterError: there is no such adapter, or several and no name. CheckpointError: it cannot be written.
        """
        write_adapter(save_directory, self._content(self._one(adapter_name)))

    def delete_adapter(self, adapter_names: str | Sequence[str]) -> None:
        """Takes adapters off the model; without the last one it is as it was, and what could be trained can be again.

        Raises:
            AdapterError: there is no such adapter, or adapters are merged.
        """
        self._check_unmerged()
        for name in self._known(adapter_names):
            for layer in self._layers(name):
                remove_branch(layer, name)
            for module in self._copied(name):
                remove_stand_in(module, name)
            del self.peft_config[name]
            self._choice.factors.pop(name, None)
            self._choice.learning.discard(name)
        if not self.peft_config:
            for parameter in self._choice.frozen:
                parameter.requires_grad_(True)
            self._choice = _Choice()
        self._apply_choice()

    # which ones compute

    def set_adapter(self, adapter_name: str | Sequence[str], scales: float | Sequence[float] | None = None) -> None:
        """Makes these adapters the active ones, all others inactive. Of several, what each adds is summed.

        Args:
            scales: a factor on each, by default 1; an adapter that brings whole modules takes no other.

        Raises:
            AdapterError: no such adapter, numbers that do not fit, two that bring one module, or adapters are merged.
        """
        self._check_unmerged()
        names = self._known(adapter_name)
        given = list(scales) if isinstance(scales, Sequence) else [scales] * len(names)
        if len(given) != len(names):
            raise AdapterError(f"{len(names)} adapters and {len(given)} scales", expected="one for each")
        factors = {name: _checked_scale(scale) for name, scale in zip(names, given, strict=True)}
        brought: dict[str, str] = {}
        for name, factor in factors.items():
            for module in self.peft_config[name].modules_to_save or ():
                if module in brought:
                    raise AdapterError(
                        f"{brought[module]!r} and {name!r} both bring a {module}", expected="one of them"
                    )
                brought[module] = name
                if factor != 1:
                    raise AdapterError(f"a scale of {factor:g} for {name!r}, which brings {module} whole", expected="1")
        self._choice.factors, self._choice.enabled = factors, True
        self._apply_choice()

    def active_adapters(self) -> list[str]:
        """The names of the active adapters; they are kept while adapters are disabled."""
        self._check_some()
        return list(self._choice.factors)

    def disable_adapters(self) -> None:
        """Lets the model compute as it does without adapters.

        Raises:
            AdapterError: there is none, or they are merged.
        """
        self._check_unmerged()
        self._choice.enabled = False
        self._apply_choice()

    def enable_adapters(self) -> None:
        """Lets the active adapters compute again.

        Raises:
            AdapterError: there is none, or they are merged.
        """
        self._check_unmerged()
        self._choice.enabled = True
        self._apply_choice()

    # in the weights

    def merge_adapters(self, *, keep_base: bool = True) -> None:
        """Adds the active adapters to the model's weights, so that they cost nothing more and ``save_pretrained``
        writes them.

        Args:
            keep_base: keep the weights as they were, which takes their memory again, for ``unmerge_adapters``.
                ``False`` makes the adapters a part of the model for good: there are none any more then.

        Raises:
            AdapterError: none is active, they are merged already, or a weight is in 4 or 8 bits.
        """
        self._check_unmerged("merged already")
        if not self._choice.factors or not self._choice.enabled:
            raise AdapterError("no adapter is active", fix="Call set_adapter(...) or enable_adapters() first")
        active = set(self._choice.factors)
        layers = [m for m in self.modules() if active & branches_of(m).active.keys()]
        copied = [m for m in self.modules() if getattr(m, "stand_in", None) in active]
        if rounded := next((m for m in layers if isinstance(m, QuantizedLinear)), None):
            merge_branches(rounded)  # refuses, before anything is changed
        for layer in layers:
            merge_branches(layer, keep=keep_base)
        for module in copied:
            merge_stand_in(module, keep=keep_base)
        if keep_base:
            self._choice.merged = True
        else:
            self.delete_adapter(list(self.peft_config))

    def unmerge_adapters(self) -> None:
        """Gives the model its weights back, bit for bit; the adapters are active beside them again.

        Raises:
            AdapterError: nothing is merged.
        """
        self._check_some()
        if not self._choice.merged:
            raise AdapterError("the adapters are not merged", expected="merge_adapters() before")
        for module in self.modules():
            put_back(module)
        self._choice.merged = False
        self._apply_choice()

    # what they hold

    def get_adapter_state_dict(self, adapter_name: str | None = None) -> dict[str, Tensor]:
        """The tensors of an adapter, by the names that PEFT has for them; the first active one's by default.

        Raises:
            AdapterError: there is no such adapter.
        """
        name = next(iter(self.active_adapters()), None) if adapter_name is None else adapter_name
        return self._content(self._one(name)).tensors()

    def _content(self, name: str) -> AdapterFile:
        low_rank: dict[str, tuple[Tensor, Tensor]] = {}
        whole: dict[str, dict[str, Tensor]] = {}
        for path, module in documented_modules(self).items():
            if name in branches_of(module).scaling:
                down, up = branch(module, name)
                low_rank[path] = down.detach(), up.detach()
            elif name in getattr(module, "modules_to_save", ()):
                own = stand_in_of(module, name).named_parameters(recurse=False)
                whole[path] = {key: parameter.detach() for key, parameter in own}
        return Stacks.of(self).together(AdapterFile(self.peft_config[name], low_rank, whole))

    def _attach(self, places: Places, config: LoraConfig, name: str) -> None:
        taken = [p for p, m in places.layers.items() if name in branches_of(m).scaling or hasattr(m, "modules_to_save")]
        taken += [
            p for p, m in places.modules.items() if hasattr(m, "lora") or name in getattr(m, "modules_to_save", ())
        ]
        if taken:
            raise AdapterError(
                f"{taken[0]} has an adapter {name!r}, or one of the other sort, already",
                fix="Choose another name, or delete the other adapter",
            )
        if not self.peft_config:
            self._choice.frozen = [p for p in self.parameters() if p.requires_grad]
            self.requires_grad_(False)
        for path, layer in places.layers.items():
            stack = places.stacks.stack_of(path)
            add_branch(
                layer,
                name,
                rank=config.rank_of(stack),
                scaling=config.scaling_of(stack),
                dropout=config.lora_dropout,
            )
        for module in places.modules.values():
            add_stand_in(module, name)
        self.peft_config[name] = config

    def _apply_choice(self) -> None:
        """Tells every layer what is chosen; adapters that a part has of its own stay as they are."""
        factors = self._choice.factors if self._choice.enabled else {}
        for module in list(self.modules()):
            if hasattr(module, "lora"):
                held = branches_of(module)
                others = {n: f for n, f in held.active.items() if n not in self.peft_config}
                use_branches(module, others | {n: f for n, f in factors.items() if n in held.scaling})
            elif hasattr(module, "modules_to_save"):
                copies: Any = module.modules_to_save
                mine = next((n for n in factors if n in copies), None)
                if mine is not None or getattr(module, "stand_in", None) in self.peft_config:
                    use_stand_in(module, mine)
        for name in self.peft_config:
            learns = name in factors and name in self._choice.learning
            for layer in self._layers(name):
                for parameter in branch(layer, name):
                    parameter.requires_grad_(learns)
            for module in self._copied(name):
                stand_in_of(module, name).requires_grad_(learns)

    def _layers(self, name: str) -> list[nn.Module]:
        return [m for m in self.modules() if name in branches_of(m).scaling]

    def _copied(self, name: str) -> list[nn.Module]:
        return [m for m in self.modules() if name in getattr(m, "modules_to_save", ())]

    # what is allowed

    def _check_some(self) -> None:
        if not self.peft_config:
            raise AdapterError("the model has no adapter", fix="Call add_adapter(...) or load_adapter(...) first")

    def _check_unmerged(self, state: str = "merged into the weights") -> None:
        self._check_some()
        if self._choice.merged:
            raise AdapterError(f"the adapters are {state}", fix="Call unmerge_adapters() first")

    def _check_new(self, name: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise AdapterError(f"an adapter called {name!r}", expected="a name without dots")
        if name in self.peft_config:
            raise AdapterError(f"there is an adapter called {name!r} already", fix="Choose another name, or delete it")
        if self._choice.merged:
            self._check_unmerged()

    def _known(self, names: str | Sequence[str]) -> list[str]:
        self._check_some()
        wanted = [names] if isinstance(names, str) else list(names)
        lost = [name for name in wanted if name not in self.peft_config]
        if lost or not wanted or len(set(wanted)) < len(wanted):
            raise AdapterError(f"adapters {wanted!r}", expected=f"some of {sorted(self.peft_config)}, each once")
        return wanted

    def _one(self, name: str | None) -> str:
        self._check_some()
        if name is None and len(self.peft_config) > 1:
            raise AdapterError("no name and several adapters", expected=f"one of {sorted(self.peft_config)}")
        return self._known(next(iter(self.peft_config)) if name is None else name)[0]


def _initialise(layer: nn.Module, name: str, how: bool | str) -> None:
    """A new adapter's matrices, as PEFT begins them: B zero, so that their product is."""
    down, up = branch(layer, name)
    if how == "gaussian":
        nn.init.normal_(down, std=1 / down.shape[0])
    else:
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
    if how is False:
        nn.init.kaiming_uniform_(up, a=math.sqrt(5))
    else:
        nn.init.zeros_(up)


def _checked_scale(scale: Any) -> float:
    if scale is None:
        return 1.0
    if isinstance(scale, bool) or not isinstance(scale, numbers.Real) or not math.isfinite(scale):
        raise AdapterError(f"a scale of {scale!r}", expected="a number")
    return float(scale)
