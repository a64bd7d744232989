"""Adapters of weights that files hold as one stack: one pair of matrices in PEFT's files, one on each layer here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from antiphon.checkpoints.peft_files import AdapterFile
from antiphon.errors import AdapterError
from antiphon.models.documented_names import documented_name, in_its_stack, key_tables

Part = TypeVar("Part")
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Stacks:
    """The layers of a model whose weights are stacked in files.

    Attributes:
        layers: K layers in order, by the documented name of the module that holds the stack.

    Source: PEFT 0.21's ``ParamWrapper``, for the order of its matrices.
    """

    layers: dict[str, list[nn.Module]]

    @classmethod
    def of(cls, model: nn.Module) -> Stacks:
        """Those of a model."""
        tables = key_tables(model)
        found: dict[str, dict[int, nn.Module]] = {}
        for path, module in model.named_modules():
            stack, number = in_its_stack(f"{documented_name(path, tables)}.weight", tables)
            if number is not None:
                found.setdefault(stack.removesuffix(".weight"), {})[number] = module
        return cls({name: [layers[k] for k in sorted(layers)] for name, layers in found.items()})

    @property
    def pieces(self) -> dict[str, nn.Module]:
        """The layers, each by the name of its stack and its number there."""
        return {f"{name}.{k}": layer for name, layers in self.layers.items() for k, layer in enumerate(layers)}

    def stack_of(self, name: str) -> str:
        """The name of the stack that a layer is a piece of; its own name where it is none."""
        head, _, number = name.rpartition(".")
        return head if number.isdecimal() and head in self.layers else name

    def beside(self, name: str) -> set[str]:
        """The layers of the stack that a layer is a piece of; itself where it is none."""
        stack = self.stack_of(name)
        return {name} if stack == name else {f"{stack}.{k}" for k in range(len(self.layers[stack]))}

    def apart(self, adapter: AdapterFile) -> AdapterFile:
        """An adapter as files have it, with matrices for each layer of its stacks.

        Raises:
            AdapterError: matrices that are not for as many layers as the model has, or for a piece of a stack alone.
        """
        low_rank: dict[str, Pair] = {}
        whole: dict[str, dict[str, Tensor]] = {}
        for name in (*adapter.low_rank, *adapter.whole):
            if self.stack_of(name) != name:
                raise AdapterError(
                    f"the adapter has tensors for {name}, one layer of a stack",
                    expected=f"all of {self.stack_of(name)}",
                )
        for name, (down, up) in adapter.low_rank.items():
            if name in self.layers:
                low_rank |= _numbered(name, self._pairs(name, down, up, adapter.config.rank_of(name)))
            else:
                low_rank[name] = down, up
        for name, tensors in adapter.whole.items():
            if name in self.layers:
                whole |= _numbered(name, [{"weight": weight} for weight in self._weights(name, tensors)])
            else:
                whole[name] = tensors
        return replace(adapter, low_rank=low_rank, whole=whole)

    def together(self, adapter: AdapterFile) -> AdapterFile:
        """The way back."""
        low_rank = {n: pair for n, pair in adapter.low_rank.items() if self.stack_of(n) == n}
        whole = {n: tensors for n, tensors in adapter.whole.items() if self.stack_of(n) == n}
        for name, layers in self.layers.items():
            names = [f"{name}.{k}" for k in range(len(layers))]
            if names[0] in adapter.low_rank:
                downs, ups = zip(*(adapter.low_rank[one] for one in names), strict=True)
                low_rank[name] = torch.cat(downs), torch.stack(ups, dim=-1).flatten(1)  # (K r, I), (O, r K)
            if names[0] in adapter.whole:
                whole[name] = {"weight": torch.stack([adapter.whole[one]["weight"] for one in names])}
        return replace(adapter, low_rank=low_rank, whole=whole)

    def _pairs(self, name: str, down: Tensor, up: Tensor, rank: int) -> list[Pair]:
        count = len(self.layers[name])
        if down.shape[0] != count * rank:
            raise AdapterError(
                f"the adapter on {name} has {down.shape[0]} rows",
                expected=f"{count * rank}: a rank of {rank} for each of {count} layers",
            )
        downs = down.reshape(count, rank, -1)
        ups = up.reshape(up.shape[0], rank, count).permute(2, 0, 1)  # (K, O, r)
        return list(zip(downs, ups, strict=True))

    def _weights(self, name: str, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        count, weight = len(self.layers[name]), tensors.get("weight")
        if weight is None or len(tensors) != 1 or weight.dim() != 3 or len(weight) != count:
            shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
            raise AdapterError(f"the adapter brings {name} as {shapes}", expected=f"the weights of {count} layers")
        return list(weight)


def _numbered(name: str, parts: Sequence[Part]) -> dict[str, Part]:
    return {f"{name}.{k}": part for k, part in enumerate(parts)}
