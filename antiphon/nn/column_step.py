"""A few new columns through a stack while decoding: by one call of the kernel, where nothing else looks in.

Layer by layer a step is some four hundred small calls, and on a machine with other work each may wait for a thread. The
kernel computes what the layers' own code computes. That code remains the only way for everything that is not plain
decoding, and wherever a layer is not what it was built as: hooked, patched, adapted, in training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module

from antiphon.nn.attention import Attention
from antiphon.nn.kv_cache import LayerCache
from antiphon.nn.layer_scale import LayerScale
from antiphon.nn.linear import Linear
from antiphon.nn.masks import Mask
from antiphon.nn.mlp import MLP, GatedMLP
from antiphon.nn.native.attention import Stored
from antiphon.nn.native.library import native
from antiphon.nn.native.stack import MOST_ROWS, STORES, Heads, Norm, Stages, Weights, Written
from antiphon.nn.norms import RMSNorm
from antiphon.nn.quantized_linear import QuantizedLinear
from antiphon.nn.ring_cache import RingLayer, RingStep
from antiphon.nn.rotary import Rotation

_ACTIVATIONS: tuple[tuple[Callable[..., Tensor], str], ...] = ((F.gelu, "gelu"), (F.relu, "relu"), (F.silu, "silu"))

# The modules whose ``forward`` the kernel stands for, and how to read what they are set to out of their attributes.
_SETTINGS: dict[type, Callable[[dict[str, Any]], Any]] = {
    Attention: itemgetter("implementation", "heads", "kv_heads", "head_width", "scale"),
    MLP: itemgetter("act"),
    GatedMLP: itemgetter("act", "fused"),
    QuantizedLinear: itemgetter("bits", "group_size", "in_features"),
    nn.LayerNorm: itemgetter("eps"),
    RMSNorm: itemgetter("eps", "scaled_in_float32"),
}

# Modules that nothing is set in.
_UNSET = {Linear, LayerScale, nn.Identity}

# Tensors that are what they hold, which subclasses need not be.
_TENSORS = {Tensor, nn.Parameter}


@dataclass(frozen=True, slots=True)
class Past:
    """What the columns of a step look at.

    Attributes:
        own: the cache of each layer, which the columns are written to. mask: over its columns.
        rotation: rotary tables of the columns, (B or 1, 1, T, width of a head) each, where there are such.
        memories: the filled cache of each layer over a memory; empty where no layer looks at one. memory_mask: over it.
    """

    own: Sequence[LayerCache]
    mask: Mask | None = None
    rotation: Rotation | None = None
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
    """(B, T, D) behind all layers and the norm of ``stack``, or ``None``, and nothing done, where it does not suit.

    Args:
        stack: with ``layers``, all plain, and ``norm``.
        x: (B, T, D), T being 1 unless the caches are a ring's. past: written to.
    """
    if not _decodes(x) or (past.rotation is None and _is_wide(layers[0], x)) or native() is None:
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
        and 0 < x.shape[0] * x.shape[1] <= MOST_ROWS
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch_module._global_forward_hooks
        and not torch_module._global_forward_pre_hooks
    )


def _is_wide(layer: Any, x: Tensor) -> bool:
    # float32 weights are read fast enough by the layers, and should not pay for a look at all of them; where queries
    # and keys are turned, the layers' many small steps cost more than that
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
    if not set(kinds) <= {*_SETTINGS, *_UNSET, type(layers[0])}:
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
        attentions = [(layer.attention_norm, layer.attention, False)]
        if memory and hasattr(layer, "memory_attention"):
            attentions.append((layer.memory_norm, layer.memory_attention, True))
        for before, attention, over_memory in attentions:
            norm = _norm(before)
            factors = None if over_memory else _factors(layer, "attention_scale")
            if attention.implementation != "sdpa" or norm is None or factors is False:
                return None
            fresh = () if over_memory else (attention.key, attention.value)
            stages.project(_weights(attention.query, *fresh), norm)
            stages.attend(_heads(attention), memory=over_memory)
            stages.project(_weights(attention.out), factors=factors, adds=True)
        if not _feed_forward(stages, layer):
            return None
    if type(stack.norm) is not nn.Identity:
        norm = _norm(stack.norm)
        if norm is None:
            return None
        stages.normalise(norm)
    return stages if stages.fit else None


def _feed_forward(stages: Stages, layer: Any) -> bool:
    """Lists a layer's second part, and says whether it is of a known kind."""
    mlp, norm, factors = layer.mlp, _norm(layer.mlp_norm), _factors(layer, "mlp_scale")
    act = next((name for function, name in _ACTIVATIONS if mlp.act is function), None)
    if act is None or norm is None or factors is False:
        return False
    if type(mlp) is MLP:
        stages.project(_weights(mlp.up), norm, activation=act)
    elif mlp.fused:
        both = _weights(mlp.gate_up)[0]
        stages.project(both.parts(both.shape[0] // 2), norm, activation=act, gated=True)
    else:
        stages.project(_weights(mlp.gate, mlp.up), norm, activation=act, gated=True)
    stages.project(_weights(mlp.down), factors=factors, adds=True)
    return True


def _weights(*layers: Linear | QuantizedLinear) -> list[Weights]:
    return [Weights(each.stored if isinstance(each, QuantizedLinear) else each.weight, each.bias) for each in layers]


def _norm(norm: nn.Module) -> Norm | None:
    if isinstance(norm, nn.LayerNorm):
        return Norm(norm.weight, norm.bias, norm.eps)
    if isinstance(norm, RMSNorm):
        return Norm(norm.weight, None, norm.eps, "rms" if norm.scaled_in_float32 else "rms rounded")
    return None


def _factors(layer: Any, name: str) -> Tensor | Literal[False] | None:
    """The factors of a layer's part, ``None`` where it has none, ``False`` where they are of an unknown kind."""
    scale = getattr(layer, name, None)
    if scale is None:
        return None
    return scale.scale if isinstance(scale, LayerScale) else False


def _heads(attention: Attention) -> Heads:
    return Heads(attention.heads, attention.kv_heads, attention.head_width, attention.scale)


def _stepped(stages: Stages, x: Tensor, past: Past) -> Tensor | None:
    """Makes room in the caches, runs the stages, and counts the columns."""
    rows, columns, _ = x.shape
    ring = _ring(past, rows, columns)
    if rows * columns > stages.most_rows or ring is False or not _turns(past.rotation, x, stages):
        return None
    held = past.own[0].length
    filled = held + columns if ring is None else ring.filled
    places = past.memories[0].length if past.memories else 0
    caches = [cache for pair in zip(past.own, past.memories, strict=True) for cache in pair] if places else past.own
    if (past.memories and not places) or len(caches) != len(stages.attentions):
        return None
    if not (_plain(past.mask, rows, columns, filled) and _plain(past.memory_mask, rows, columns, places)):
        return None
    uses = list(zip(caches, stages.attentions, strict=True))
    if not all(
        cache.length == (places if memory else held) and _takes(cache, x, heads) for cache, (heads, memory) in uses
    ):
        return None
    stores: list[tuple[Stored, int]] = []
    for cache, (heads, memory) in uses:
        if not memory and not cache.free:
            cache.reserve(x.new_empty((rows, heads.key_heads, columns, heads.width)))
        stores.append((cache.slots, places if memory else filled))
    allowed = [None if mask is None else mask.allowed for mask in (past.mask, past.memory_mask)]
    out = stages.step(x.contiguous(), stores, allowed, rotation=past.rotation, written=_written(ring))
    if out is not None:
        for cache in past.own:
            cache.count(columns, x.dtype)
    return out


def _ring(past: Past, rows: int, columns: int) -> RingStep | Literal[False] | None:
    """The ring's call under way, ``None`` for one column of other caches, ``False`` for what the layers have to do."""
    rings = {cache.ring if isinstance(cache, RingLayer) else None for cache in past.own}
    ring = rings.pop()
    if rings:
        return False
    if ring is None:
        return None if columns == 1 else False
    step = ring.step
    # more columns than that are written over what the first of them still see
    fits = columns == step.columns <= ring.at_once and rows == ring.rows and ring.positions.is_cpu
    shown = columns == 1 or (past.mask is not None and past.mask.allowed is not None)
    return step if fits and shown and (step.live is None or step.live.is_cpu) else False


def _written(step: RingStep | None) -> Written:
    if step is None:
        return Written()
    slots = torch.full((1, 1), step.slots) if isinstance(step.slots, int) else step.slots.contiguous()
    return Written(slots, None if step.live is None else step.live.contiguous())


def _turns(rotation: Rotation | None, x: Tensor, stages: Stages) -> bool:
    """Whether the kernel can turn the columns of ``x`` by these tables."""
    if rotation is None:
        return True
    rows, columns, _ = x.shape
    widths = {heads.width for heads, memory in stages.attentions if not memory}
    shapes = {(count, 1, columns, width) for width in widths for count in (1, rows)}
    same = len(widths) == 1 and rotation[0].shape == rotation[1].shape and rotation[0].shape in shapes
    return same and all(table.dtype is x.dtype and table.is_cpu and table.is_contiguous() for table in rotation)


def _plain(mask: Mask | None, rows: int, columns: int, places: int) -> bool:
    """Whether a mask says who sees whom of ``places``, the same for all heads."""
    if mask is None or (mask.allowed is None and mask.bias is None):
        return True
    allowed = mask.allowed
    return (
        mask.bias is None
        and allowed is not None
        and allowed.dtype is torch.bool
        and allowed.is_cpu
        and allowed.shape in {(a, 1, b, places) for a in (1, rows) for b in (1, columns)}
    )


def _takes(cache: LayerCache, x: Tensor, heads: Heads) -> bool:
    """Whether the kernel can read and write columns of ``x`` in a cache."""
    return (
        type(cache) in (LayerCache, RingLayer)
        and cache.kept(x.dtype) in STORES
        and cache.shape in (None, (x.shape[0], heads.key_heads, heads.width))
    )
