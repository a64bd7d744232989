"""A causal language model over one stream of text: embedding, layers with rotary positions, a window.

Source: Défossez et al., "Moshi: a speech-text foundation model for real-time dialogue", 2024, section 3.2 (Helium);
Yang et al., "Qwen2 Technical Report", 2024, section 2.2.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from antiphon.errors import ParamError
from antiphon.nn.attention import Attention
from antiphon.nn.kv_cache import KVCache
from antiphon.nn.linear import Embedding
from antiphon.nn.masks import Mask, causal_mask
from antiphon.nn.mlp import Activation, GatedMLP
from antiphon.nn.norms import RMSNorm
from antiphon.nn.ring_cache import RingCache
from antiphon.nn.rotary import Rotary
from antiphon.nn.transformer import Context, Record, Transformer, TransformerLayer


class TextDecoder(nn.Module):
    """The stack without a head.

    Args:
        vocabulary: rows of the embedding, special tokens counted. padding: a row that training leaves alone.
        width: D. hidden: of the feed-forward layer, one of its two ways up. eps: of the normalisations.
        base: of the rotary positions. window: columns that a query sees, its own counted; ``None``: all.
        windowed: for each layer, whether it keeps to the window; by default all do.
        bias: as of ``Attention``. fused: the gate and the way up of the feed-forward layer are one layer.
        scaled_in_float32: as of ``RMSNorm``. attention_dropout: in training only.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        layers: int,
        heads: int,
        kv_heads: int,
        head_width: int,
        hidden: int,
        act: str | Activation,
        eps: float,
        base: float,
        window: int | None,
        windowed: Sequence[bool] = (),
        bias: bool | Collection[str] = False,
        fused: bool = True,
        scaled_in_float32: bool = True,
        padding: int | None = None,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(vocabulary, width, padding_idx=padding)
        self.rotary = Rotary(head_width, base)
        self.window = window if not windowed or any(windowed) else None
        self.windowed = list(windowed) if any(windowed) and not all(windowed) else []  # where layers differ

        def norm() -> RMSNorm:
            return RMSNorm(width, eps, scaled_in_float32=scaled_in_float32)

        def layer() -> TransformerLayer:
            return TransformerLayer(
                attention=Attention(
                    width, heads, kv_heads=kv_heads, head_width=head_width, bias=bias, dropout=attention_dropout
                ),
                mlp=GatedMLP(width, hidden, act=act, fused=fused),
                norms=[norm(), norm()],
            )

        self.stack = Transformer([layer() for _ in range(layers)], norm())

    def ring(self, rows: int, *, still_shapes: bool = False, dtype: torch.dtype | str | None = None) -> RingCache:
        """An empty cache for rows that go on for ever, as wide as the window, where the weights are.

        Raises:
            ParamError: layers without a window.
        """
        if self.window is None or self.windowed:
            raise ParamError("a ring for layers that look back without end", expected="a window in all layers")
        device = self.embedding.weight.device
        return RingCache(self.window, rows, device=device, dtype=dtype, still_shapes=still_shapes)

    def forward(
        self,
        tokens: Tensor | None,
        *,
        embedded: Tensor | None = None,
        padding: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
        live: Tensor | None = None,
        record: Record | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D), normalised, of the next T columns.

        Args:
            tokens: (B, T) int64, or ``embedded``: (B, T, D).
            padding: (B, S) over all columns so far, 0 where a column is padding; without a ring only.
            positions: (B or 1, T) int64; by default the columns are counted on from the cache. A ring counts itself.
            cache: written in place. live: (B,) bool, with a ring: the rows that go on.
        """
        x = self.embedding(tokens) if embedded is None else embedded
        columns = x.shape[1]
        masks: list[Mask] = []
        if isinstance(cache, RingCache):
            step = cache.begin(columns, live)
            positions, mask = step.positions, step.mask
        else:
            past = cache.get_seq_length() if cache is not None else 0
            if positions is None:
                positions = torch.arange(past, past + columns, device=x.device)[None]
            mask = causal_mask(columns, past + columns, padding, device=x.device, window=self.window)
            if self.windowed:
                full = causal_mask(columns, past + columns, padding, device=x.device)
                masks = [mask if narrow else full for narrow in self.windowed]
        context = Context(mask=mask, masks=masks, cache=cache, rotation=self.rotary.tables(positions, like=x))
        hidden: Tensor = self.stack(x, context, record)
        return hidden
