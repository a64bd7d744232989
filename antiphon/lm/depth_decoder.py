"""The decoder across the codebooks of one frame, each of which has weights of its own.

A frame is a sequence of K steps: the text token and what the main decoder says of the moment come first, then each
codebook's token tells the next codebook's step. Step k is a transformer of its own; only normalisations are shared.

Source: Défossez et al., "Moshi: a speech-text foundation model for real-time dialogue", 2024, section 3.4.3.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from antiphon.lm.stream_decoder import StreamHeads
from antiphon.lm.zero_token import embed_or_zero
from antiphon.nn.attention import Attention
from antiphon.nn.kv_cache import KVCache
from antiphon.nn.linear import Embedding, Linear, stacked_linear
from antiphon.nn.masks import causal_mask
from antiphon.nn.mlp import Activation, GatedMLP
from antiphon.nn.norms import RMSNorm
from antiphon.nn.transformer import Context, Record, Transformer, TransformerLayer

# Gives the token (B,) int64 of a codebook for its logits (B, V).
Choose = Callable[[int, Tensor], Tensor]


class DepthDecoder(nn.Module):
    """K steps with heads.

    Args:
        codebooks: K. text_vocabulary, audio_vocabulary: V tokens each; their embeddings have one row more.
        input_width: of the main decoder's states. width: D. hidden: of the feed-forward layer, one of its two ways up.
        window: steps that a step sees, its own counted. attention_dropout: in training only.
    """

    def __init__(
        self,
        *,
        codebooks: int,
        text_vocabulary: int,
        audio_vocabulary: int,
        input_width: int,
        width: int,
        layers: int,
        heads: int,
        kv_heads: int,
        head_width: int,
        hidden: int,
        act: str | Activation,
        eps: float,
        window: int,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.codebooks = codebooks
        self.window = window
        self.text_embedding = Embedding(text_vocabulary + 1, width)
        self.embeddings = nn.ModuleList(Embedding(audio_vocabulary + 1, width) for _ in range(codebooks - 1))
        self.projections = nn.ModuleList(Linear(input_width, width, bias=False) for _ in range(codebooks))
        norms = [[RMSNorm(width, eps, scaled_in_float32=True) for _ in range(2)] for _ in range(layers)]
        no_norm = nn.Identity()

        def layer(index: int) -> TransformerLayer:
            return TransformerLayer(
                attention=Attention(width, heads, kv_heads=kv_heads, head_width=head_width, dropout=attention_dropout),
                mlp=GatedMLP(width, hidden, act=act, fused=True),
                norms=norms[index],
            )

        self.steps = nn.ModuleList(
            Transformer([layer(index) for index in range(layers)], no_norm) for _ in range(codebooks)
        )
        self.heads = StreamHeads(codebooks, width, audio_vocabulary)

    def stacks(self) -> list[list[nn.Module]]:
        """The layers over one input of all steps, which a loader lays side by side, step behind step."""
        groups: list[list[nn.Module]] = [list(self.projections)]
        for layers in zip(*(step.layers for step in self._stacks), strict=True):
            attentions, mlps = [layer.attention for layer in layers], [layer.mlp for layer in layers]
            groups.append([part for one in attentions for part in (one.query, one.key, one.value)])
            groups.append([one.out for one in attentions])
            groups.append([one.gate_up for one in mlps])
            groups.append([one.down for one in mlps])
        return groups

    @property
    def _stacks(self) -> list[Transformer]:
        return list(self.steps)  # type: ignore[arg-type]

    def embed(self, tokens: Tensor, first: int = 0) -> Tensor:
        """(B, T) int64, what steps from ``first`` on are told, to (B, T, D).

        Step 0 is told the text token, step k the token of codebook k - 1. ``ZERO`` tells nothing.
        """
        tables = [self.text_embedding, *self.embeddings][first : first + tokens.shape[1]]
        told = [embed_or_zero(table, column) for table, column in zip(tables, tokens.unbind(1), strict=True)]
        return torch.stack(told, dim=1)

    def forward(
        self,
        tokens: Tensor | None,
        moment: Tensor,
        *,
        embedded: Tensor | None = None,
        first: int = 0,
        padding: Tensor | None = None,
        cache: KVCache | None = None,
        record: Record | None = None,
    ) -> Tensor:
        """Logits (B, T, V) of the steps from ``first`` on.

        Args:
            tokens: (B, T) int64, what each step is told, or ``embedded``: (B, T, D).
            moment: (B, 1 or T, input width), the main decoder's states.
            padding: (B, first + T), 0 where a step is not to be seen. cache: of the steps before, written in place.
        """
        x = self.embed(tokens, first) if tokens is not None and embedded is None else embedded
        if x is None:
            raise ValueError("neither tokens nor embeddings")
        count = x.shape[1]
        x = x + _columnwise(list(self.projections)[first : first + count])(moment.expand(-1, count, -1))
        context = Context(
            mask=causal_mask(count, first + count, padding, device=x.device, window=self.window), cache=cache
        )
        hidden = _columnwise(self._stacks[first : first + count])(x, context, record)
        logits: Tensor = _columnwise(list(self.heads)[first : first + count])(hidden)
        return logits

    @torch.no_grad()
    def sample(
        self,
        moment: Tensor,
        text: Tensor,
        choose: Choose,
        *,
        forced: Tensor | None = None,
        steps: int | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """The tokens of one frame, codebook by codebook.

        Args:
            moment: (B, 1, input width), the main decoder's state. text: (B,) int64, the frame's text token.
            choose: gives a codebook's tokens for its logits.
            forced: (B, K) int64, tokens that take the place of chosen ones, -1 where there is none.
            steps: codebooks to decide, all by default. cache: memory to use again; what it holds is forgotten.

        Returns:
            (B, steps) int64.
        """
        cache = KVCache(self.codebooks, fixed=True) if cache is None else cache
        cache.reset()
        told, frame = text, []
        steps = self.codebooks if steps is None else steps
        moments = stacked_linear(moment, list(self.projections)[:steps])  # (B, 1, D) of each step
        for k in range(steps):
            table = self.embeddings[k - 1] if k else self.text_embedding
            x = table(told)[:, None] + moments[k]  # (B, 1, D)
            mask = causal_mask(1, k + 1, None, device=x.device, window=self.window)
            hidden = self.steps[k](x, Context(mask=mask, cache=cache))
            told = choose(k, self.heads[k](hidden)[:, 0])
            if forced is not None:
                told = torch.where(forced[:, k] >= 0, forced[:, k], told)
            frame.append(told)
        return torch.stack(frame, dim=1)


class _Columns(nn.Module):
    """Column k by the k-th of several layers."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.layers = list(layers)  # they have their places in the steps, and are not registered here

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, I) to (B, T, O)."""
        return torch.stack([layer(column) for layer, column in zip(self.layers, x.unbind(1), strict=True)], dim=1)


_CONTAINERS = (Transformer, TransformerLayer, nn.ModuleList, Attention, GatedMLP)


def _columnwise(parts: Sequence[nn.Module]) -> nn.Module:
    """A module that computes column k as the k-th of modules of one build does, all columns at once.

    It consists of the very same layers; only what holds them is copied. So a whole frame passes the one attention and
    the one stack, with gradients through the keys that a cache would cut off.
    """
    first = parts[0]
    if all(part is first for part in parts):
        return first
    if not isinstance(first, _CONTAINERS):
        return _Columns(parts)
    twin = copy.copy(first)
    twin._modules = {name: _columnwise([part._modules[name] for part in parts]) for name in first._modules}  # type: ignore[misc]
    return twin
