"""The one stack: every text, audio and music model here is a configuration of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from antiphon.nn.attention import Attention
from antiphon.nn.column_step import Past, column_step
from antiphon.nn.kv_cache import EncoderDecoderCache, KVCache, LayerCache
from antiphon.nn.masks import Mask
from antiphon.nn.ring_cache import RingCache
from antiphon.nn.rotary import Rotation


@dataclass
class Record:
    """What a call should keep of its way; a field that is ``None`` is not kept.

    ``hidden_states``: the input of every layer, then the stack's output. ``attentions`` and ``memory_attentions``: the
    weights of every layer, (B, H, T, S).
    """

    hidden_states: list[Tensor] | None = None
    attentions: list[Tensor] | None = None
    memory_attentions: list[Tensor] | None = None

    @staticmethod
    def of(*, hidden_states: bool, attentions: bool) -> Record:
        """A record of the asked-for kinds."""
        return Record([] if hidden_states else None, [] if attentions else None, [] if attentions else None)

    def tuples(self) -> tuple[tuple[Tensor, ...] | None, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """Hidden states, attentions and memory attentions as tuples, in that order."""
        kinds = (self.hidden_states, self.attentions, self.memory_attentions)
        hidden, own, memory = (tuple(kind) if kind is not None else None for kind in kinds)
        return hidden, own, memory or None


@dataclass
class Context:
    """What all layers of one call share.

    Attributes:
        mask, memory_mask: who sees whom. memory: (B, S, D) or ``None``.
        masks: one for each layer, where layers differ in what they see; they then stand for ``mask``.
        cache: past keys and values. head_mask, memory_head_mask: (layers, H), eager attention only.
        rotation: rotary tables of the call's columns, where their positions are told so.
    """

    mask: Mask = field(default_factory=Mask)
    memory: Tensor | None = None
    memory_mask: Mask | None = None
    cache: KVCache | None = None
    head_mask: Tensor | None = None
    memory_head_mask: Tensor | None = None
    need_weights: bool = False
    rotation: Rotation | None = None
    masks: Sequence[Mask] = ()

    def caches(self, index: int) -> tuple[LayerCache | None, LayerCache | None]:
        """The caches of layer ``index``: its own columns', and the memory's."""
        if self.cache is None:
            return None, None
        memory = self.cache.memory(index) if isinstance(self.cache, EncoderDecoderCache) else None
        return self.cache.layer(index), memory

    def past(self, layers: int) -> Past | None:
        """What columns look at in a stack of ``layers``, once all that stays the same lies in the caches."""
        if self.cache is None or not layers or self.head_mask is not None or self.memory_head_mask is not None:
            return None
        if self.masks:
            return None
        caches = [self.caches(index) for index in range(layers)]
        own = [cache for cache, _ in caches if cache is not None]
        if self.memory is None:
            return Past(own, self.mask, self.rotation)
        memories = [cache for _, cache in caches if cache is not None]
        filled = len(memories) == layers
        return Past(own, self.mask, self.rotation, memories, self.memory_mask) if filled else None


class TransformerLayer(nn.Module):
    """A layer that normalises first: attention, attention over a memory (optional), feed-forward.

    Args:
        norms: one normalisation for each of the two or three parts.
        scales: what the outputs of attention and feed-forward part pass before they are added, where there is such.
        dropout: on the output of each part, in training only.
    """

    def __init__(
        self,
        *,
        attention: Attention,
        mlp: nn.Module,
        norms: Sequence[nn.Module],
        memory_attention: Attention | None = None,
        scales: tuple[nn.Module, nn.Module] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention_norm = norms[0]
        self.attention = attention
        if memory_attention is not None:
            self.memory_norm = norms[1]
            self.memory_attention = memory_attention
        self.mlp_norm = norms[-1]
        self.mlp = mlp
        if scales is not None:
            self.attention_scale, self.mlp_scale = scales
        self.dropout = dropout

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.training and self.dropout else x

    def forward(self, x: Tensor, context: Context, index: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(B, T, D) to (B, T, D), with the weights of both attentions where the context asks for them."""
        own, memory = context.caches(index)
        head_mask = None if context.head_mask is None else context.head_mask[index]
        attended, weights = self.attention(
            self.attention_norm(x),
            mask=context.masks[index] if context.masks else context.mask,
            cache=own,
            rotation=context.rotation,
            head_mask=head_mask,
            need_weights=context.need_weights,
        )
        if hasattr(self, "attention_scale"):
            attended = self.attention_scale(attended)
        x = x + self._drop(attended)
        memory_weights = None
        if context.memory is not None and hasattr(self, "memory_attention"):
            head_mask = None if context.memory_head_mask is None else context.memory_head_mask[index]
            attended, memory_weights = self.memory_attention(
                self.memory_norm(x),
                memory=context.memory,
                mask=context.memory_mask,
                cache=memory,
                head_mask=head_mask,
                need_weights=context.need_weights,
            )
            x = x + self._drop(attended)
        fed = self.mlp(self.mlp_norm(x))
        if hasattr(self, "mlp_scale"):
            fed = self.mlp_scale(fed)
        # T5's feed-forward output can come in float32 inside a float16 model
        return x + self._drop(fed).to(x.dtype), weights, memory_weights


class Transformer(nn.Module):
    """Layers and the normalisation after them.

    Args:
        layers: the layers. norm: the final normalisation.
        layerdrop: chance of leaving out a layer, in training only.
    """

    def __init__(self, layers: Sequence[TransformerLayer], norm: nn.Module, *, layerdrop: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = norm
        self.layerdrop = layerdrop
        self.gradient_checkpointing = False

    def _few_columns(self, x: Tensor, context: Context) -> Tensor | None:
        """The next column, or few of a ring, at once, where they can be had so."""
        few = x.shape[1] == 1 or (isinstance(context.cache, RingCache) and x.shape[1] <= context.cache.at_once)
        past = context.past(len(self.layers)) if few else None
        layers = list(self.layers) if past else []
        if past is None or not all(type(layer) is TransformerLayer for layer in layers):
            return None
        return column_step(self, layers, x, past)

    def forward(self, x: Tensor, context: Context, record: Record | None = None) -> Tensor:
        """(B, T, D) to (B, T, D), normalised; ``record`` is filled in place."""
        record = record or Record()
        context.need_weights = record.attentions is not None
        if record.hidden_states is None and not context.need_weights and not self.training:
            stepped = self._few_columns(x, context)
            if stepped is not None:
                return stepped
        for index, layer in enumerate(self.layers):
            if record.hidden_states is not None:
                record.hidden_states.append(x)
            if self.training and self.layerdrop and random.random() < self.layerdrop:
                continue
            if self.training and self.gradient_checkpointing:
                passed = checkpoint(layer, x, context, index, use_reentrant=False)
            else:
                passed = layer(x, context, index)
            x, weights, memory_weights = cast(tuple[Tensor, Tensor | None, Tensor | None], passed)
            if record.attentions is not None and weights is not None:
                record.attentions.append(weights)
            if record.memory_attentions is not None and memory_weights is not None:
                record.memory_attentions.append(memory_weights)
        x = self.norm(x)
        if record.hidden_states is not None:
            record.hidden_states.append(x)
        return x
