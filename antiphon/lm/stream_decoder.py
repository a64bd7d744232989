"""A causal transformer over several token streams at once, with an optional memory to attend to.

Source: Copet et al., "Simple and Controllable Music Generation", 2023, section 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.nn.attention import Attention
from antiphon.nn.kv_cache import KVCache
from antiphon.nn.linear import Embedding, Linear, stacked_linear
from antiphon.nn.masks import causal_mask, memory_mask
from antiphon.nn.mlp import MLP, Activation
from antiphon.nn.positions import SinusoidalPositions
from antiphon.nn.transformer import Context, Record, Transformer, TransformerLayer


class StreamDecoder(nn.Module):
    """One embedding table a stream, summed, then the stack.

    Args:
        streams: K. vocabulary: rows of a table, special tokens counted. width: D. hidden: of the feed-forward layer.
        memory: layers attend to a memory too. positions: rows of the position table made at first.
        embedding_scale: factor on the summed embeddings.
        dropout, attention_dropout, activation_dropout, layerdrop: in training only.
    """

    def __init__(
        self,
        *,
        streams: int,
        vocabulary: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        act: str | Activation,
        memory: bool,
        positions: int = 2048,
        embedding_scale: float = 1.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        layerdrop: float = 0.0,
    ) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList(Embedding(vocabulary, width) for _ in range(streams))
        self.positions = SinusoidalPositions(width, positions)
        self.embedding_scale = embedding_scale
        self.dropout = dropout

        def attention() -> Attention:
            return Attention(width, heads, dropout=attention_dropout)

        self.stack = Transformer(
            [
                TransformerLayer(
                    attention=attention(),
                    memory_attention=attention() if memory else None,
                    mlp=MLP(width, hidden, act=act, dropout=activation_dropout),
                    norms=[nn.LayerNorm(width) for _ in range(3 if memory else 2)],
                    dropout=dropout,
                )
                for _ in range(layers)
            ],
            nn.LayerNorm(width),
            layerdrop=layerdrop,
        )

    def embed(self, tokens: Tensor) -> Tensor:
        """(B, K, T) int64 to (B, T, D)."""
        total: Tensor | None = None
        for table, stream in zip(self.embeddings, tokens.unbind(1), strict=True):
            total = table(stream) if total is None else total + table(stream)
        if total is None:
            raise ValueError("no streams")
        return total if self.embedding_scale == 1.0 else total * self.embedding_scale

    def forward(
        self,
        tokens: Tensor | None,
        *,
        embedded: Tensor | None = None,
        prefix: Tensor | None = None,
        padding: Tensor | None = None,
        positions: Tensor | None = None,
        memory: Tensor | None = None,
        memory_padding: Tensor | None = None,
        cache: KVCache | None = None,
        head_mask: Tensor | None = None,
        memory_head_mask: Tensor | None = None,
        record: Record | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D), normalised, of the next T columns.

        Args:
            tokens: (B, K, T) int64, or ``embedded``: (B, T, D).
            prefix: (B, P, D), columns of no tokens in front of these; they count in all that follows.
            padding: (B, S) over all columns so far, 0 where a column is padding.
            positions: (B, T) int64; by default the columns are counted on from the cache.
            memory: (B, M, D) with ``memory_padding`` (B, M).
            cache: written in place.
        """
        if embedded is not None:
            x = embedded
        elif tokens is not None:
            x = self.embed(tokens)
        else:
            raise ValueError("neither tokens nor embeddings")
        if prefix is not None:
            x = torch.cat([prefix.to(x), x], dim=1)
        past = cache.get_seq_length() if cache is not None else 0
        columns = x.shape[1]
        if positions is None:
            x = x + self.positions.between(past, past + columns, like=x)
        else:
            # behind a cache places are at most counted on, and need not be read back from a GPU in every step
            highest = past + columns - 1 if cache is not None else int(positions.max())
            x = x + self.positions.at(positions, highest, like=x)
        x = F.dropout(x, self.dropout, self.training)
        context = Context(
            mask=causal_mask(columns, past + columns, padding, device=x.device),
            memory=memory,
            memory_mask=memory_mask(memory_padding),
            cache=cache,
            head_mask=head_mask,
            memory_head_mask=memory_head_mask,
        )
        hidden: Tensor = self.stack(x, context, record)
        return hidden


class StreamHeads(nn.ModuleList):
    """One output layer a stream, without bias.

    Args:
        streams: K. width: D. vocabulary: V tokens that can be predicted.
    """

    def __init__(self, streams: int, width: int, vocabulary: int) -> None:
        super().__init__(Linear(width, vocabulary, bias=False) for _ in range(streams))

    def stacks(self) -> list[list[nn.Module]]:
        """The layers, which a loader lays side by side."""
        return [list(self)]

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) to logits (B, K, T, V)."""
        return torch.stack(stacked_linear(hidden, list(self)), dim=1)
