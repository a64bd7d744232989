"""One new column through a stack while decoding: by one call of the kernel, where nothing else looks in.

Layer by layer a step is some four hundred small calls, and on a machine with other work each may wait for a thread. The
kernel computes what the layers' own code computes. That code remains the only way for everything that is not plain
decoding, and wherever a layer is not what it was built as: hooked, patched, adapted, in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module

from antiphon.nn.attention import Attention
from antiphon.nn.kv_cache import LayerCache
from antiphon.nn.linear import Linear
from antiphon.nn.masks import Mask
from antiphon.nn.mlp import MLP
from antiphon.nn.native.attention import Stored
from antiphon.nn.native.library import native
from antiphon.nn.native.stack import MOST_ROWS, STORES, Heads, Norm, Stages, Weights
from antiphon.nn.quantized_linear import QuantizedLinear

_ACTIVATIONS: tuple[tuple[Callable[..., Tensor], str], ...] = ((F.gelu, "gelu"), (F.relu, "relu"))

# The modules whose ``forward`` the kernel stands for, and how to read what they are set to out of their attributes.
_SETTINGS: dict[type, Callable[[dict[str, Any]], Any]] = {
    Attention: itemgetter("implementation", "heads", "kv_heads", "head_width", "scale"),
    MLP: itemgetter("act"),
    QuantizedLinear: itemgetter("bits", "group_size", "in_features"),
    nn.LayerNorm: itemgetter("eps"),
}

# Tensors that are what they hold, which subclasses need not be.
_TENSORS = {Tensor, nn.Parameter}


@dataclass(frozen=True, slots=True)
class Past:
    """What the columns of a step look at.

    Attributes:
        own: the cache of each layer, which the column is written to. mask: over its columns.
        memories: the filled cache of each layer over a memory; empty where no layer looks at one. memory_mask: over it.
    """

    own: Sequence[LayerCache]
    mask: Mask | None = None
    memories: Sequence[LayerCache] = ()
    memory_mask: Mask | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What a stack was made of when its stages were listed; ``None`` where the kernel cannot read it."""

    facts: list[Any]
    stages: Stages | None


# A stack's stages are listed once, and hold while all is as it was: what modules there are, how they are set, and the
# place, kind and shape of each tensor.
_LISTED: WeakKeyDictionary[nn.Module, _Known] = WeakKeyDictionary()


def column_step(stack: nn.Module, layers: Sequence[nn.Module], x: Tensor, past: Past) -> Tensor | None:
    """(B, 1, D) behind all layers and the norm of ``stack``, or ``None``, and nothing done, where it does not suit.

    Args:
        stack: with ``layers``, all plain, and ``norm``.
        x: (B, 1, D). past: written to.
    """
    if not _decodes(x) or _is_wide(layers[0], x) or native() is None:
        return None
    facts = _facts(stack, layers)
    if facts is None:
        return None
    facts += x.dtype, x.shape[2], bool(past.memories)
    known = _LISTED.get(stack)
    if known is None or known.facts != facts:
        known = _LISTED[stack] = _Known(facts, _stages(stack, layers, x, bool(past.memories)))
    return None if known.stages is None else _stepped(known.stages, x, past)


def _decodes(x: Tensor) -> bool:
    return (
        type(x) is Tensor
        and x.is_cpu
        and x.dim() == 3
        and x.shape[1] == 1
        and 0 < x.shape[0] <= MOST_ROWS
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch_module._global_forward_hooks
        and not torch_module._global_forward_pre_hooks
    )


def _is_wide(layer: Any, x: Tensor) -> bool:
    # float32 weights are read fast enough by the layers, and should not pay for a look at all of them
    return x.dtype is torch.float32 and type(getattr(layer.attention, "query", None)) is Linear


def _modules(stack: nn.Module, layers: Sequence[nn.Module]) -> list[nn.Module | None]:
    modules: list[nn.Module | None] = [stack._modules["norm"]]
    for layer in layers:
        parts = layer._modules.values()
        modules.append(layer)
        modules += parts
        for part in parts:
            if part is not None:
                modules += part._modules.values()
    return modules


def _facts(stack: nn.Module, layers: Sequence[nn.Module]) -> list[Any] | None:
    """Everything that the stages depend on, or ``None`` where a module does more than its own ``forward``.

    There are hundreds of modules and tensors and a fraction of a millisecond, hence lists and no look at a module by
    its attributes, which modules are slow to find.
    """
    modules = _modules(stack, layers)
    kinds = list(map(type, modules))
    if not set(kinds) <= {*_SETTINGS, Linear, type(layers[0])}:
        return None
    states = [module.__dict__ for module in modules]
    if any(s["_forward_hooks"] or s["_forward_pre_hooks"] or "forward" in s for s in states):
        return None
    if any(s["training"] and s.get("dropout") for s in states):
        return None
    settings = [_SETTINGS[kind](state) for kind, state in zip(kinds, states, strict=True) if kind in _SETTINGS]
    slots: list[Tensor | None] = []
    for state in states:
        slots += state["_parameters"].values()
        slots += state["_buffers"].values()
    tensors = [tensor for tensor in slots if tensor is not None]
    if not set(map(type, tensors)) <= _TENSORS:
        return None
    return [
        kinds,
        settings,
        [tensor is None for tensor in slots],
        [tensor.data_ptr() for tensor in tensors],
        [tensor.dtype for tensor in tensors],
        [tensor.shape for tensor in tensors],
        [tensor.stride() for tensor in tensors],
    ]


def _stages(stack: Any, layers: Sequence[Any], x: Tensor, memory: bool) -> Stages | None:
    """The stages of layers of known kinds, or ``None`` where the kernel cannot read them."""
    stages = Stages(x.shape[2], x.dtype)
    for layer in layers:
        act = next((name for function, name in _ACTIVATIONS if layer.mlp.act is function), None)
        parts = [(layer.attention_norm, layer.attention, False)]
        if memory and hasattr(layer, "memory_attention"):
            parts.append((layer.memory_norm, layer.memory_attention, True))
        if act is None or any(attention.implementation != "sdpa" for _, attention, _ in parts):
            return None
        for norm, attention, over_memory in parts:
            fresh = () if over_memory else (attention.key, attention.value)
            stages.project(_weights(attention.query, *fresh), _norm(norm))
            stages.attend(_heads(attention), memory=over_memory)
            stages.project(_weights(attention.out), adds=True)
        stages.project(_weights(layer.mlp.up), _norm(layer.mlp_norm), activation=act)
        stages.project(_weights(layer.mlp.down), adds=True)
    stages.normalise(_norm(stack.norm))
    return stages if stages.fit else None


def _weights(*layers: Linear | QuantizedLinear) -> list[Weights]:
    return [Weights(each.stored if isinstance(each, QuantizedLinear) else each.weight, each.bias) for each in layers]


def _norm(norm: nn.LayerNorm) -> Norm:
    return Norm(norm.weight, norm.bias, norm.eps)


def _heads(attention: Attention) -> Heads:
    return Heads(attention.heads, attention.kv_heads, attention.head_width, attention.scale)


def _stepped(stages: Stages, x: Tensor, past: Past) -> Tensor | None:
    """Makes room in the caches, runs the stages, and counts the column."""
    rows, columns = x.shape[0], past.own[0].length
    places = past.memories[0].length if past.memories else 0
    caches = [cache for pair in zip(past.own, past.memories, strict=True) for cache in pair] if places else past.own
    if rows > stages.most_rows or (past.memories and not places) or len(caches) != len(stages.attentions):
        return None
    if not (_plain(past.mask, rows, columns + 1) and _plain(past.memory_mask, rows, places)):
        return None
    stores: list[tuple[Stored, int]] = []
    uses = list(zip(caches, stages.attentions, strict=True))
    if not all(
        cache.length == (places if memory else columns) and _takes(cache, x, heads) for cache, (heads, memory) in uses
    ):
        return None
    for cache, (heads, memory) in uses:
        if not memory and not cache.free:
            cache.reserve(x.new_empty((rows, heads.key_heads, 1, heads.width)))
        stores.append((cache.slots, cache.length if memory else cache.length + 1))
    allowed = [None if mask is None else mask.allowed for mask in (past.mask, past.memory_mask)]
    out = stages.step(x.contiguous(), stores, allowed)
    if out is not None:
        for cache in past.own:
            cache.count(1, x.dtype)
    return out


def _plain(mask: Mask | None, rows: int, columns: int) -> bool:
    """Whether a mask says for whole columns, the same for all heads, who sees them."""
    if mask is None or (mask.allowed is None and mask.bias is None):
        return True
    allowed = mask.allowed
    return (
        mask.bias is None
        and allowed is not None
        and allowed.dtype is torch.bool
        and allowed.is_cpu
        and allowed.shape in ((1, 1, 1, columns), (rows, 1, 1, columns))
    )


def _takes(cache: LayerCache, x: Tensor, heads: Heads) -> bool:
    """Whether the kernel can read and write columns of ``x`` in a cache."""
    return (
        type(cache) is LayerCache
        and cache.kept(x.dtype) in STORES
        and cache.shape in (None, (x.shape[0], heads.key_heads, heads.width))
    )
