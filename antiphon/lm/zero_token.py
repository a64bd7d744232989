"""The token that is none: a place in a stream where nothing is heard or said adds nothing to the column."""

from __future__ import annotations

from torch import Tensor, nn

ZERO = -1


def embed_or_zero(table: nn.Module, tokens: Tensor) -> Tensor:
    """The rows of an embedding for tokens of any shape; zeros where a token is ``ZERO``."""
    rows: Tensor = table(tokens.clamp(min=0))
    return rows * (tokens != ZERO)[..., None]
