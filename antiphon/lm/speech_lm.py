"""A language model that hears and speaks while it thinks in text, as one step over all its streams.

Source: Défossez et al., "Moshi: a speech-text foundation model for real-time dialogue", 2024, section 3.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from antiphon.errors import ParamError
from antiphon.lm.depth_decoder import DepthDecoder
from antiphon.lm.text_decoder import TextDecoder
from antiphon.lm.zero_token import embed_or_zero
from antiphon.nn.ring_cache import RingCache


@dataclass(frozen=True)
class SpeechLM:
    """The parts of such a model, which are the live modules of whoever owns them.

    A column has 1 + 2 K streams: the text, the model's own K codebooks, the user's K codebooks.

    Attributes:
        text: the main decoder. head: its states to logits over text. depth: the decoder across the own codebooks.
        tables: 2 K embeddings of the audio streams, the own ones first.
    """

    text: TextDecoder
    head: nn.Module
    tables: Sequence[nn.Module]
    depth: DepthDecoder

    @property
    def streams(self) -> int:
        """1 + 2 K."""
        return 1 + len(self.tables)

    def state(self, rows: int, *, still_shapes: bool = False, dtype: torch.dtype | str | None = None) -> RingCache:
        """An empty state for rows that go on for ever; see ``RingCache``."""
        return self.text.ring(rows, still_shapes=still_shapes, dtype=dtype)

    def embed(self, columns: Tensor) -> Tensor:
        """(B, 1 + 2 K, T) int64 to (B, T, D); ``ZERO`` adds nothing."""
        if columns.dim() != 3 or columns.shape[1] != self.streams:
            raise ParamError(f"columns of shape {tuple(columns.shape)}", expected=f"(rows, {self.streams}, columns)")
        text, *audio = columns.unbind(1)
        total = embed_or_zero(self.tables[0], audio[0])
        for table, stream in zip(self.tables[1:], audio[1:], strict=True):
            total = total + embed_or_zero(table, stream)
        return total + embed_or_zero(self.text.embedding, text)

    @torch.no_grad()
    def step(self, tokens: Tensor, state: RingCache, live: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One column of all rows.

        Args:
            tokens: (B, 1 + 2 K) int64. state: written in place. live: (B,) bool, the rows that go on; by default all.

        Returns:
            What the depth decoder is told of the moment (B, 1, D), and the logits (B, V) of the next text token.
        """
        hidden = self.text(None, embedded=self.embed(tokens[..., None]), cache=state, live=live)
        return hidden, self.head(hidden)[:, 0]
