"""Predicting a text: the columns that are asked about, and the cross-entropy of their next tokens."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from antiphon.errors import ParamError
from antiphon.lm.stream_loss import IGNORED


def next_token_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the tokens that count, each predicted from the column before it.

    Args:
        logits: (B, T, V). labels: (B, T) int64, the text itself; -100 and what is beyond V do not count.

    Returns:
        A float32 scalar; NaN where nothing counts.
    """
    wanted = F.pad(labels, (0, 1), value=IGNORED)[:, 1:].to(logits.device)
    wanted = wanted.masked_fill(wanted >= logits.shape[-1], IGNORED)
    return F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)


def kept_columns(hidden: Tensor, kept: int | Tensor) -> Tensor:
    """The columns of (B, T, D) that a head is asked about: the last ``kept``, 0 being all, or those numbered by (C,).

    Raises:
        ParamError: a negative number, or numbers of another shape.
    """
    if isinstance(kept, Tensor):
        if kept.dim() != 1:
            raise ParamError(
                f"logits_to_keep of shape {tuple(kept.shape)}", expected="an int, or numbers of columns (C,)"
            )
        return hidden[:, kept.to(hidden.device)]
    if isinstance(kept, bool) or not kept >= 0:
        raise ParamError(f"logits_to_keep={kept}", expected="0, which means all, or a number of last columns")
    return hidden[:, -kept:]
