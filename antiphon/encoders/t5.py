"""T5's encoder: text tokens to hidden states.

Source: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", 2020.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from antiphon.nn.attention import Attention
from antiphon.nn.linear import Embedding
from antiphon.nn.masks import Mask, memory_mask
from antiphon.nn.mlp import MLP, Activation, GatedMLP
from antiphon.nn.norms import RMSNorm
from antiphon.nn.positions import RelativePositionBias
from antiphon.nn.transformer import Context, Record, Transformer, TransformerLayer


class T5Encoder(nn.Module):
    """Embedding, one position bias for all layers, and the stack.

    Args:
        vocabulary: V. width: D. head_width: width of one of ``heads``. hidden: width of the feed-forward layer.
        gated: the feed-forward form of T5 1.1 and Flan-T5. buckets, max_distance: of the position bias.
        dropout: everywhere, in training only.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        layers: int,
        heads: int,
        head_width: int,
        hidden: int,
        act: str | Activation,
        gated: bool,
        buckets: int,
        max_distance: int,
        dropout: float,
        eps: float,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(vocabulary, width)
        self.position_bias = RelativePositionBias(heads, buckets=buckets, max_distance=max_distance)
        feed_forward = GatedMLP if gated else MLP
        self.stack = Transformer(
            [
                TransformerLayer(
                    # T5 trains without scaling the scores: its initialisation holds the factor
                    attention=Attention(width, heads, head_width=head_width, scale=1.0, dropout=dropout),
                    mlp=feed_forward(width, hidden, act=act, dropout=dropout),
                    norms=[RMSNorm(width, eps), RMSNorm(width, eps)],
                    dropout=dropout,
                )
                for _ in range(layers)
            ],
            RMSNorm(width, eps),
        )
        self.dropout = dropout

    def forward(
        self,
        tokens: Tensor | None,
        padding: Tensor | None = None,
        *,
        embedded: Tensor | None = None,
        head_mask: Tensor | None = None,
        record: Record | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) of ``tokens`` (B, T) int64, or of ``embedded`` (B, T, D).

        Args:
            padding: (B, T), 1 for real tokens and 0 for pads, which no token sees.
        """
        x = self.embedding(tokens) if embedded is None else embedded
        bias = self.position_bias(x.shape[1], x.shape[1])
        mask = Mask.of(memory_mask(padding).allowed, bias=bias)
        x = F.dropout(x, self.dropout, self.training)
        x = self.stack(x, Context(mask=mask, head_mask=head_mask), record)
        return F.dropout(x, self.dropout, self.training)
