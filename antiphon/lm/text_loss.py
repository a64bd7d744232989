"""The cross-entropy of a text's next tokens."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

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
